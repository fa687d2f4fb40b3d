"""Reads the pieces of a table as mini-batches.

Neighbouring small pieces share one read and one parse, those of a Parquet row group one decoding, and small
files of text one parse (`small_files`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from daskpar.data.columns.buffers import empty_table
from daskpar.data.columns.wide_integers import WideIntegers
from daskpar.data.formats.delimited import DelimitedParser
from daskpar.data.formats.parquet import conform
from daskpar.data.notices import LossCounter, Notice
from daskpar.data.tables import file_reader
from daskpar.data.tables.file_reader import FileReader
from daskpar.data.tables.frame_slices import FrameSlices, to_frame
from daskpar.data.tables.small_files import SmallFiles
from daskpar.data.tables.table import Table
from daskpar.data.tables.table_steps import RowChunk, apply, drops_rows
from daskpar.errors import DaskparError, DataUnreached, InputChanged
from daskpar.value_classes import frozen, mutable

if TYPE_CHECKING:
    import pandas as pd

MANY_COLUMNS = 1000
"""Columns from which on slices of a decoded row group cost by their number, not by their values."""
WIDE_TIMES = 4
"""Times as many bytes of a row group are then converted together."""


@mutable
class _PieceRun:
    """Pieces [first, last) read together: their rows behind all steps, and which of them are whose."""

    first: int
    last: int
    chunk: RowChunk
    starts: list[int]
    stops: list[int]
    losses: LossCounter
    slices: FrameSlices | None = None


@frozen
class _Served:
    """A piece given out as a frame, where it or its run has lost values."""

    piece: int
    run: tuple[int, int, LossCounter] | None
    """First and last piece of the run, and what all of it has lost."""
    changed: LossCounter | None
    """What the frame of the piece itself has changed."""


class TableReader:
    """Reads the pieces of a table; an error is raised for its own piece alone.

    Fastest in ascending order, and with `expect`: else up to 64 small files are read to give one.
    """

    def __init__(self, table: Table, pieces: np.ndarray, positions: bool = False) -> None:
        self.table = table
        self.pieces = pieces
        self._positions = positions or drops_rows(table.steps)
        self.losses = LossCounter()
        """Values lost on the way, counted as pieces are read."""
        self.keep: tuple[str, ...] = ()
        """Columns that `kept` has of each frame, as they were decoded."""
        self.kept: pa.Table | None = None
        self.apart = False
        """Whether each file is read by itself."""
        self.announce_together: Callable[[int], object] | None = None
        """Called before several files are read together, with the number of their pieces; and then with 0."""
        self._served: list[_Served] = []
        self._stop = len(pieces)
        self._run: _PieceRun | None = None
        self._alone_until = 0
        self._file: FileReader | None = None
        self._parsers: dict[int, DelimitedParser] = {}
        self._small = SmallFiles(table, pieces, self._parsers, positions)

    def frame(self, i: int) -> pd.DataFrame:
        """The rows of piece `i`, with a fresh RangeIndex."""
        run = self._covering(i)
        number = i - run.first
        start, stop = run.starts[number], run.stops[number]
        if self.keep:
            self.kept = run.chunk.table.select(self.keep).slice(start, stop - start)
        if run.last - run.first == 1:
            self._run = None  # a large piece is seldom asked for twice: the next one wants its memory
            self._note(i, run, WideIntegers(run.chunk.table).count(0, stop))
            return to_frame(run.chunk.table, stop)
        if run.slices is None:
            run.slices = FrameSlices(run.chunk.table, len(run.chunk.positions), run.starts, run.stops)
        self._note(i, run, run.slices.wide.count(start, stop))
        return run.slices.frame(number)

    def take_notices(self, repeated: Collection[int] = ()) -> tuple[Notice, ...]:
        """What the frames since the last call have lost, without those of the pieces `repeated`.

        Each piece counts for itself alone, however far its run was read. Where a run has lost something and
        not all of it was asked for, the pieces that were are read again.
        """
        served, self._served = self._served, []
        losses = LossCounter()
        runs: dict[int, tuple[tuple[int, int, LossCounter], list[int]]] = {}
        for found in served:
            if found.piece in repeated:
                continue
            if found.changed is not None:
                losses.merge(found.changed)
            if found.run is not None:
                runs.setdefault(id(found.run[2]), (found.run, []))[1].append(found.piece)
        for (first, last, lost), pieces in runs.values():
            losses.merge(lost if len(set(pieces)) == last - first else self._losses_of(pieces, lost))
        return losses.take_notices()

    def _losses_of(self, pieces: list[int], all_of_run: LossCounter) -> LossCounter:
        """What these pieces of a run have lost: they are read again, by themselves."""
        losses = LossCounter()
        try:
            for start, stop in _spans(pieces):
                losses.merge(self._read(start, stop).losses)
        except DaskparError:  # gone since: their rows are there, and only the count says too much
            return all_of_run
        return losses

    def _note(self, i: int, run: _PieceRun, changed: LossCounter | None) -> None:
        if run.losses.found or changed is not None:
            lost = (run.first, run.last, run.losses) if run.losses.found else None
            self._served.append(_Served(i, lost, changed))

    def arrow(self, i: int) -> pa.Table:
        """The rows of piece `i` as an Arrow table with the schema of the table."""
        return self.chunk(i).table

    def chunk(self, i: int) -> RowChunk:
        """The rows of piece `i`; with `positions`, they tell where each record stands in its file."""
        run = self._covering(i)
        start, stop = run.starts[i - run.first], run.stops[i - run.first]
        file = self.table.first + int(self.pieces["file"][i])
        rows = run.chunk.table.slice(start, stop - start)
        return RowChunk(rows, file, run.chunk.positions[start:stop])

    def joined(self, start: int, stop: int) -> pd.DataFrame:
        """The rows of the pieces [start, stop) as one frame."""
        if stop - start == 1:
            return self.frame(start)
        parts = []
        for i in range(start, stop):
            parts.append(self.chunk(i))
            assert self._run is not None
            self._note(i, self._run, None)
        rows = sum(len(part.positions) for part in parts)
        whole = pa.concat_tables([part.table for part in parts]) if parts else empty_table(self.table.schema)
        if self.keep:
            self.kept = whole.select(self.keep)
        if changed := WideIntegers(whole).count(0, rows):
            self._served.append(_Served(start, None, changed))
        return to_frame(whole, rows)

    def expect(self, start: int, stop: int) -> None:
        """Hint: the pieces [start, stop) are wanted next, so reading ahead ends at `stop`."""
        self._stop = stop

    def close(self) -> None:
        """Forget what was read and close the file."""
        self._run = None
        if self._file is not None:
            self._file.close()
            self._file = None

    def _covering(self, i: int) -> _PieceRun:
        """The run of pieces that holds piece `i`, read where it is not the latest."""
        run = self._run
        if run is None or not run.first <= i < run.last:
            self._run = None
            run = self._run = self._read_together(i)
        if run is None:
            last = i + 1 if i < self._alone_until else self._reach(i)
            try:
                run = self._read(i, last)
            except DataUnreached:
                raise  # to ask for it again at once, and for less, would be of no use
            except Exception:
                if last == i + 1:
                    raise
                self._alone_until = last  # one of these pieces has an error: it must not hit the others
                run = self._read(i, i + 1)
            self._run = run
        return run

    def _read_together(self, i: int) -> _PieceRun | None:
        """A run that begins with piece `i` and goes over several files; None where there is none."""
        if self.apart or i < self._alone_until:
            return None
        last = self._small.end_of_run(i, self._stop if i < self._stop else len(self.pieces))
        if last == i:
            return None
        announce = self.announce_together
        if announce is not None:
            announce(last - i)
        found = self._small.read(i, last)
        if announce is not None:
            announce(0)
        if found is None:
            return None
        chunk, stops = found
        return _PieceRun(i, i + len(stops), chunk, [0, *stops[:-1]], stops, chunk.losses)

    def _reach(self, i: int) -> int:
        """Behind which piece a run ends that begins with `i`: neighbours in one file, up to a size."""
        pieces, file = self.pieces, self.pieces["file"][i]
        limit = int(pieces["start"][i]) + self._units_of_run(int(file), int(pieces["start"][i]))
        end, last = int(pieces["stop"][i]), i + 1
        # To convert a wide row group costs by its columns: the rows behind the block's end come free.
        ahead = i < self._stop and not (self.table.by_rows and len(self.table.needed) >= MANY_COLUMNS)
        ceiling = self._stop if ahead else len(pieces)
        while last < ceiling:
            piece = pieces[last]
            if piece["file"] != file or piece["start"] != end or piece["stop"] > limit:
                break
            end, last = int(piece["stop"]), last + 1
        return last

    def _units_of_run(self, file: int, start: int) -> int:
        """Bytes or rows of a run at a place of a file."""
        if not self.table.by_rows:
            return file_reader.READ_BYTES
        at, wide = 0, len(self.table.needed) >= MANY_COLUMNS
        most = file_reader.READ_BYTES * (WIDE_TIMES if wide else 1)
        for rows, size in self.table.groups[file]:
            at += rows
            if start < at:
                return max(1, min(int(most * rows / max(size, 1)), at - start))
        return 1

    def _read(self, first: int, last: int) -> _PieceRun:
        piece = self.pieces[first]
        number = int(piece["file"])
        if self._file is None or self._file.number != number:
            if self._file is not None:
                self._file.close()
            self._file = None
            self._file = FileReader(self.table, number, self._positions, self._parsers)
        stops = self.pieces["stop"][first:last].astype(np.int64)
        losses = LossCounter()
        try:
            base, positions, ends = self._file.read(int(piece["start"]), stops, losses)
        except (InputChanged, DataUnreached):
            self._file.close()
            self._file = None  # opened anew by the next try: what is there then may be what was planned
            raise
        chunk = RowChunk(
            base,
            self.table.first + number,
            positions,
            self.table.files[number],
            self.table.values_of(number),
            losses,
        )
        apply(self.table.steps, chunk)
        if last == first + 1:
            ends = np.array([len(chunk.positions)])
        elif ends is None:
            ends = np.searchsorted(chunk.positions, stops)
        if not self.table.schema.equals(chunk.table.schema, check_metadata=True):
            chunk.table = conform(chunk.table, self.table.schema, len(chunk.positions))
        self.losses.merge(losses)
        stops_found = ends.tolist()
        return _PieceRun(first, last, chunk, [0, *stops_found[:-1]], stops_found, losses)


def _spans(pieces: list[int]) -> list[tuple[int, int]]:
    """Runs of neighbours [start, stop) among pieces, of which some may occur twice."""
    ordered = np.unique(pieces)
    breaks = np.flatnonzero(np.diff(ordered) > 1) + 1
    return [(int(part[0]), int(part[-1]) + 1) for part in np.split(ordered, breaks)]
