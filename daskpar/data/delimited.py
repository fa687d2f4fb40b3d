"""Delimited text: bytes of whole records to Arrow tables by fixed kinds, headers, and the sample that kinds are inferred from.

API (bytes of whole records come from `daskpar.data.records`)
    read_head(read, size, dialect, header, source="") -> Head(names, body)
        names: header names as written (not yet made unique beyond section 5's rules), () without `header`; body: byte at which the data starts
    column_names(header_fields, width) -> tuple[str, ...]    trimmed, `Column<N>` for empty and missing ones, duplicates with suffixes
    sample_rows(read, size, body, dialect, limit, source="") -> list of rows (lists of text | None), at most `limit`
    parse(chunk, dialect, columns, *, keep=None, offset=0, source="") -> Parsed
        columns: sequence of (name, Kind); keep: names to deliver (default all); offset, source: where the chunk lies, for errors
    Parsed(table, failures, surplus)
        table: pyarrow.Table with the columns asked for, types `kind.arrow`
        failures: {name: Failure(count, example)}: values that became null because they don't convert
        surplus: Failure | None: rows with more fields than columns (the fields are left out), example = the first such field
    Parser(dialect, columns, keep=None, source="").parse(chunk, offset=0) -> Parsed
        the same, remembering from chunk to chunk which columns need care: use one per file and process

`read` is any callable (offset, length) -> bytes over one file (shorter at its end).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, zip_longest

import pyarrow as pa

from daskpar.data.dialect import Dialect, mark_length, to_utf8
from daskpar.data.kinds import Kind
from daskpar.data.records import record_end
from daskpar.data.tokens import Row, rows
from daskpar.data.values import Failure, from_text

Read = Callable[[int, int], bytes]

_FIRST_READ = 1 << 16


@dataclass(frozen=True)
class Head:
    """What stands before the data of a file: the header's fields as written, and the byte at which the data starts."""

    names: tuple[str, ...]
    body: int


@dataclass(frozen=True)
class Parsed:
    """A table, and what was lost on the way to it."""

    table: pa.Table
    failures: Mapping[str, Failure] = field(default_factory=dict)
    surplus: Failure | None = None


def read_head(read: Read, size: int, dialect: Dialect, header: bool, source: str = "") -> Head:
    """The head of a file of `size` bytes. With `header` the first line that is not empty is the header, and the data starts behind it."""
    data = read(0, min(size, _FIRST_READ))
    start = mark_length(data, dialect, source)
    if not header:
        return Head((), start)
    while True:
        begin = _skip_blank_lines(data, start, dialect)
        end = record_end(data, begin, dialect)
        if end is not None or len(data) >= size:
            break
        data = read(0, min(size, 2 * len(data)))
    end = len(data) if end is None else end
    found = next(iter(rows(to_utf8(data[begin:end], dialect, begin, source).decode(), dialect)), [])
    return Head(tuple(name or "" for name in found), end)


def _skip_blank_lines(data: bytes, at: int, dialect: Dialect) -> int:
    breaks = (b"\n\0", b"\r\0\n\0") if dialect.wide else (b"\n", b"\r\n")
    while True:
        found = next((line for line in breaks if data.startswith(line, at)), None)
        if found is None:
            return at
        at += len(found)


def column_names(names: Sequence[str], width: int) -> tuple[str, ...]:
    """Names of `width` columns: trimmed, `Column<N>` where there is none, `_1`, `_2`… behind names that came before."""
    repeats: dict[str, int] = {}
    made: dict[str, None] = {}
    for number in range(max(width, len(names))):
        name = names[number].strip() if number < len(names) else ""
        name = unique = name or f"Column{number + 1}"
        while unique in made:
            repeats[name] = repeats.get(name, 0) + 1
            unique = f"{unique}_{repeats[name]}"
        made[unique] = None
    return tuple(made)


def sample_rows(read: Read, size: int, body: int, dialect: Dialect, limit: int, source: str = "") -> list[Row]:
    """The first `limit` records of a file whose data starts at byte `body`."""
    length = _FIRST_READ
    while True:
        data = read(body, min(length, size - body))
        whole = body + len(data) >= size
        end = len(data) if whole else _last_start(data, dialect)
        found = list(islice(rows(to_utf8(data[:end], dialect, body, source).decode(), dialect), limit + 1))
        # the last record of a part of a file may go on behind it
        if whole or len(found) > limit:
            return found[:limit]
        length *= 4


def _last_start(data: bytes, dialect: Dialect) -> int:
    return (data.rfind(b"\n\0") & ~1) + 2 if dialect.wide else data.rfind(b"\n") + 1


def parse(
    chunk: bytes,
    dialect: Dialect,
    columns: Sequence[tuple[str, Kind]],
    *,
    keep: Sequence[str] | None = None,
    offset: int = 0,
    source: str = "",
) -> Parsed:
    """The table of the whole records in `chunk`."""
    return Parser(dialect, columns, keep, source).parse(chunk, offset)


class Parser:
    """Reads chunks of one file, or of files with the same columns, by fixed kinds."""

    def __init__(self, dialect: Dialect, columns: Sequence[tuple[str, Kind]], keep: Sequence[str] | None = None, source: str = "") -> None:
        self.dialect = dialect
        self.columns = tuple(columns)
        self.source = source
        wanted = None if keep is None else set(keep)
        self._wanted = [number for number, (name, _) in enumerate(self.columns) if wanted is None or name in wanted]

    def parse(self, chunk: bytes, offset: int = 0) -> Parsed:
        """The table of the whole records in `chunk`, which lies at byte `offset`."""
        data = to_utf8(chunk, self.dialect, offset, self.source)
        return self._tokenized(data.decode())

    def _tokenized(self, text: str) -> Parsed:
        found = list(rows(text, self.dialect))
        width = len(self.columns)
        longer = [row[width] for row in found if len(row) > width]
        surplus = Failure(len(longer), longer[0] or "") if longer else None
        texts = [list(column) for column in zip_longest(*found)][:width] if found else []
        texts += [[None] * len(found) for _ in range(width - len(texts))]
        return self._converted({number: pa.array(texts[number], pa.string()) for number in self._wanted}, surplus)

    def _converted(self, texts: Mapping[int, pa.Array], surplus: Failure | None) -> Parsed:
        arrays, names, failures = [], [], {}
        for number, column in texts.items():
            name, kind = self.columns[number]
            array, lost = from_text(column, kind)
            names.append(name)
            arrays.append(array)
            if lost:
                failures[name] = lost
        return Parsed(pa.Table.from_arrays(arrays, names=names), failures, surplus)
