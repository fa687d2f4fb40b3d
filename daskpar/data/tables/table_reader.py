"""Pieces of a table read as mini-batches: neighbouring small pieces share one read and one parse, a Parquet
row group one decoding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from daskpar.data.formats.byte_source import ByteSource
from daskpar.data.formats.delimited import DelimitedParser, read_head
from daskpar.data.formats.dialect import Dialect, mark_length, to_utf8
from daskpar.data.formats.json_lines import parse_lines
from daskpar.data.formats.parquet import ParquetRows, conform
from daskpar.data.formats.record_bounds import read_records, row_ends, row_starts
from daskpar.data.tables import filter_parser
from daskpar.data.tables.frame_slices import FrameSlices, to_frame
from daskpar.data.tables.lost_values import LossCounter
from daskpar.data.tables.table import ARROW, DELIMITED, PARQUET, Table
from daskpar.data.tables.table_steps import RowChunk, apply, drops_rows
from daskpar.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

SPAN = 4 * 1024 * 1024
"""Bytes of contiguous pieces that are read and parsed together."""


@dataclass
class _PieceRun:
    """Pieces [first, last) read together: their rows behind all steps, and where each piece's rows begin."""

    first: int
    last: int
    part: RowChunk
    bounds: np.ndarray
    slices: FrameSlices | None = None


class TableReader:
    """Reads the pieces of a table, cheapest in ascending order; an error of one piece is raised for that
    piece alone.
    """

    def __init__(self, table: Table, pieces: np.ndarray, positions: bool = False) -> None:
        self.table = table
        self.pieces = pieces
        self._positions = positions or drops_rows(table.steps)
        self.losses = LossCounter()
        """Values lost on the way, counted as pieces are read."""
        self._stop = len(pieces)
        self._span: _PieceRun | None = None
        self._alone_until = 0
        self._file: _File | None = None
        self._parsers: dict[int, DelimitedParser] = {}

    def frame(self, i: int) -> pd.DataFrame:
        """The rows of piece `i`, with a fresh RangeIndex."""
        span = self._covering(i)
        start, stop = span.bounds[i - span.first : i - span.first + 2].tolist()
        if span.last - span.first == 1:
            self._span = (
                None  # a large piece is seldom asked for twice: its memory is wanted for the next one
            )
            return to_frame(span.part.table, stop)
        if span.slices is None:
            span.slices = FrameSlices(span.part.table, len(span.part.positions))
        return span.slices.slice(start, stop)

    def arrow(self, i: int) -> pa.Table:
        """The rows of piece `i` as an Arrow table with the schema of the table."""
        return self.chunk(i).table

    def chunk(self, i: int) -> RowChunk:
        """The rows of piece `i` with the position of each record in its file."""
        span = self._covering(i)
        start, stop = span.bounds[i - span.first : i - span.first + 2].tolist()
        whole = span.part
        return RowChunk(whole.table.slice(start, stop - start), whole.file, whole.positions[start:stop])

    def joined(self, start: int, stop: int) -> pd.DataFrame:
        """The rows of the pieces [start, stop) as one frame."""
        if stop - start == 1:
            return self.frame(start)
        parts = [self.chunk(i) for i in range(start, stop)]
        rows = sum(len(part.positions) for part in parts)
        return to_frame(
            pa.concat_tables([part.table for part in parts]) if parts else self.table.schema.empty_table(),
            rows,
        )

    def expect(self, start: int, stop: int) -> None:
        """Hint: the pieces [start, stop) are wanted next, so reading ahead ends at `stop`."""
        self._stop = stop

    def close(self) -> None:
        """Forget what was read and close the file."""
        self._span = None
        if self._file is not None:
            self._file.close()
            self._file = None

    def _covering(self, i: int) -> _PieceRun:
        span = self._span
        if span is None or not span.first <= i < span.last:
            span = self._span = None
            last = i + 1 if i < self._alone_until else self._reach(i)
            try:
                span = self._read(i, last)
            except Exception:
                if last == i + 1:
                    raise
                self._alone_until = last  # one of these pieces has an error: it must not hit the others
                span = self._read(i, i + 1)
            self._span = span
        return span

    def _reach(self, i: int) -> int:
        pieces, file = self.pieces, self.pieces["file"][i]
        limit = int(pieces["start"][i]) + self._units_of_span(int(file), int(pieces["start"][i]))
        end, last = int(pieces["stop"][i]), i + 1
        ceiling = self._stop if i < self._stop else len(pieces)
        while last < ceiling:
            piece = pieces[last]
            if piece["file"] != file or piece["start"] != end or piece["stop"] > limit:
                break
            end, last = int(piece["stop"]), last + 1
        return last

    def _units_of_span(self, file: int, start: int) -> int:
        """Bytes or rows of a span at a place of a file."""
        if not self.table.by_rows:
            return SPAN
        at = 0
        for rows, size in self.table.groups[file]:
            at += rows
            if start < at:
                return max(1, min(int(SPAN * rows / max(size, 1)), at - start))
        return 1

    def _read(self, first: int, last: int) -> _PieceRun:
        piece = self.pieces[first]
        number = int(piece["file"])
        if self._file is None or self._file.number != number:
            if self._file is not None:
                self._file.close()
            self._file = None
            self._file = _File(self.table, number, self._positions, self._parsers)
        stops = self.pieces["stop"][first:last].astype(np.int64)
        losses = LossCounter()
        base, positions, ends = self._file.read(int(piece["start"]), stops, losses)
        part = RowChunk(
            base,
            self.table.first + number,
            positions,
            self.table.files[number],
            self.table.values_of(number),
            losses,
        )
        apply(self.table.steps, part)
        if last == first + 1:
            ends = np.array([len(part.positions)])
        elif ends is None:
            ends = np.searchsorted(part.positions, stops)
        if not self.table.schema.equals(part.table.schema, check_metadata=True):
            part.table = conform(part.table, list(self.table.schema), len(part.positions))
        self.losses.merge(losses)
        return _PieceRun(first, last, part, np.concatenate([[0], ends]).astype(np.int64))


class _File:
    """One open file of a table, read by its format: columns of the base schema before any step."""

    def __init__(
        self, table: Table, number: int, positions: bool, parsers: dict[int, DelimitedParser]
    ) -> None:
        self.table = table
        self.number = number
        self._positions = positions
        self.path = table.files[number]
        self.size = table.end_of(number)
        self.fields = [found for found in table.base if found.name in table.needed]
        self._source: ByteSource | None = None
        self._parquet: ParquetRows | None = None
        self._arrow: pa.Table | None = None
        if table.format == PARQUET:
            self._parquet = ParquetRows(self.path, [found.name for found in self.fields], _terms(table))
        elif table.format == ARROW:
            self._arrow = pa.ipc.open_file(pa.memory_map(self.path)).read_all()
        else:
            self._open_text(parsers)

    def read(
        self, start: int, stops: np.ndarray, losses: LossCounter
    ) -> tuple[pa.Table, np.ndarray, np.ndarray | None]:
        """The rows from `start` to the last of `stops`, the position of each, and how many of them each stop
        ends (None: by position).
        """
        stop = int(stops[-1])
        if self._parquet is not None:
            table, positions = self._parquet.rows(start, stop)
            return conform(table, self.fields, len(positions), self.path), positions, None
        if self._arrow is not None:
            table = self._arrow.slice(start, stop - start).select([found.name for found in self.fields])
            return table, np.arange(start, stop, dtype=np.int64), None
        if len(stops) == 1 and stop - start > SPAN and not self._dialect.support_multi_line:
            return self._in_parts(start, stop, losses)
        return self._read_text(start, stops, losses)

    def close(self) -> None:
        """Close what is open."""
        for found in (self._source, self._parquet):
            if found is not None:
                found.close()

    def _open_text(self, parsers: dict[int, DelimitedParser]) -> None:
        dialect = self.table.dialect
        assert dialect is not None
        self._source = ByteSource(self.path)
        self._dialect: Dialect = dialect
        if self.table.format == DELIMITED:
            layout = self.table.header_of[self.number]
            names = self.table.headers[layout]
            self._body = read_head(
                self._source.read, self.size, dialect, self.table.has_header(self.number), self.path
            ).body
            keep = [found.name for found in self.fields if found.name in names]
            # a row without any field that is wanted is still a row
            if layout not in parsers:  # it remembers from file to file which columns need care
                parsers[layout] = DelimitedParser(
                    dialect, [(name, self.table.kinds[name]) for name in names], keep or names[:1]
                )
            self._parser = parsers[layout]
            self._parser.source = self.path
        else:
            self._body = mark_length(self._source.read(0, 4), dialect, self.path)

    def _in_parts(self, start: int, stop: int, losses: LossCounter) -> tuple[pa.Table, np.ndarray, None]:
        """A large piece read a span at a time, so that its bytes are never all in memory beside its values."""
        parts = [
            self._read_text(at, np.array([min(at + SPAN, stop)]), losses) for at in range(start, stop, SPAN)
        ]
        return (
            pa.concat_tables([part[0] for part in parts]),
            np.concatenate([part[1] for part in parts]),
            None,
        )

    def _read_text(
        self, start: int, stops: np.ndarray, losses: LossCounter
    ) -> tuple[pa.Table, np.ndarray, np.ndarray | None]:
        assert self._source is not None
        span = read_records(self._source.read, self.size, start, int(stops[-1]), self._dialect, self._body)
        if self.table.format != DELIMITED:
            return self._read_json(span.data, span.offset, losses, alone=len(stops) == 1)
        parsed = self._parser.parse(span.data, span.offset)
        for name, lost in parsed.failures.items():
            losses.add(name, "convert", lost)
        for number, lost in parsed.surplus.items():
            losses.add(f"Column{number}", "late", lost)
        rows = parsed.table.num_rows
        if self._positions:
            positions, ends = row_starts(span.data, span.offset, self._dialect), None
            counted = len(positions)
        elif len(stops) == 1:
            positions, ends, counted = np.arange(rows, dtype=np.int64), np.array([rows], np.int64), rows
        else:
            ends = row_ends(span.data, span.offset, stops, self._dialect)
            positions, counted = np.arange(rows, dtype=np.int64), int(ends[-1])
        if counted != rows:
            if len(stops) > 1:
                raise InputError(
                    f"{self.path}: bytes {start} to {stops[-1]} hold {counted} lines and {rows} records"
                )
            positions, ends = np.full(rows, span.offset, np.int64), np.array([rows], np.int64)
        return conform(parsed.table, self.fields, rows), positions, ends

    def _read_json(
        self, data: bytes, offset: int, losses: LossCounter, alone: bool
    ) -> tuple[pa.Table, np.ndarray, None]:
        text = to_utf8(data, self._dialect, offset, self.path)
        keep = {found.name for found in self.fields}
        found = parse_lines(
            text,
            list(self.table.base),
            kinds=self.table.kinds,
            keep=keep,
            drop_invalid=self.table.drop_invalid,
            offset=offset,
            source=self.path,
        )
        for name, lost in found.failures.items():
            losses.add(name, "convert", lost)
        for name, lost in found.surplus.items():
            losses.add(name, "late", lost)
        losses.add("", "invalid", found.dropped)
        if alone and not self._positions:  # nobody asks where they stand
            return found.table, np.arange(found.table.num_rows, dtype=np.int64), None
        positions = row_starts(data, offset, self._dialect)
        return (
            found.table,
            positions[: found.table.num_rows] if found.kept is None else positions[found.kept],
            None,
        )


def _terms(table: Table) -> list[tuple[str, str, Any]]:
    """What the filters ask of columns as they are in the file: what statistics of row groups can rule out."""
    terms: list[tuple[str, str, Any]] = []
    changed: set[str] = set()
    for step in table.steps:
        if step["op"] == "convert":
            changed.add(step["column"])
        elif step["op"] == "keep":
            changed |= set(table.base.names) - set(step["names"])
        elif step["op"] == "filter":
            found = filter_parser.simple_terms(filter_parser.parse_filter(step["text"]))
            terms += [term for term in found if term[0] not in changed and term[0] in table.base.names]
    return terms
