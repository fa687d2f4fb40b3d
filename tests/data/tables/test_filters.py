"""The language of `filter`: what is an expression, and what it means for columns and for single values."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskpar.data.columns.special_types import any_field, to_any
from daskpar.data.tables.filter_mask import mask
from daskpar.data.tables.filter_parser import BadExpression, columns_of, parse_filter, simple_terms
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
        ("r.x == 9", [1]),
        ("r.y == 9", []),
        ("i != 0 and 10 / i > 1", [0]),
        ("i == 0x5 or i == 2_2", [0, 1]),
        ("(1, 2) == i", []),
        ("f == f", [0, 2]),
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
        ("(" * 90 + "i > 5" + ")" * 90, "nested too deep"),
        ("not " * 400 + "b", "nested too deep"),
        ("not " * 4000 + "b", "nested too deep"),
        (" + ".join(["i"] * 500) + " > 1", "nested too deep"),
        ("", "empty"),
        ("i &  b", "use `and`"),
        ("i = 5", "use `==`"),
        ("i in (5, 6)", "'in' is not understood"),
        ("g > .5", "write numbers as 0.5"),
        ('s == ""', "empty text"),
        ("len(s) == 1", "no function 'len'"),
        ('s.endswith("x")', "no function 'endswith'"),
        ("4 or(i > 2)", "blanks around 'or'"),
        ("i == 0_5", "not understood"),
        ("i >", "a value is missing"),
        ("(i > 4", "')' is missing"),
        ('s == "\\u00e9"', "escape"),
        ("datetime(2020, 13, 1) == d", "no date"),
        ("col(i) == 1", "as a text"),
        ("__import__('os')", "no function"),
        ("# i", "not understood"),
    ],
)
def test_what_is_no_expression(text: str, why: str) -> None:
    with pytest.raises(BadExpression, match=why.replace("(", r"\(").replace(")", r"\)")):
        parse_filter(text)


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
    ],
)
def test_what_can_not_be_evaluated(text: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        kept(text)


@pytest.mark.parametrize("text", ["id * id > 1", "id + 9223372036854775807 > 1"])
def test_sums_beyond_64_bits_are_told(text: str) -> None:
    with pytest.raises(InputError, match="can't be calculated"):
        kept(text, LARGE)


def test_columns_and_terms_of_a_filter() -> None:
    node = parse_filter('a > 5 and (b == "x" or c == 1) and 3 <= d')
    assert columns_of(node) == {"a", "b", "c", "d"}
    assert simple_terms(node) == [("a", ">", 5), ("d", ">=", 3)]


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-9, 9),
    st.sampled_from([0.5, -2.0]),
    st.sampled_from(["x", "yy", "é"]),
)
LEAVES = st.sampled_from(["a", "b", "c", "3", "-2", "1.5", '"x"', "True", "None"])
COMPARED = st.tuples(LEAVES, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), LEAVES).map(" ".join)
LOGIC = st.recursive(
    COMPARED,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from([" and ", " or "]), inner).map(lambda parts: f"({''.join(parts)})"),
        inner.map(lambda text: f"(not {text})"),
        st.tuples(inner, inner, inner).map(lambda parts: f"({parts[0]} if {parts[1]} else {parts[2]})"),
    ),
    max_leaves=5,
)


NUMBERS = st.sampled_from(
    [0, 1, -1, 3, 2**53 + 1, 10**18, -(10**18), 0.0, 0.5, -2.5, 1e308, 5e-324, float("inf"), float("nan")]
)


@given(a=NUMBERS, b=NUMBERS, sign=st.sampled_from(["+", "-", "*", "/", "//", "%", "**"]))
def test_columns_and_single_values_are_calculated_alike(a: float, b: float, sign: str) -> None:
    """Infinite and undefined outcomes are values in both, and so is a division by zero an error; only columns are bound to 64 bits."""
    typed = pa.table({"a": [a], "b": [b]})
    loose = pa.Table.from_arrays(
        [to_any([a]), to_any([b])], schema=pa.schema([any_field("a"), any_field("b")])
    )
    outcomes = []
    for text in (f"a {sign} b > 0", f"a {sign} b < 0", f"a {sign} b == 0"):
        for table in (typed, loose):
            try:
                outcomes.append(str(kept(text, table)))
            except InputError as error:
                outcomes.append(str(error).partition(":")[0])
    if "can't be calculated" not in "".join(outcomes):
        assert outcomes[::2] == outcomes[1::2]


def test_an_integer_too_large_for_a_float_is_infinite_in_a_sum() -> None:
    table = pa.Table.from_arrays([to_any([10**400, "x"])], schema=pa.schema([any_field("a")]))
    assert kept("a != 'x' and a / 2 > 1e300 and a ** 2 > 1e300 and a > 1e300", table) == [0]


def test_dates_beside_values_of_any_kind(make_dates: pa.Table) -> None:
    assert kept("x == 1 and (d > datetime(2000) or z > datetime(2000))", make_dates) == [0]


@pytest.fixture
def make_dates() -> pa.Table:
    """A column of any kind beside a date and a moment with its zone."""
    moment = pa.array([datetime(2020, 1, 1)], pa.timestamp("us", "Europe/Berlin"))
    fields = [any_field("x"), pa.field("d", pa.date32()), pa.field("z", moment.type)]
    return pa.Table.from_arrays(
        [to_any([1]), pa.array([datetime(2020, 1, 1).date()]), moment], schema=pa.schema(fields)
    )


@given(
    rows=st.lists(
        st.tuples(
            st.integers(-3, 3) | st.none(), st.sampled_from(["x", "é", None]), st.booleans() | st.none()
        ),
        max_size=6,
    ),
    text=LOGIC,
)
def test_columns_and_single_values_follow_the_same_rules(rows: list[tuple[Any, ...]], text: str) -> None:
    """Columns of one kind are compared column-wise, those of any kind value by value: never with another outcome."""
    columns = list(zip(*rows, strict=True)) if rows else [(), (), ()]
    types = [pa.int64(), pa.string(), pa.bool_()]
    typed = pa.table(
        {name: pa.array(values, type_) for name, values, type_ in zip("abc", columns, types, strict=True)}
    )
    fields = pa.schema([any_field(name) for name in "abc"])
    loose = pa.Table.from_arrays([to_any(list(values)) for values in columns], schema=fields)
    assert kept(text, typed) == kept(text, loose)
