"""Several small files of text read by one parse: to set one up takes as long as to parse hundreds of rows.

Only what is plain is read so. Where anything of any of the files needs a second look (an error, a lost value,
a record with fields too many, a file that has changed), each is read by itself, and what is to be said is
said of the file that it is about.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import field
from itertools import groupby

import numpy as np

from daskpar.data.formats.delimited import DelimitedParser
from daskpar.data.formats.parquet import conform
from daskpar.data.formats.record_bounds import ends_inside_quotes
from daskpar.data.notices import LossCounter
from daskpar.data.tables import file_reader
from daskpar.data.tables.file_reader import FileReader
from daskpar.data.tables.table import DELIMITED, JSON_LINES, Table
from daskpar.data.tables.table_steps import OF_A_FILE, RowChunk, apply
from daskpar.locations import is_url
from daskpar.value_classes import mutable

SMALL_BYTES = 256 * 1024
"""Of a file that is read together with others, at most: in a larger one the parse itself takes longest."""
MOST_FILES = 64
"""Read before the first of them is given out: each may take a while where the disk is far away."""
MOST_PIECES_APART = 4096
"""Where something was wrong, so many are read one by one at most before it is tried again."""


@mutable
class SmallFiles:
    """Reads neighbouring pieces of a table that lie in several small local files."""

    table: Table
    pieces: np.ndarray
    parsers: dict[int, DelimitedParser]
    """Of the table's lists of columns, as `FileReader` has them."""
    _apart_until: int = 0
    """The pieces before this one are read one by one."""
    _pause: int = MOST_FILES
    _alike: bool = field(init=False)

    def __post_init__(self) -> None:
        table, dialect = self.table, self.table.dialect
        self._alike = (
            table.format in (DELIMITED, JSON_LINES)
            and dialect is not None
            and dialect.encoding == "utf8"
            and not any(step["op"] in OF_A_FILE for step in table.steps)
        )

    def reach(self, first: int, ceiling: int) -> int:
        """Behind which piece a run ends that begins with piece `first`, `ceiling` at most.

        `first` itself where there are no several files to read together.
        """
        if not self._alike or first < self._apart_until:
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

        None where each file is to be read by itself.
        """
        try:
            found = self._read(first, last)
        except Exception:  # said, of its file alone, by whoever reads that one
            found = None
        if found is None:
            self._apart_until = last + self._pause
            self._pause = min(2 * self._pause, MOST_PIECES_APART)
        else:
            self._pause = MOST_FILES
        return found

    def _read(self, first: int, last: int) -> tuple[RowChunk, list[int]] | None:
        some = self.pieces[first:last]
        numbers, starts, stops = (some[name].tolist() for name in ("file", "start", "stop"))
        texts: list[bytes] = []
        ends: list[int] = []
        length, losses = 0, LossCounter()
        for number, members in groupby(range(last - first), key=numbers.__getitem__):
            mine = list(members)
            with closing(FileReader(self.table, number, False, self.parsers)) as file:
                span = file.records(starts[mine[0]], stops[mine[-1]], losses)
            text = span.data if span.data.endswith(b"\n") or not span.data else span.data + b"\n"
            dialect = self.table.dialect
            assert dialect is not None
            if dialect.support_multi_line and b'"' in text and ends_inside_quotes(text, dialect):
                return None
            ends += [length + min(max(stops[at] - span.offset, 0), len(text)) for at in mine[:-1]]
            length += len(text)
            ends.append(length)
            texts.append(text)
        found = file.plain_rows(b"".join(texts), ends)
        if found is None:
            return None
        rows, row_ends = found
        positions = np.arange(rows.num_rows, dtype=np.int64)
        chunk = RowChunk(rows, self.table.first + numbers[0], positions, losses=losses)
        apply(self.table.steps, chunk)
        if not self.table.schema.equals(chunk.table.schema, check_metadata=True):
            chunk.table = conform(chunk.table, self.table.schema, rows.num_rows)
        return None if losses.found else (chunk, row_ends)
