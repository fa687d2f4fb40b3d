"""Columns by their buffers: what Arrow's own conversions would give."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskpar.data.columns import buffers

WHOLE = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20)


@given(WHOLE)
def test_integers_become_a_column(values: list[int]) -> None:
    column = buffers.integers(np.array(values, np.int64))
    column.validate(full=True)
    assert column.equals(pa.array(values, pa.int64()))


def test_integers_of_any_width_and_stride() -> None:
    assert buffers.integers(np.arange(6, dtype=np.int32)[::2]).to_pylist() == [0, 2, 4]


@given(st.lists(WHOLE, max_size=4), st.integers(0, 5))
def test_a_column_becomes_integers(chunks: list[list[int]], start: int) -> None:
    column = pa.chunked_array([pa.array(chunk, pa.int64()) for chunk in chunks], pa.int64()).slice(start)
    assert buffers.numbers(column).tolist() == column.to_pylist()


@given(st.lists(st.one_of(st.none(), st.floats(allow_nan=False)), max_size=20), st.integers(0, 5))
def test_which_values_are_there(values: list[float | None], start: int) -> None:
    column = pa.array(values, pa.float64()).slice(start)
    there = buffers.valid(column)
    assert there.tolist() == [value is not None for value in values[start:]]
    assert buffers.numbers(column, np.float64)[there].tolist() == [
        value for value in values[start:] if value is not None
    ]


@given(st.lists(st.binary(max_size=5), max_size=20), st.integers(1, 4))
def test_bytes_become_a_column(values: list[bytes], at_once: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(buffers, "BYTE_STRINGS_AT_ONCE", at_once)
        column = buffers.byte_strings(values)
    column.validate(full=True)
    assert column.equals(pa.array(values, pa.large_binary()))
