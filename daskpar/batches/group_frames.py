"""Loads groups of rows as data frames.

A run of neighbouring groups is gathered from the partition files and converted at once, then sliced.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from daskpar.data.columns.wide_integers import WideIntegers
from daskpar.data.notices import LossCounter, Notice
from daskpar.data.tables.frame_slices import FrameSlices, to_frame

if TYPE_CHECKING:
    import pandas as pd

    from daskpar.data.tables.table import Table

GATHER_BYTES = 4 * 1024**2
"""Rows of neighbouring groups that are converted together."""


class GroupFrames:
    """Reads the pieces of a table of Arrow files, each a run of rows anywhere in them.

    Fastest in ascending order.
    """

    def __init__(self, table: Table, pieces: np.ndarray) -> None:
        self._table = table
        self._pieces = pieces
        self._files: dict[int, pa.Table] = {}
        self._starts: list[int] = []
        self._stops: list[int] = []
        self._first = self._last = 0
        self._slices: FrameSlices | None = None
        self._noted: list[tuple[int, LossCounter]] = []
        self.keep: tuple[str, ...] = ()
        """Columns that `kept` has of each frame, as they were decoded."""
        self.kept: pa.Table | None = None
        self._gathered: pa.Table | None = None
        self._stop = len(pieces)
        self._rows_at_once = max(1, GATHER_BYTES * (table.rows or 1) // max(table.size_bytes, 1))

    def expect(self, start: int, stop: int) -> None:
        """Hint: the pieces [start, stop) are wanted next, so gathering ends at `stop`."""
        self._stop = stop

    def frame(self, i: int) -> pd.DataFrame:
        """The rows of piece `i`, with a fresh RangeIndex and the dtypes that they have alone."""
        if not self._first <= i < self._last:
            self._gather(i)
        if self._slices is None:
            self._last = self._first  # read again when asked again: the script may have changed the frame
            number, start, stop = self._pieces[i].tolist()
            rows = self._rows(number, start, stop)
            if self.keep:
                self.kept = rows.select(self.keep)
            self._note(i, WideIntegers(rows).count(0, stop - start))
            return to_frame(rows, stop - start)
        number = i - self._first
        start, stop = self._starts[number], self._stops[number]
        if self._gathered is not None:
            self.kept = self._gathered.slice(start, stop - start)
        self._note(i, self._slices.wide.count(start, stop))
        return self._slices.frame(number)

    def rows(self, i: int) -> pa.Table:
        """The rows of piece `i` as they were decoded."""
        return self._rows(*self._pieces[i].tolist())

    def take_notices(self, repeated: Collection[int]) -> tuple[Notice, ...]:
        """What the frames since the last call have changed, without those of the pieces `repeated`."""
        losses = LossCounter()
        for i, found in self._noted:
            if i not in repeated:
                losses.merge(found)
        self._noted.clear()
        return losses.take_notices()

    def _note(self, i: int, found: LossCounter | None) -> None:
        if found is not None:
            self._noted.append((i, found))

    def _gather(self, i: int) -> None:
        """Convert piece `i` and as many behind it as are converted together."""
        ceiling = self._stop if i < self._stop else len(self._pieces)
        ahead = self._pieces[i : min(ceiling, i + self._rows_at_once)]
        count = max(
            1,
            int(np.searchsorted(np.cumsum(ahead["stop"] - ahead["start"]), self._rows_at_once, side="right")),
        )
        self._first, self._last, self._slices = i, i + count, None
        if count == 1:
            return
        ahead = ahead[:count]
        # groups of one file follow each other there, so few runs of rows hold them all
        order = np.argsort(ahead["file"], kind="stable")
        sorted_ = ahead[order]
        breaks = np.flatnonzero(
            (sorted_["file"][1:] != sorted_["file"][:-1]) | (sorted_["start"][1:] != sorted_["stop"][:-1])
        )
        first, last = np.concatenate([[0], breaks + 1]), np.concatenate([breaks, [count - 1]])
        runs = zip(
            sorted_["file"][first].tolist(),
            sorted_["start"][first].tolist(),
            sorted_["stop"][last].tolist(),
            strict=True,
        )
        rows = pa.concat_tables([self._rows(*run) for run in runs])
        stops = np.empty(count, np.int64)
        stops[order] = np.cumsum(sorted_["stop"] - sorted_["start"])
        self._starts, self._stops = (stops - (ahead["stop"] - ahead["start"])).tolist(), stops.tolist()
        self._slices = FrameSlices(rows, rows.num_rows, self._starts, self._stops)
        self._gathered = rows.select(self.keep) if self.keep else None

    def _rows(self, number: int, start: int, stop: int) -> pa.Table:
        file = self._files.get(number)
        if file is None:
            file = self._files[number] = pa.ipc.open_file(pa.memory_map(self._table.files[number])).read_all()
        return file.slice(start, stop - start)
