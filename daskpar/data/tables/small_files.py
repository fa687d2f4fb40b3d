"""Several small files of text read by one parse: to set one up takes as long as to parse hundreds of rows.

Only what is plain is read so. Where anything of any of the files needs a second look (an error, a lost value,
a record with fields too many, a file that has changed), each is read by itself, and what is to be said is
said of the file that it is about.
"""

from __future__ import annotations

from contextlib import closing
from itertools import groupby
from time import monotonic
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from daskpar.data.columns.special_types import is_any
from daskpar.data.formats.delimited import DelimitedParser, doubts_of_encoding
from daskpar.data.formats.parquet import conform
from daskpar.data.formats.record_bounds import ends_inside_quotes, row_ends, row_starts
from daskpar.data.notices import LossCounter
from daskpar.data.tables import file_reader
from daskpar.data.tables.file_reader import FileReader
from daskpar.data.tables.table import DELIMITED, JSON_LINES, Table
from daskpar.data.tables.table_steps import OF_A_FILE, RowChunk, apply, drops_rows
from daskpar.locations import is_url
from daskpar.value_classes import mutable

SMALL_BYTES = 256 * 1024
"""Of a file that is read together with others, at most: in a larger one the parse itself takes longest."""
MOST_FILES = 64
"""Read before the first of them is given out: each may take a while where the disk is far away."""
LEAST_PAUSE, MOST_PAUSE = 64, 4096
"""Pieces that are read one by one after a run in which something was odd: twice as many each time that it
happens again, for to have read a run in vain costs about as much as to read it well.
"""
GATHER_SECONDS = 1.0
"""For reading the files of a run: those that were not read by then are left to the next one."""


class _Part(NamedTuple):
    """The pieces [first, last) of a run, which lie in one file."""

    number: int
    first: int
    last: int
    shift: int
    """What to add to a place in the text of all files to get that in this file."""


@mutable
class SmallFiles:
    """Reads neighbouring pieces of a table that lie in several small local files."""

    table: Table
    pieces: np.ndarray
    parsers: dict[int, DelimitedParser]
    """Of the table's lists of columns, as `FileReader` has them."""
    positions: bool = False
    """Whether somebody asks where in its file each row stands."""
    _apart_until: int = 0
    """The pieces before this one are read one by one."""
    _pause: int = LEAST_PAUSE

    def __post_init__(self) -> None:
        table, dialect = self.table, self.table.dialect
        is_text = table.format in (DELIMITED, JSON_LINES) and dialect is not None and not dialect.wide
        # Values of any kind are read line by line, which takes as long for few lines as for many.
        self._readable = is_text and not any(is_any(found) for found in table.needed_fields)
        self._drops = drops_rows(self.table.steps)
        self._asks_for_file = any(step["op"] in OF_A_FILE for step in self.table.steps)

    def end_of_run(self, first: int, ceiling: int) -> int:
        """Behind which piece a run ends that begins with piece `first`, `ceiling` at most.

        `first` itself where there are no several files to read together.
        """
        if not self._readable or first < self._apart_until:
            return first
        table, pieces = self.table, self.pieces
        files, size, number, end, last = 0, 0, -1, 0, first
        layouts = table.header_of  # none where files have no headers
        while last < ceiling:
            piece = pieces[last]
            own = int(piece["file"])
            if own != number:
                size += table.sizes[own]
                if (
                    files == MOST_FILES
                    or table.sizes[own] > SMALL_BYTES
                    or size > file_reader.READ_BYTES
                    or (files and layouts and layouts[own] != layouts[number])
                    or is_url(table.files[own])
                ):
                    break
                files, number = files + 1, own
            elif piece["start"] != end:
                break
            end, last = piece["stop"], last + 1
        return last if files > 1 else first

    def read(self, first: int, last: int) -> tuple[RowChunk, list[int]] | None:
        """The rows of the pieces [first, last) behind all steps, and where those of each piece end.

        Of fewer pieces where reading takes long; None where each file is to be read by itself. With
        `positions`, those of the chunk tell where each row stands in its own file.
        """
        try:
            found = self._read(first, last)
        except Exception:  # said, of its file alone, by whoever reads that one
            found = None
        if found is None:
            pause = max(self._pause, last - first)
            self._apart_until = last + pause
            self._pause = min(2 * pause, MOST_PAUSE)
        else:
            self._pause = LEAST_PAUSE
        return found

    def _read(self, first: int, last: int) -> tuple[RowChunk, list[int]] | None:
        dialect = self.table.dialect
        assert dialect is not None
        parts: list[_Part] = []
        texts: list[bytes] = []
        ends: list[int] = []  # of the pieces, in the text of all files
        length, losses, began = 0, LossCounter(), monotonic()
        some = self.pieces[first:last]
        numbers, starts, stops = (some[name].tolist() for name in ("file", "start", "stop"))
        for number, members in groupby(range(last - first), key=numbers.__getitem__):
            mine = list(members)
            with closing(FileReader(self.table, number, False, self.parsers)) as file:
                span = file.records(starts[mine[0]], stops[mine[-1]], losses)
            text = span.data
            if losses.found or text.endswith(b"\r"):
                return None  # a header that is doubtful, or a return that would become half of a line end
            if text and not text.endswith(b"\n"):
                text += b"\n"
            if dialect.support_multi_line and b'"' in text and ends_inside_quotes(text, dialect):
                return None
            if doubts_of_encoding(text, dialect):  # which all texts together may not show
                return None
            parts.append(_Part(number, mine[0], mine[-1] + 1, span.offset - length))
            ends += [length + min(max(stops[at] - span.offset, 0), len(text)) for at in mine[:-1]]
            length += len(text)
            ends.append(length)
            texts.append(text)
            if monotonic() - began > GATHER_SECONDS:
                break
        data = b"".join(texts)
        rows = file.plain_rows(data)  # closed by now: only what is known of the layout is asked for
        if rows is None:
            return None
        if self._drops or self.positions or self.table.format == JSON_LINES:
            positions = row_starts(data, 0, dialect)
            counted, before = len(positions), np.searchsorted(positions, ends)
        else:
            before = row_ends(data, 0, ends, dialect, rows.num_rows)
            counted = int(before[-1])
            positions = np.arange(counted, dtype=np.int64)
        if counted != rows.num_rows:
            return None
        if self._asks_for_file or self.positions:
            found = self._file_by_file(rows, positions, before.tolist(), parts, stops, losses)
        else:
            chunk = self._finished(RowChunk(rows, -1, positions, losses=losses))
            found = chunk, (np.searchsorted(chunk.positions, ends) if self._drops else before).tolist()
        return None if losses.found else found

    def _file_by_file(
        self,
        rows: pa.Table,
        positions: np.ndarray,
        before: list[int],
        parts: list[_Part],
        stops: list[int],
        losses: LossCounter,
    ) -> tuple[RowChunk, list[int]]:
        """The rows behind all steps, which ask for the file of each row; and where those of each piece end.

        `before`: rows up to the end of each piece; `stops`: where each piece ends in its file.
        """
        table, ends = self.table, list[int]()
        chunks: list[RowChunk] = []
        at = kept = 0
        for part in parts:
            start, at = at, before[part.last - 1]
            own = RowChunk(
                rows.slice(start, at - start),
                table.first + part.number,
                positions[start:at] + part.shift,
                table.files[part.number],
                table.values_of(part.number),
                losses,
            )
            chunk = self._finished(own)
            if self._drops:
                ends += (kept + np.searchsorted(chunk.positions, stops[part.first : part.last])).tolist()
            else:
                ends += before[part.first : part.last]
            kept += len(chunk.positions)
            chunks.append(chunk)
        whole = pa.concat_tables([chunk.table for chunk in chunks])
        return RowChunk(whole, -1, np.concatenate([chunk.positions for chunk in chunks])), ends

    def _finished(self, chunk: RowChunk) -> RowChunk:
        apply(self.table.steps, chunk)
        if not self.table.schema.equals(chunk.table.schema, check_metadata=True):
            chunk.table = conform(chunk.table, self.table.schema, len(chunk.positions))
        return chunk
