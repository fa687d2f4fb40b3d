"""Groups read in any order, with any hint, from any pieces: always the rows of the piece, with the dtypes that they have alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskpar.batches import group_frames
from daskpar.batches.group_frames import GroupFrames
from daskpar.data.tables.frame_slices import FrameSlices, to_frame
from daskpar.data.tables.piece import PIECE
from daskpar.data.tables.table import Table

ROWS = [
    pa.table(
        {
            "row": range(30),
            "maybe": [None if k % 4 == 0 else k for k in range(30)],
            "flag": [None if k > 20 else k % 2 == 0 for k in range(30)],
        }
    ),
    pa.table({"row": range(30, 50), "maybe": pa.array(range(20)), "flag": [True] * 20}),
]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    paths = []
    for number, rows in enumerate(ROWS):
        path = str(tmp_path_factory.mktemp("partitions") / f"{number}.arrow")
        with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
            writer.write_table(rows, max_chunksize=8)
        paths.append(path)
    return Table.of_arrow_files(paths)


def alone(piece):
    number, start, stop = piece
    return to_frame(ROWS[number].slice(start, stop - start), stop - start)


ranges = st.one_of(
    st.tuples(st.just(0), st.integers(0, 29), st.integers(1, 30)).map(
        lambda p: (0, min(p[1:]), max(p[1], p[2], min(p[1:]) + 1))
    ),
    st.tuples(st.just(1), st.integers(0, 18), st.just(0)).map(lambda p: (1, p[1], p[1] + 2)),
)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), pieces=st.lists(ranges, min_size=1, max_size=12), size=st.integers(1, 5000))
def test_any_order_any_hint(table, data, pieces, size):
    before = group_frames.GATHER_BYTES
    group_frames.GATHER_BYTES = size
    try:
        reader = GroupFrames(table, np.array(pieces, PIECE))
    finally:
        group_frames.GATHER_BYTES = before
    for _ in range(4):
        if data.draw(st.booleans()):
            reader.expect(
                *sorted(data.draw(st.tuples(st.integers(0, len(pieces)), st.integers(0, len(pieces)))))
            )
        start = data.draw(st.integers(0, len(pieces) - 1))
        for i in range(start, data.draw(st.integers(start + 1, len(pieces)))):
            frame = reader.frame(i)
            pd.testing.assert_frame_equal(frame, alone(pieces[i]))
            frame.loc[:, "row"] = -1  # what a script does to its rows changes no other group


def test_a_hint_bounds_what_is_converted(table, monkeypatch):
    converted = []

    def counted(rows, count, starts, stops):
        converted.append(count)
        return FrameSlices(rows, count, starts, stops)

    monkeypatch.setattr(group_frames, "FrameSlices", counted)
    reader = GroupFrames(table, np.array([(0, k, k + 1) for k in range(30)], PIECE))
    reader.expect(2, 6)
    for i in range(2, 6):
        reader.frame(i)
    assert converted == [4]
