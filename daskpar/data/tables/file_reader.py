"""Reads rows of one file of a table by its format, before any step of the table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from daskpar.data.formats.byte_source import ByteSource
from daskpar.data.formats.delimited import DelimitedParser, Doubt, read_head
from daskpar.data.formats.dialect import Dialect, mark_length, to_utf8
from daskpar.data.formats.headers import doubt_of_header
from daskpar.data.formats.json_lines import ParsedLines, parse_lines
from daskpar.data.formats.parquet import ParquetRows, conform
from daskpar.data.formats.record_bounds import RecordBytes, read_records, row_ends, row_starts
from daskpar.data.notices import CONVERT, INVALID, LATE, WIDE, LossCounter, LostValues, shortened
from daskpar.data.stamps import check, check_opened
from daskpar.data.tables import filter_parser
from daskpar.data.tables.table import ARROW, DELIMITED, PARQUET, Table
from daskpar.errors import InputError

READ_BYTES = 4 * 1024 * 1024
"""Bytes of a file that are read and parsed together."""
COUNTED_LINES_BYTES = 16 * 1024 * 1024
"""Up to here in a file a message gives the line of a record, for which all before it is read; else the byte.
"""


class FileReader:
    """One open file of a table, read by its format: columns of the base schema before any step."""

    def __init__(
        self, table: Table, number: int, positions: bool, parsers: dict[int, DelimitedParser]
    ) -> None:
        self.table = table
        self.number = number
        self._positions = positions
        self.path = table.files[number]
        self.size = table.end_of(number)
        self._stamp = table.stamp(number)
        self.fields = table.needed_fields
        self._source: ByteSource | None = None
        self._parquet: ParquetRows | None = None
        self._conforms = False
        """Whether the file's columns are those of the table: thousands take time to look at."""
        self._arrow: pa.Table | None = None
        self._unchecked_start: int | None = None
        try:
            self._open(parsers)
        except InputError:
            self.close()
            check(self.path, self._stamp)  # a header that can't be read may be that of another file
            raise

    def _open(self, parsers: dict[int, DelimitedParser]) -> None:
        table = self.table
        if table.format == PARQUET:
            check(self.path, self._stamp)
            self._parquet = ParquetRows(self.path, [found.name for found in self.fields], _terms(table))
        elif table.format == ARROW:
            self._arrow = pa.ipc.open_file(pa.memory_map(self.path)).read_all()
        else:
            self._open_text(parsers)

    def read(
        self, start: int, stops: np.ndarray, losses: LossCounter
    ) -> tuple[pa.Table, np.ndarray, np.ndarray | None]:
        """The rows from `start` to the last of `stops`, and the position of each.

        Also how many of them each stop ends; None where the positions tell. InputChanged where the file is
        not the one that was planned.
        """
        try:
            return self._read(start, stops, losses)
        finally:
            # After it was read: nobody has written into it meanwhile. And what a wrong file gave or what was
            # wrong with it is no matter.
            check(self.path, self._stamp)

    def _read(
        self, start: int, stops: np.ndarray, losses: LossCounter
    ) -> tuple[pa.Table, np.ndarray, np.ndarray | None]:
        stop = int(stops[-1])
        if self._unchecked_start is not None and start <= self._unchecked_start < stop:
            self._check_head(losses)
        if self._parquet is not None:
            table, positions = self._parquet.rows(start, stop)
            if self._conforms:
                return table, positions, None
            found = conform(table, self.fields, len(positions), self.path, losses)
            self._conforms = found is table and table.num_rows > 0
            return found, positions, None
        if self._arrow is not None:
            table = self._arrow.slice(start, stop - start).select([found.name for found in self.fields])
            return table, np.arange(start, stop, dtype=np.int64), None
        if len(stops) == 1 and stop - start > READ_BYTES and not self._dialect.support_multi_line:
            return self._read_in_parts(start, stop, losses)
        return self._read_text(start, stops, losses)

    def records(self, start: int, stop: int, losses: LossCounter) -> RecordBytes:
        """The bytes of the records from `start` to `stop` of a file of text. Raises as `read`."""
        try:
            if self._unchecked_start is not None and start <= self._unchecked_start < stop:
                self._check_head(losses)
            return self._records(start, stop)
        finally:
            check(self.path, self._stamp)

    def plain_rows(self, text: bytes) -> pa.Table | None:
        """The rows of the records in `text`, of this file and others that are laid out alike.

        None where any of it needs more than a parse, or a word to the user. InputError where it can't be
        read.
        """
        if self.table.format == DELIMITED:
            found = self._parser.parse_plain(text)
        else:
            lines = self._parsed_lines(text, 0)
            odd = lines.failures or lines.surplus or lines.changed or lines.dropped
            found = None if odd or lines.kept is not None else lines.table
        return None if found is None else conform(found, self.fields, found.num_rows)

    def close(self) -> None:
        """Close what is open."""
        for found in (self._source, self._parquet):
            if found is not None:
                found.close()

    def _open_text(self, parsers: dict[int, DelimitedParser]) -> None:
        dialect = self.table.dialect
        assert dialect is not None
        self._source = ByteSource(self.path)
        if self._source.descriptor is not None:
            check_opened(self.path, self._source.descriptor, self._stamp)
        self._dialect: Dialect = dialect
        if self.table.format == DELIMITED:
            layout = self.table.header_of[self.number]
            names = self.table.headers[layout]
            head = read_head(
                self._source.read, self.size, dialect, self.table.has_header(self.number), self.path
            )
            self._body, self._names = head.body, head.names
            # whoever reads the first of a file's pieces looks at its head: it counts once in a run
            self._unchecked_start = self.table.start_of(self.number)
            if layout not in parsers:  # it remembers from file to file which columns need care
                own = set(names)
                keep = [found.name for found in self.fields if found.name in own]
                # a row without any field that is wanted is still a row
                parsers[layout] = DelimitedParser(
                    dialect, [(name, self.table.kinds[name]) for name in names], keep or names[:1]
                )
            self._parser = parsers[layout]
            self._parser.source = self.path
        else:
            self._body = mark_length(self._source.read(0, 4), dialect, self.path)

    def _check_head(self, losses: LossCounter) -> None:
        """Count what is doubtful of the first line of the file."""
        assert self._source is not None
        names = self._names
        if not self.table.has_header(self.number):
            names = read_head(self._source.read, self.size, self._dialect, True, self.path).names
        known = self.table.headers[self.table.header_of[self.number]]
        doubt = doubt_of_header(
            names,
            known,
            is_header=self.table.has_header(self.number),
            others_have_one=self.table.header_files > 0,
            delimiter=self._dialect.delimiter,
        )
        if doubt:
            shown = shortened(self._dialect.delimiter.join(names))
            losses.add("", doubt, LostValues(1, f"{self.path}: {shown}"))

    def _example(self, doubt: Doubt, span: RecordBytes) -> str:
        """Where a doubtful record stands, and its text."""
        starts = row_starts(span.data, span.offset, self._dialect)
        at = int(starts[doubt.row]) if doubt.row < len(starts) else span.offset
        where = f"{self.path}, byte {at}"
        if doubt.cause not in self._parser.placed and at <= COUNTED_LINES_BYTES:
            assert self._source is not None
            where = f"{self.path}, line {self._source.read(0, at).count(bytes([10])) + 1}"
        self._parser.placed.add(doubt.cause)
        return f"{where}: {shortened(doubt.text)}" if doubt.text else where

    def _read_in_parts(self, start: int, stop: int, losses: LossCounter) -> tuple[pa.Table, np.ndarray, None]:
        """A large piece read a part at a time, so that its bytes and its values are never all in memory."""
        parts = [
            self._read_text(at, np.array([min(at + READ_BYTES, stop)]), losses)
            for at in range(start, stop, READ_BYTES)
        ]
        return (
            pa.concat_tables([part[0] for part in parts]),
            np.concatenate([part[1] for part in parts]),
            None,
        )

    def _read_text(
        self, start: int, stops: np.ndarray, losses: LossCounter
    ) -> tuple[pa.Table, np.ndarray, np.ndarray | None]:
        span = self._records(start, int(stops[-1]))
        if self.table.format != DELIMITED:
            return self._read_json(span.data, span.offset, losses, alone=len(stops) == 1)
        parsed = self._parser.parse(span.data, span.offset)
        for name, lost in parsed.failures.items():
            losses.add(name, CONVERT, lost)
        for number, lost in parsed.surplus.items():
            losses.add(f"Column{number}", LATE, lost)
        for (name, cause), lost in parsed.changed.items():
            losses.add(name, cause, lost)
        for doubt in parsed.doubts:
            losses.add("", doubt.cause, LostValues(doubt.count, self._example(doubt, span)))
        rows = parsed.table.num_rows
        if self._positions:
            positions, ends = row_starts(span.data, span.offset, self._dialect), None
            counted = len(positions)
        elif len(stops) == 1:
            positions, ends, counted = np.arange(rows, dtype=np.int64), np.array([rows], np.int64), rows
        else:
            ends = row_ends(span.data, span.offset, stops, self._dialect, rows)
            positions, counted = np.arange(rows, dtype=np.int64), int(ends[-1])
        if counted != rows:
            if len(stops) > 1:
                raise InputError(
                    f"{self.path}: bytes {start} to {stops[-1]} hold {counted} lines and {rows} records"
                )
            positions, ends = np.full(rows, span.offset, np.int64), np.array([rows], np.int64)
        return conform(parsed.table, self.fields, rows), positions, ends

    def _records(self, start: int, stop: int) -> RecordBytes:
        assert self._source is not None
        near = self._source.descriptor is not None
        return read_records(
            self._source.read, self.size, start, stop, self._dialect, self._body, self.path, near
        )

    def _read_json(
        self, data: bytes, offset: int, losses: LossCounter, alone: bool
    ) -> tuple[pa.Table, np.ndarray, None]:
        found = self._parsed_lines(data, offset)
        for name, lost in found.failures.items():
            losses.add(name, CONVERT, lost)
        for name, lost in found.surplus.items():
            losses.add(name, LATE, lost)
        for name, lost in found.changed.items():
            losses.add(name, WIDE, lost)
        losses.add("", INVALID, found.dropped)
        if alone and not self._positions:  # nobody asks where they stand
            return found.table, np.arange(found.table.num_rows, dtype=np.int64), None
        positions = row_starts(data, offset, self._dialect)
        return (
            found.table,
            positions[: found.table.num_rows] if found.kept is None else positions[found.kept],
            None,
        )

    def _parsed_lines(self, data: bytes, offset: int) -> ParsedLines:
        return parse_lines(
            to_utf8(data, self._dialect, offset, self.path),
            list(self.table.base),
            kinds=self.table.kinds,
            keep={found.name for found in self.fields},
            drop_invalid=self.table.drop_invalid,
            offset=offset,
            source=self.path,
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
