"""What a filter keeps of an Arrow table, and what can't be evaluated."""

from __future__ import annotations

from datetime import datetime, time
from decimal import Decimal

import pyarrow as pa
import pytest

from daskpar.data.tables.filter_mask import mask
from daskpar.data.tables.filter_parser import parse_filter
from daskpar.errors import InputError

TABLE = pa.table(
    {
        "i": [5, 22, -7, None],
        "f": [1.5, None, 5.0, float("nan")],
        "s": ["x", "yy", None, "é"],
        "b": [True, False, None, True],
        "d": pa.array(
            [datetime(2020, 1, 31), datetime(1999, 5, 5), None, datetime(2021, 1, 1)], pa.timestamp("ns")
        ),
        "sp ace": ["A", "B", "C", "D"],
        "r": [{"x": 1}, {"x": 9}, None, {"x": None}],
        "bytes": [b"a", b"b", None, b"a"],
        "time": [time(1), time(2), None, time(1)],
    }
)


def kept(text: str, table: pa.Table = TABLE) -> list[int]:
    """Numbers of the rows that a filter keeps."""
    return [row for row, stays in enumerate(mask(parse_filter(text), table).to_pylist()) if stays]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("i > 4", [0, 1]),
        ("i == None", []),
        ("i != 5", [1, 2]),
        ("not i == 5", [1, 2]),
        ("3 < i < 10", [0, 1, 2]),
        ("-2**2 == -4", [0, 1, 2, 3]),
        ("2**3**0 == 2", [0, 1, 2, 3]),
        ("i // 2 == -3", [2]),
        ("i % 3 == 2", [0, 2]),
        ("i / 2 == 2.5", [0]),
        ("5.5 % 2 == 1.5", [0, 1, 2, 3]),
        ("-5.5 % f == 0.5", [0]),
        ("i + f == 6.5", [0]),
        ('s + "q" == "xq"', [0]),
        ("s > 5", [0, 1, 3]),
        ("b == 1", []),
        ("b != 1", [0, 1, 3]),
        ("b < 0", [0, 1, 3]),
        ('d > "z"', [0, 1, 3]),
        ("d >= datetime(2020, 1, 31)", [0, 3]),
        ("d < datetime(1500)", []),
        ("b or i > 6", [0, 1, 3]),
        ("i > 6 or b", [0, 1, 3]),
        ("b and i > 4", [0]),
        ("not b", [1]),
        ("i > 4 if b else i < 0", [0, 2]),
        ('col("sp ace") == "A"', [0]),
        ('s.startswith("x") if s == "x" else False', [0]),
        ("nothing == 1", []),
        ('nothing + s == "x"', []),
        ('s + nothing == "x"', []),
        ("r.x == 9", [1]),
        ("r.y == 9", []),
        ("i != 0 and 10 / i > 1", [0]),
        ("b and 1 / (i + 7) > 5", []),  # where b is missing, nothing behind it counts, nor fails
        ("b or 1 / (i - 5) < 0", [0, 2, 3]),
        ("+i == 5", [0]),
        ("i == 0x5 or i == 2_2", [0, 1]),
        ("(1, 2) == i", []),
        ("f == f", [0, 2]),
        ("bytes == bytes", [0, 1, 3]),
        ("time != time", []),
        ("(i if b else f) > 1", [0, 2]),
        (" or ".join(f"i == {number}" for number in range(500)), [0, 1]),
        (" and ".join(f"i != {number}" for number in range(500)), [2]),
        ("(" * 30 + "i > 5" + ")" * 30, [1]),
    ],
)
def test_rows_that_stay(text: str, rows: list[int]) -> None:
    assert kept(text) == rows


LARGE = pa.table(
    {
        "id": [1234567890123456789, 2**53 + 1, 5, None],
        "u": pa.array([2**63 + 1, 2**64 - 1, 5, None], pa.uint64()),
        "tiny": pa.array([-128, 127, 100, None], pa.int8()),
        "byte": pa.array([3, 255, 100, None], pa.uint8()),
        "wide": pa.array([Decimal("22.50"), Decimal("1e19"), Decimal("-22.50"), None], pa.decimal128(22, 2)),
        "dec": pa.array([Decimal("1.50"), Decimal("2.25"), Decimal("-1.50"), None]),
        "half": pa.array([1.5, 2.5, 60000.0, None], pa.float16()),
    }
)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("id > 1e15", [0, 1]),
        ("id == 9007199254740992.0", []),
        ("id > 9007199254740992.0", [0, 1]),
        ("id <= 9007199254740992.5", [2]),
        ("id != 9007199254740992.0", [0, 1, 2]),
        ("9007199254740992.0 < id", [0, 1]),
        ("id / 2 > 1", [0, 1, 2]),
        ("id ** 2 > 1e30", [0, 1]),
        ("id + 0.5 > 5", [0, 1, 2]),
        ("u > 7", [0, 1]),
        ("u == 18446744073709551615", [1]),
        ("u != 9223372036854775809", [1, 2]),
        ("u > id", [0, 1]),
        ("id < 18446744073709551615", [0, 1, 2]),
        ("id < 18446744073709551617", [0, 1, 2]),
        ("-u < 0", [0, 1, 2]),
        ("u + 1 > 7", [0, 1]),
        ("-tiny > 100", [0]),
        ("tiny + tiny > 200", [1]),
        ("tiny < 300", [0, 1, 2]),
        ("byte - 5 < 0", [0]),
        ("half > 2", [1, 2]),
        ("half * 2 > 100000", [2]),
        ("-nothing > 3", []),
        ("18446744073709551616 > 18446744073709551615", [0, 1, 2, 3]),
        ("id > 0 and id < 100 and id != 6", [2]),
        ("18446744073709551615 > 5", [0, 1, 2, 3]),
        ("18446744073709551615 < 5.5", []),
        ("dec % 2 == 0.25", [1]),
        ("dec % 1 == 0.5", [0, 2]),
        ("dec // 1 == -1", [2]),
        ("dec / 2 > 1", [1]),
        ("wide // 2 == 11", [0]),
        ("wide // 2 == -11", [2]),
        ("5 // wide == 0", [0, 1, 2]),
    ],
)
def test_numbers_of_all_sizes_are_compared_by_value(text: str, rows: list[int]) -> None:
    assert kept(text, LARGE) == rows


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("i / 0 > 1", "division by zero"),
        ("i % 0 == 1", "division by zero"),
        ("i", "must give true or false"),
        ("i + s == 1", "takes numbers"),
        ('s.startswith("x")', "missing value"),
        ('i.startswith("x") if i == 5 else False', "not of a text"),
        ("i and b", "takes true or false"),
        ("1 / (i - 22) > 5 or b", "division by zero"),
        ("bytes < bytes", "can't be compared"),
        ("r == r", "can't be compared"),
        ("bytes == time", "can't be compared"),
        ("(i if b else s) == 5", "one kind"),
    ],
)
def test_what_can_not_be_evaluated(text: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        kept(text)


@pytest.mark.parametrize("text", ["id * id > 1", "id + 9223372036854775807 > 1"])
def test_sums_beyond_64_bits_are_errors(text: str) -> None:
    with pytest.raises(InputError, match="can't be calculated"):
        kept(text, LARGE)


@pytest.mark.parametrize("text", ["startswith(s, s)", "startswith(s, i)", "startswith(s, 5)"])
def test_a_text_begins_with_a_constant_only(text: str) -> None:
    with pytest.raises(InputError, match="startswith takes a constant text"):
        kept(text)
