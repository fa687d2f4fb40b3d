"""Filters on values of any kind, row by row: the same outcome as for whole columns."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskpar.data.columns.special_types import any_field, to_any
from daskpar.data.tables.filter_mask import mask
from daskpar.data.tables.filter_parser import parse_filter
from daskpar.errors import InputError


def kept(text: str, table: pa.Table) -> list[int]:
    """Numbers of the rows that a filter keeps."""
    return [row for row, stays in enumerate(mask(parse_filter(text), table).to_pylist()) if stays]


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


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a != 7 and r.x == 9", [1]),
        ("a != 7 and r.y == 9", []),
        ("a.x == 1", []),
        ('a.startswith("x") if a == "xy" else a == 1', [0, 1]),
        ('a == "xy" and startswith(a, "y")', []),
    ],
)
def test_fields_and_starts_of_texts(text: str, rows: list[int]) -> None:
    struct = pa.array([{"x": 1}, {"x": 9}, None])
    table = pa.Table.from_arrays(
        [to_any([1, "xy", None]), struct], schema=pa.schema([any_field("a"), pa.field("r", struct.type)])
    )
    assert kept(text, table) == rows
    with pytest.raises(InputError, match="no text"):
        kept('a.startswith("x")', table)


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
