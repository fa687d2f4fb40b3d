"""Groups of rows as data frames: a run of neighbouring groups is gathered from the partition files and converted at once, then sliced."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from daskpar.data.slices import FrameSlices, to_frame

if TYPE_CHECKING:
    import pandas as pd

    from daskpar.data.table import Table

GATHER_BYTES = 4 * 1024**2
"""Rows of neighbouring groups that are converted together."""


class GroupFrames:
    """Reads the pieces of a table of Arrow files, each a run of rows anywhere in them; cheapest in ascending order."""

    def __init__(self, table: Table, pieces: np.ndarray) -> None:
        self._table = table
        self._pieces = pieces
        self._files: dict[int, pa.Table] = {}
        self._ends = np.zeros(1, np.int64)
        self._first = self._last = 0
        self._slices: FrameSlices | None = None
        self._stop = len(pieces)
        self._rows_at_once = max(1, GATHER_BYTES * (table.rows or 1) // max(table.size_bytes, 1))

    def span(self, start: int, stop: int) -> None:
        """Hint: the pieces [start, stop) are wanted next, so gathering ends at `stop`."""
        self._stop = stop

    def frame(self, i: int) -> pd.DataFrame:
        """The rows of piece `i`, with a fresh RangeIndex and the dtypes that they have alone."""
        if not self._first <= i < self._last:
            self._gather(i)
        at = i - self._first
        start, stop = int(self._ends[at]), int(self._ends[at + 1])
        if self._slices is None:
            self._first = self._last = 0  # a frame of its own: the script may change it
            return to_frame(self._part(i), stop)
        return self._slices.slice(start, stop)

    def _gather(self, i: int) -> None:
        ahead = self._pieces[i : min(max(self._stop, i + 1), i + self._rows_at_once)]
        ends = np.cumsum(ahead["stop"] - ahead["start"])
        count = max(1, int(np.searchsorted(ends, self._rows_at_once, side="right")))
        self._slices = None
        self._first, self._last = i, i + count
        self._ends = np.concatenate([[0], ends[:count]])
        if count > 1:
            parts = pa.concat_tables([self._part(k) for k in range(i, i + count)])
            self._slices = FrameSlices(parts, parts.num_rows)

    def _part(self, i: int) -> pa.Table:
        number, start, stop = self._pieces[i].tolist()
        file = self._files.get(number)
        if file is None:
            file = self._files[number] = pa.ipc.open_file(pa.memory_map(self._table.files[number])).read_all()
        return file.slice(start, stop - start)
