"""The CSV format: one line of column names, then the rows as pandas' `to_csv(index=False)` writes them."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from daskpar.data.notices import RETURNED_ARRAYS, RETURNED_BYTES, Notice
from daskpar.jobspec.row_formats import CSV
from daskpar.rows.columns import Columns
from daskpar.rows.missing_values import is_missing
from daskpar.rows.named_rows import (
    EachRange,
    NamedRowsEncoder,
    NamedRowsFormat,
    frame_names,
    mappings,
    pandas_frame,
    refuse_doubles,
    refuse_nameless,
    rows_of,
)
from daskpar.rows.row_format import Schema
from daskpar.rows.text_format import TextEncoder

if TYPE_CHECKING:
    from daskpar.rows.item_columns import ItemColumns

_FIELD = re.compile(rb'("(?:[^"]|"")*"|[^,\n]*)([,\n])')


class CsvFormat(NamedRowsFormat):
    """Values separated by commas, in UTF-8, quoted where they have to be; the text of each mini-batch is that
    of its own frame.

    Where columns may differ, the names of a range's columns stand before it, and the output is made of them.
    """

    name = CSV

    @property
    def concatenated(self) -> bool:  # type: ignore[override]
        return not self.union

    def encoder(self) -> CsvEncoder:
        return CsvEncoder(self)

    def head(self, schema: Schema | None) -> bytes:
        if schema is None:
            return b""
        return _text([Columns.from_text(schema[0]).names])

    def one_range(self, pieces: Sequence[bytes]) -> bytes:
        if not self.union:
            return b"".join(pieces)
        named = [with_names(data) for data in pieces if data]
        names = tuple(dict.fromkeys(name for own, _ in named for name in own))
        text = b"".join(rows if own == names else _rearranged(rows, own, names) for own, rows in named)
        return before_each(text, [len(text)], [names])[0]

    def join(self, ranges: Iterator[bytes], schema: Schema | None) -> Iterator[bytes]:
        if self.concatenated:
            yield from super().join(ranges, schema)
            return
        yield self.head(schema)
        yield from map(self.joiner(schema).add, ranges)

    def joiner(self, schema: Schema | None) -> EachRange:
        return EachRange(schema, _with_all)


class CsvEncoder(NamedRowsEncoder):
    """Of one processor."""

    def __init__(self, row_format: CsvFormat) -> None:
        super().__init__(row_format)
        self._text = TextEncoder(separator=",")
        self._names: list[tuple[str, ...]] = []

    @property
    def size_estimate(self) -> int:
        """About how many bytes wait for `take`."""
        return self._text.size_estimate

    def _taken(
        self, returned: Any, index: int, before: ItemColumns | None
    ) -> tuple[int, Hashable, Callable[[], Schema]]:
        frame = pandas_frame(returned)
        if frame is None:
            names, rows = mappings(rows_of(returned), self.row_format)
            fields = [[_cell(row.get(name)) for name in names] for row in rows]
            if before is not None and rows:
                cells = before.cells(names, len(rows))
                names = (*before.names, *names)
                fields = [[*own, *row] for own, row in zip(cells, fields, strict=True)]
            text = _text(fields)
            self._text.add_text(text)
            count = len(rows)
        else:
            names = frame_names(frame.columns)
            if before is None:
                refuse_nameless(names, len(frame))
            elif names or len(frame):
                frame = before.frame(frame)
                names = (*before.names, *names)
            if self.row_format.union:
                refuse_doubles(names)
            count = len(frame)
            if names:
                self._text.add(frame)
            else:
                self._text.add_text(b"")
        self._names.append(names)
        return count, names or None, lambda: (Columns.of(names, index).to_text(),)

    def take_notices(self) -> tuple[Notice, ...]:
        """Bytes, and arrays that lose digits in their text; the rest that text may hide is in quotes here."""
        return tuple(
            notice
            for notice in self._text.take_notices()
            if notice.cause in (RETURNED_ARRAYS, RETURNED_BYTES)
        )

    def take(self) -> tuple[bytes | memoryview, list[int]]:
        """As `RowEncoder.take`."""
        text, lengths = self._text.take()
        names, self._names = self._names, []
        return before_each(bytes(text), lengths, names) if self.row_format.union else (text, lengths)


def before_each(
    text: bytes, lengths: Sequence[int], names: Sequence[tuple[str, ...]]
) -> tuple[bytes, list[int]]:
    """Ranges with the names of their columns before them; those without rows stay empty."""
    ranges = []
    ends = itertools.accumulate(lengths)
    for end, length, own in zip(ends, lengths, names, strict=True):
        ranges.append(json.dumps(own).encode() + b"\n" + text[end - length : end] if length else b"")
    return b"".join(ranges), list(map(len, ranges))


def with_names(data: bytes) -> tuple[tuple[str, ...], bytes]:
    """The names that `before_each` has put before a range, and its rows."""
    end = data.index(b"\n")
    return tuple(json.loads(data[:end])), data[end + 1 :]


def _text(rows: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8", "surrogateescape")


def _cell(value: Any) -> Any:
    return "" if is_missing(value) else value


def _with_all(data: bytes, names: tuple[str, ...]) -> bytes:
    """The rows of a range as rows with the columns `names`."""
    own, rows = with_names(data)
    return rows if own == names else _rearranged(rows, own, names)


def _rearranged(rows: bytes, own: tuple[str, ...], names: tuple[str, ...]) -> bytes:
    """Rows with the columns `own` as rows with the columns `names`; the fields are taken over as they are."""
    position = {name: at for at, name in enumerate(own)}
    chosen = [position.get(name, -1) for name in names]
    lines, line = [], []
    for field, end in _FIELD.findall(rows):
        # A single empty field is written "", or its line would be empty.
        line.append(b"" if field == b'""' else field)
        if end == b"\n":
            line.append(b"")
            lines.append(b",".join([line[at] for at in chosen]))
            line = []
    return b"\n".join(lines) + b"\n" if lines else b""
