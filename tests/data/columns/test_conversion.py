from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from daskpar.data.columns.conversion import convert, convert_values
from daskpar.data.columns.kinds import BOOL, FLOAT, INT, STRING, ColumnKind
from daskpar.data.columns.text_values import LostValues

DAY = ColumnKind("datetime", formats=("%Y-%m-%d",))
STREAM = ColumnKind("stream_info")
MOMENT = datetime(2020, 1, 31, 10, 20, 30)
NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (["5", "-2", "+3", " 4 ", "007", "9007199254740993"], INT, [5, -2, 3, 4, 7, 9007199254740993]),
        (
            ["5.9", "-5.9", "1e3", ".5", "nan", "inf", "9" * 20, "-1e30"],
            INT,
            [5, -5, 1000, 0, 0, 2**63 - 1, 2**63 - 1, -(2**63)],
        ),
        (["x", "", "0x1", "1,000", "true", "1_0", "٣", None], INT, [None] * 8),
        ([2.9, -2.9, NAN, INF, None, 1e30], INT, [2, -2, None, None, None, 2**63 - 1]),
        (
            [-6e18, 6e18, 2.0**63, -(2.0**63), -1e19],
            INT,
            [-6 * 10**18, 6 * 10**18, 2**63 - 1, -(2**63), -(2**63)],
        ),
        ([True, None], INT, [None, None]),
        ([MOMENT], INT, [None]),
        (["1.5", " -inf ", "1e400", "nan(1)", "0x1p3", "+.5"], FLOAT, [1.5, -INF, INF, None, None, 0.5]),
        ([5, None], FLOAT, [5.0, None]),
        ([True], FLOAT, [None]),
        (
            ["true", "tRuE", " YES ", "0", "1.0", "y", "\tF"],
            BOOL,
            [True, None, True, False, None, None, False],
        ),
        ([5.5, 0.0, NAN, None], BOOL, [True, False, True, None]),
        ([0, -1], BOOL, [False, True]),
        ([MOMENT], BOOL, [None]),
        ([5, None, -3], STRING, ["5", None, "-3"]),
        (
            [22.0, 1e-7, 1e16, NAN, -INF, 0.1, -0.0, None],
            STRING,
            ["22", "0.0000001", "1" + "0" * 16, "NaN", "-inf", "0.1", "-0", None],
        ),
        ([True, False, None], STRING, ["True", "False", None]),
        ([MOMENT, None], STRING, ["2020-01-31T10:20:30+00:00", None]),
        (
            [MOMENT.replace(microsecond=500_000), MOMENT.replace(microsecond=1)],
            STRING,
            [f"2020-01-31T10:20:30.{f}+00:00" for f in ("500", "000001")],
        ),
        ([Decimal("1.50")], STRING, ["1.50"]),
        ([date(2020, 1, 31)], STRING, ["2020-01-31T00:00:00+00:00"]),
        (["2020-01-31", "x"], DAY, [datetime(2020, 1, 31), None]),
        ([MOMENT], DAY, [MOMENT]),
        ([date(2020, 1, 31), date(2500, 1, 1), None], DAY, [datetime(2020, 1, 31), None, None]),
        ([5], DAY, [None]),
        ([True], DAY, [None]),
    ],
)
def test_conversions(values: list[Any], kind: ColumnKind, expected: list[Any]) -> None:
    column = pa.array(values)
    got, lost = convert(column, kind)
    possible = pa.types.is_string(column.type) or any(value is not None for value in expected)
    assert got.type == (kind.arrow if possible else pa.null())
    assert repr(
        got.to_pylist() if not pa.types.is_timestamp(got.type) else got.cast(pa.timestamp("us")).to_pylist()
    ) == repr(expected)
    failed = sum(
        1 for before, after in zip(values, expected, strict=True) if before is not None and after is None
    )
    assert (lost.count if lost else 0) == failed


def test_the_nine_digits_of_a_fraction() -> None:
    got, _ = convert(pa.array([-1], pa.timestamp("ns")), STRING)
    assert got.to_pylist() == ["1969-12-31T23:59:59.999999999+00:00"]


def test_unsigned_numbers_stop_at_the_largest_integer() -> None:
    got, lost = convert(pa.array([2**64 - 1, 5, None], pa.uint64()), INT)
    assert got.to_pylist() == [2**63 - 1, 5, None]
    assert lost is None


def test_moments_beyond_nanoseconds_are_null() -> None:
    got, lost = convert(pa.array([253402300799, 0], pa.timestamp("s")), DAY)
    assert got.to_pylist() == [None, datetime(1970, 1, 1)]
    assert lost is not None
    assert lost.count == 1


@pytest.mark.parametrize(("unit", "scale"), [("s", 10**9), ("ms", 10**6), ("us", 1000)])
def test_the_last_moment_that_nanoseconds_hold(unit: str, scale: int) -> None:
    last = (2**63 - 1) // scale
    got, lost = convert(pa.array([last, last + 1, 1 - last, -last - 2, None], pa.timestamp(unit)), DAY)
    assert got.cast(pa.int64()).to_pylist() == [last * scale, None, (1 - last) * scale, None, None]
    assert lost is not None and lost.count == 2


def test_zones_are_turned_into_utc() -> None:
    got, _ = convert(pa.array([0], pa.timestamp("us", "Europe/Berlin")), DAY)
    assert got.type == pa.timestamp("ns")
    assert got.cast(pa.int64()).to_pylist() == [0]


@pytest.mark.parametrize(
    ("values", "kind", "expected", "lost"),
    [
        (["a", {"x": "q", "y": None}, [1, "b", None], None], STRING, ["a", "{x: q, y: null}", '[1, "b", null]', None], 0),
        ([[["a"], {"k": ["b"]}]], STRING, ['[["a"], {k: ["b"]}]'], 0),
        ([{"x": 1}, 5, "7", [1]], INT, [None, 5, 7, None], 2),
        (["x", 5, True, MOMENT], INT, [None, 5, None, None], 3),
        ([2**70, -(2**70), 5], STRING, [str(2**70), str(-(2**70)), "5"], 0),
        ([2**70, -(2**70), 5], INT, [2**63 - 1, -(2**63), 5], 0),
        ([2**70, 0, "true"], BOOL, [True, False, True], 0),
        ([2**70, MOMENT, 5], DAY, [None, MOMENT, None], 2),
        ([None, None], INT, [None, None], 0),
    ],
)  # fmt: skip
def test_values_of_several_kinds_convert_each_by_its_own(
    values: list[Any], kind: ColumnKind, expected: list[Any], lost: int
) -> None:
    got, failed = convert_values(values, kind)
    assert got.type == kind.arrow
    moments = pa.types.is_timestamp(got.type)
    assert (got.cast(pa.timestamp("us")) if moments else got).to_pylist() == expected
    assert (failed.count if failed else 0) == lost


def test_own_words_of_booleans() -> None:
    kind = ColumnKind("bool", true_values=("yes",), false_values=("no",))
    texts = pa.array(["yes", "no", "YES", "1", None, " yes "])
    assert convert(texts, kind)[0].to_pylist() == [True, False, None, None, None, True]
    assert convert(
        pa.array([True, False]), ColumnKind("bool", true_values=("false",), false_values=("true",))
    )[0].to_pylist() == [True, False]


@pytest.mark.parametrize(("mismatch", "value"), [(None, None), (False, False), (True, True)])
def test_mismatches_of_booleans(mismatch: bool | None, value: bool | None) -> None:
    got, lost = convert(pa.array(["YES", "maybe", None]), ColumnKind("bool", mismatch=mismatch))
    assert got.to_pylist() == [True, value, None]
    assert lost == (LostValues(1, "maybe") if mismatch is None else None)


def test_columns_that_cannot_convert_have_no_type() -> None:
    assert convert(pa.array([], pa.bool_()), INT)[0].type == pa.null()
    assert convert(pa.array([], pa.int64()), DAY)[0].type == pa.null()
    assert convert(pa.array([], pa.int64()), STREAM)[0].type == pa.null()
    assert convert(pa.array([], pa.string()), INT)[0].type == pa.int64()


def test_stream_info() -> None:
    texts = [
        "https://x.blob.core.windows.net/c/a.png",
        "wasbs://c@x.blob.core.windows.net/a.png",
        "file:///data/a%20b.png",
        "/data/a.png",
        None,
    ]
    got, lost = convert(pa.array(texts), STREAM)
    address = "https://x.blob.core.windows.net/c/a.png"
    assert got.to_pylist() == [address, address, "/data/a b.png", None, None]
    assert lost == LostValues(1, "/data/a.png")


def test_chunks_and_dictionaries_are_columns_too() -> None:
    assert convert(pa.chunked_array([["5"], ["x"]]), INT)[0].to_pylist() == [5, None]
    assert convert(pa.chunked_array([], pa.int64()), STRING)[0].to_pylist() == []
    assert convert(pa.array(["5", "6", "5"]).dictionary_encode(), INT)[0].to_pylist() == [5, 6, 5]
    assert convert(pa.array(["5", None], pa.large_string()), INT)[0].to_pylist() == [5, None]
