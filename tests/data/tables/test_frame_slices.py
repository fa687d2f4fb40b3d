"""Slices of one table, cut several at once, are what each would be alone, however they are asked for."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from daskpar.data.tables import frame_slices
from daskpar.data.tables.frame_slices import FrameSlices, to_frame

ROWS = 40
TABLE = pa.table(
    {
        "id": range(ROWS),
        "name": [f"n{i}" if i % 7 else None for i in range(ROWS)],
        "count": [i if i % 11 else None for i in range(ROWS)],
        "fits": [i % 2 == 0 if i % 13 else None for i in range(ROWS)],
    }
)


@st.composite
def cuts(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Where slices begin and end: one after the other, some of them empty."""
    inner = sorted(draw(st.lists(st.integers(0, ROWS), min_size=1, max_size=12)))
    return [0, *inner], [*inner, ROWS]


@given(cuts=cuts(), asked=st.lists(st.integers(0, 12), max_size=30), ahead=st.sampled_from([0, 5, 4096]))
def test_each_slice_is_what_it_is_alone_and_fresh(
    cuts: tuple[list[int], list[int]], asked: list[int], ahead: int
) -> None:
    starts, stops = cuts
    before, frame_slices.ROWS_AHEAD = frame_slices.ROWS_AHEAD, ahead
    try:
        slices = FrameSlices(TABLE, ROWS, starts, stops)
        for i in (i for i in [*range(len(starts)), *asked] if i < len(starts)):
            frame = slices.frame(i)
            rows = stops[i] - starts[i]
            pd.testing.assert_frame_equal(frame, to_frame(TABLE.slice(starts[i], rows), rows))
            frame.loc[
                :, "id"
            ] = -1  # what a script does to its rows changes no other slice, nor this one later
            frame.index.name = "mine"
    finally:
        frame_slices.ROWS_AHEAD = before


def test_a_table_without_columns_has_rows() -> None:
    slices = FrameSlices(pa.table({}), 3, [0, 2], [2, 3])
    assert [len(slices.frame(i)) for i in (0, 1, 0)] == [2, 1, 2]
