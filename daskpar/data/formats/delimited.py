"""Delimited text to Arrow tables by fixed kinds; headers; and the sample that kinds are inferred from.

`read` is any callable (offset, length) -> bytes over one file, shorter at its end. Bytes of whole records
come from `record_bounds`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from itertools import islice, zip_longest
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daskpar.data.columns.buffers import empty_table
from daskpar.data.columns.column_texts import has_wide, read_texts
from daskpar.data.columns.kinds import BOOL, FLOAT, INT, STRING, ColumnKind
from daskpar.data.columns.number_blocks import FEW_COLUMNS
from daskpar.data.columns.text_values import count_wide
from daskpar.data.formats import arrow_csv, wide_csv
from daskpar.data.formats.byte_scan import has_pair
from daskpar.data.formats.careful_lines import split_careful_lines
from daskpar.data.formats.dialect import Dialect, mark_length, to_utf8
from daskpar.data.formats.record_bounds import (
    MOST_RECORD_BYTES,
    check_record,
    count_lines,
    record_end,
)
from daskpar.data.formats.tokenizer import Row, UnclosedRow, rows
from daskpar.data.notices import (
    ENDLESS_QUOTE,
    MARK,
    MOJIBAKE,
    NUL,
    OPEN_QUOTE,
    RETURNS,
    SHORT,
    WIDE,
    LostValues,
)
from daskpar.value_classes import frozen

Read = Callable[[int, int], bytes]

_FIRST_READ = 1 << 16
_READ_BY_ARROW = frozenset((STRING, INT, FLOAT, BOOL))
_MARK = b"\xef\xbb\xbf"


@frozen
class FileHead:
    """What stands before the data of a file."""

    names: tuple[str, ...]
    body: int


@frozen
class Doubt:
    """Records, or places in them, that may not say what a user takes them for."""

    cause: str
    count: int
    row: int
    """The first of these records, counted from 0 in its chunk."""
    text: str
    """Of that record."""


@frozen
class ParsedRecords:
    """A table, and what was lost on the way to it."""

    table: pa.Table
    failures: Mapping[str, LostValues] = field(default_factory=dict)
    surplus: Mapping[int, LostValues] = field(default_factory=dict)
    changed: Mapping[tuple[str, str], LostValues] = field(default_factory=dict)
    """Numbers that became others, by column and cause."""
    doubts: tuple[Doubt, ...] = ()


def read_head(read: Read, size: int, dialect: Dialect, header: bool, source: str = "") -> FileHead:
    """The head of a file of `size` bytes.

    With `header` the first line that is not empty is the header, and the data starts behind it.
    """
    data = read(0, min(size, _FIRST_READ))
    start = mark_length(data, dialect, source)
    if not header:
        return FileHead((), start)
    while True:
        begin = _skip_blank_lines(data, start, dialect)
        end = record_end(data, begin, dialect)
        if end is not None or len(data) >= size:
            break
        check_record(len(data) - begin, begin, source)
        data = read(0, min(size, 2 * len(data)))
    end = len(data) if end is None else end
    found = next(iter(rows(to_utf8(data[begin:end], dialect, begin, source).decode(), dialect)), [])
    return FileHead(tuple(name or "" for name in found), end)


def _skip_blank_lines(data: bytes, at: int, dialect: Dialect) -> int:
    breaks = (b"\n\0", b"\r\0\n\0") if dialect.wide else (b"\n", b"\r\n")
    while True:
        found = next((line for line in breaks if data.startswith(line, at)), None)
        if found is None:
            return at
        at += len(found)


def column_names(names: Sequence[str], width: int) -> tuple[str, ...]:
    """Names of `width` columns from the fields of a header, as Microsoft's reader makes them.

    Trimmed, `Column<N>` where there is none, `_1`, `_2`… behind names that came before.
    """
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


def sample_rows(
    read: Read, size: int, body: int, dialect: Dialect, limit: int, source: str = ""
) -> list[Row]:
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
        check_record(len(data) - end, body + end, source)
        length = min(4 * length, length + MOST_RECORD_BYTES)


def _last_start(data: bytes, dialect: Dialect) -> int:
    return (data.rfind(b"\n\0") & ~1) + 2 if dialect.wide else data.rfind(b"\n") + 1


class DelimitedParser:
    """Reads chunks of one file, or of files with the same columns, by fixed kinds.

    It remembers from chunk to chunk which columns need care: those whose texts are not all plain values are
    read as text at once. Use one for each list of columns and process.
    """

    def __init__(
        self,
        dialect: Dialect,
        columns: Sequence[tuple[str, ColumnKind]],
        keep: Sequence[str] | None = None,
        source: str = "",
    ) -> None:
        self.dialect = dialect
        self.columns = tuple(columns)
        self.source = source
        wanted = None if keep is None else set(keep)
        self._wanted = [
            number for number, (name, _) in enumerate(self.columns) if wanted is None or name in wanted
        ]
        self._usual_width = len(self.columns)  # fields of most records
        self._names = [self.columns[number][0] for number in self._wanted]
        self._schema = pa.schema(
            [(name, kind.arrow) for name, kind in (self.columns[number] for number in self._wanted)]
        )
        alike: dict[ColumnKind, set[int]] = {}
        for number in self._wanted:
            alike.setdefault(self.columns[number][1], set()).add(number)
        self._as_text = {n for kind, some in alike.items() if not _is_read_by_arrow(kind) for n in some}
        self._integers = {n for kind, some in alike.items() if kind.name == "int" for n in some}
        self._strings = alike.get(STRING, set())
        self._types: tuple[tuple[int, frozenset[int]], arrow_csv.FieldTypes] | None = None
        self._named = _named(self.columns)
        self.placed: set[str] = set()
        """Causes of doubt for which a line was looked up: once is enough for an example."""

    def parse(self, chunk: bytes, offset: int = 0) -> ParsedRecords:
        """The table of the whole records in `chunk`, which lies at byte `offset` of its file."""
        if not chunk:
            return ParsedRecords(empty_table(self._schema))
        data = to_utf8(chunk, self.dialect, offset, self.source)
        parsed = self._parsed(data)
        doubts = (*parsed.doubts, *_doubts_of_bytes(data), *doubts_of_encoding(chunk, self.dialect))
        return replace(parsed, doubts=doubts) if doubts else parsed

    def parse_plain(self, chunk: bytes) -> pa.Table | None:
        """The table of the whole records in `chunk`; None where any needs care, or a word to the user."""
        if not chunk:
            return None
        data = to_utf8(chunk, self.dialect, 0, self.source)
        fast = self._read_fast(data)
        if fast is None or fast.irregular.rows:
            return None
        parsed = self._converted(fast)
        odd = parsed.failures or parsed.surplus or parsed.changed or parsed.doubts
        if odd or _doubts_of_bytes(data) or doubts_of_encoding(chunk, self.dialect):
            return None
        return parsed.table

    def _parsed(self, data: bytes) -> ParsedRecords:
        fast = self._read_fast(data)
        if fast is not None and len(fast.irregular.rows) > fast.rows:
            self._usual_width = Counter(fast.irregular.widths).most_common(1)[0][0]
            fast = self._read_fast(data)
        if fast is None and not self.dialect.support_multi_line:
            fast = self._read_fast_but_careful_lines(data)
        if fast is None:
            return self._read_carefully(data.decode())
        if fast.irregular.rows:
            return self._merged(fast)
        return self._converted(fast)

    def _read_fast(self, data: bytes) -> arrow_csv.FastColumns | None:
        """What the fast reader makes of `data`, with columns read as text where their values need care."""
        as_text = self._as_text | self._integers if _has_hexadecimal(data) else self._as_text
        try:
            return self._read_fast_with_texts(data, as_text)
        except arrow_csv.UnconvertedColumn as found:
            if found.column < 0:
                return None
        return self._read_fast_with_texts(data, set(self._wanted))

    def _read_fast_but_careful_lines(self, data: bytes) -> arrow_csv.FastColumns | None:
        """What the fast reader makes of lines without quotes; those with quotes count as irregular."""
        split = split_careful_lines(data) if data else None
        fast = self._read_fast(split.others) if split else None
        if split is None or fast is None:
            return None
        others = np.delete(np.arange(split.total), split.rows)
        irregular = fast.irregular
        merged = arrow_csv.IrregularRecords(
            [*split.rows, *others[irregular.rows].tolist()], [*split.texts, *irregular.texts]
        )
        order = np.argsort(merged.rows)
        merged.rows, merged.texts = [merged.rows[at] for at in order], [merged.texts[at] for at in order]
        return replace(fast, irregular=merged)

    def _read_fast_with_texts(self, data: bytes, as_text: set[int]) -> arrow_csv.FastColumns | None:
        types = self._types_with(as_text)
        fast = wide_csv.read_wide(data, self.dialect, self._usual_width, types)
        fast = fast or arrow_csv.read_fast(data, self.dialect, self._usual_width, types)
        if fast is None or b"(" not in data:
            return fast
        doubtful = [
            number
            for number, kind in types.items()
            if pa.types.is_floating(kind) and pc.any(pc.is_nan(fast.columns[number])).as_py()
        ]
        if doubtful:  # pyarrow takes nan(…) for a number
            return self._read_fast_with_texts(data, as_text | set(doubtful))
        return fast

    def _types_with(self, as_text: set[int]) -> arrow_csv.FieldTypes:
        """The types to read columns of, the last ones asked for kept: chunk after chunk wants the same."""
        key = (self._usual_width, frozenset(as_text))
        if self._types is None or self._types[0] != key:
            types = {
                number: pa.string() if number in as_text else self.columns[number][1].arrow
                for number in self._wanted
                if number < self._usual_width
            }
            # the fields too many, to count them
            types |= dict.fromkeys(range(len(self.columns), self._usual_width), pa.string())
            self._types = (key, arrow_csv.FieldTypes(types))
        return self._types[1]

    def _converted(self, fast: arrow_csv.FastColumns) -> ParsedRecords:
        """The table of what the fast reader read, where all records have the same number of fields."""
        failures, changed = dict[str, LostValues](), self._wide(fast)
        texts = [
            number
            for number in fast.types.of(pa.string())
            if number < len(self.columns) and number not in self._strings
        ]
        arrays = fast.columns
        if texts:
            read = read_texts([(arrays[number], self.columns[number][1]) for number in texts])
            arrays = {**arrays, **{number: found.array for number, found in zip(texts, read, strict=True)}}
            for number, found in zip(texts, read, strict=True):
                name, kind = self.columns[number]
                if found.lost:
                    failures[name] = found.lost
                    if _is_read_by_arrow(kind):
                        self._as_text.add(number)
                if found.changed:
                    changed[name, found.cause] = found.changed
        columns = [
            arrays[number] if number in arrays else pa.nulls(fast.rows, self.columns[number][1].arrow)
            for number in self._wanted
        ]
        table = self._table(columns)
        extra = {
            number: fast.columns[number].drop_null() for number in range(len(self.columns), self._usual_width)
        }
        surplus = {
            number + 1: LostValues(len(found), found[0].as_py())
            for number, found in extra.items()
            if len(found)
        }
        short: tuple[Doubt, ...] = ()
        if fast.rows and self._usual_width < self._named:
            short = (Doubt(SHORT, fast.rows, 0, ""),)
        return ParsedRecords(table, failures, surplus, changed, short)

    def _table(self, columns: list[pa.Array]) -> pa.Table:
        """The columns under their names."""
        return pa.Table.from_arrays(columns, schema=self._schema)

    def _wide(self, fast: arrow_csv.FastColumns) -> dict[tuple[str, str], LostValues]:
        """Integers that became other numbers in columns that the fast reader read as floats."""
        numbers = fast.types.of(pa.float64())
        together = fast.floats
        if together is None and len(numbers) >= FEW_COLUMNS:
            together = pa.concat_arrays([fast.columns[number] for number in numbers])
        if together is None or has_wide(together):
            numbers = [number for number in numbers if has_wide(fast.columns[number])]
        else:
            numbers = []
        if not numbers:
            return {}
        types = arrow_csv.FieldTypes(dict.fromkeys(numbers, pa.string()))
        again = arrow_csv.read_fast(fast.data, self.dialect, self._usual_width, types)
        found = {} if again is None else {n: count_wide(texts) for n, texts in again.columns.items()}
        return {(self.columns[number][0], WIDE): lost for number, lost in found.items() if lost}

    def _merged(self, fast: arrow_csv.FastColumns) -> ParsedRecords:
        """The table of regular records from the fast reader and the others from the careful one, in order."""
        first = self._converted(fast)
        second = self._rows_to_table(
            [row for text in fast.irregular.texts for row in rows(text, self.dialect)]
        )
        count = fast.rows + len(fast.irregular.rows)
        place = np.zeros(count, np.int64)
        irregular = np.zeros(count, np.bool_)
        irregular[fast.irregular.rows] = True
        place[irregular] = np.arange(fast.rows, count)
        place[~irregular] = np.arange(fast.rows)
        table = pa.concat_tables([first.table, second.table]).take(pa.array(place))
        placed = (
            replace(doubt, row=fast.irregular.rows[doubt.row], text=fast.irregular.texts[doubt.row])
            for doubt in (*second.doubts, *_lone_returns(fast.irregular.texts))
        )
        return ParsedRecords(
            table,
            _sums(first.failures, second.failures),
            _sums(first.surplus, second.surplus),
            _sums(first.changed, second.changed),
            (*first.doubts, *placed),
        )

    def _read_carefully(self, text: str) -> ParsedRecords:
        parsed = self._rows_to_table(list(rows(text, self.dialect)))
        if "\r" not in text:
            return parsed
        lines = [line.removesuffix("\r") for line in text.split("\n")]
        returns = _lone_returns([line for line in lines if line])
        return replace(parsed, doubts=(*parsed.doubts, *returns))

    def _rows_to_table(self, found: list[Row]) -> ParsedRecords:
        width = len(self.columns)
        texts = [list(column) for column in zip_longest(*found)]
        extra = {
            number: [value for value in column if value is not None]
            for number, column in enumerate(texts[width:], width + 1)
        }
        surplus = {number: LostValues(len(values), values[0]) for number, values in extra.items() if values}
        texts = texts[:width]
        texts += [[None] * len(found) for _ in range(width - len(texts))]
        failures, changed = dict[str, LostValues](), dict[tuple[str, str], LostValues]()
        read = read_texts(
            [(pa.array(texts[number], pa.string()), self.columns[number][1]) for number in self._wanted]
        )
        for name, column in zip(self._names, read, strict=True):
            if column.lost:
                failures[name] = column.lost
            if column.changed:
                changed[name, column.cause] = column.changed
        table = self._table([column.array for column in read])
        return ParsedRecords(table, failures, surplus, changed, self._doubts_of_rows(found))

    def _doubts_of_rows(self, found: list[Row]) -> tuple[Doubt, ...]:
        """Open quotes and missing fields among records of the careful reader."""
        width = self._named or min(self._usual_width, len(self.columns))
        unclosed = [number for number, row in enumerate(found) if type(row) is UnclosedRow]
        short = [number for number, row in enumerate(found) if len(row) < width]
        cause = ENDLESS_QUOTE if self.dialect.support_multi_line else OPEN_QUOTE
        return tuple(
            Doubt(
                cause,
                len(numbers),
                numbers[0],
                self.dialect.delimiter.join(x or "" for x in found[numbers[0]]),
            )
            for cause, numbers in ((cause, unclosed), (SHORT, short))
            if numbers
        )


def _named(columns: Sequence[tuple[str, ColumnKind]]) -> int:
    """Fields that a whole record has: up to the last column that has a name in a header; 0 without any."""
    return max(
        (number for number, (name, _) in enumerate(columns, 1) if name != f"Column{number}"), default=0
    )


def _doubts_of_bytes(data: bytes) -> list[Doubt]:
    """Byte order marks at the start of records, and NUL bytes."""
    found: list[Doubt] = []
    if b"\0" in data:
        found.append(_at(NUL, data.count(b"\0"), data, data.index(b"\0")))
    if _MARK[:1] in data and _MARK in data:  # one byte is found several times faster than three
        places = [0] if data.startswith(_MARK) else []
        places += [match.start() + 1 for match in re.finditer(b"\n" + _MARK, data)]
        if places:
            found.append(_at(MARK, len(places), data, places[0]))
    return found


def doubts_of_encoding(chunk: bytes, dialect: Dialect) -> list[Doubt]:
    """Latin-1 that is UTF-8 throughout: by chance, Latin-1 hardly ever is."""
    if dialect.encoding != "latin1" or chunk.isascii():
        return []
    try:
        text = chunk.decode()
    except UnicodeDecodeError:
        return []
    wide = re.findall(r"[^\x00-\x7f]", text)
    first = chunk.index(wide[0].encode())
    return [_at(MOJIBAKE, len(wide), chunk, first)]


def _at(cause: str, count: int, data: bytes, place: int) -> Doubt:
    """A doubt about the record around a place in `data`."""
    start = data.rfind(b"\n", 0, place) + 1
    end = data.find(b"\n", place)
    line = data[start : len(data) if end < 0 else end]
    return Doubt(cause, count, count_lines(data[:start]), line.decode("utf-8", "replace"))


def _lone_returns(texts: Sequence[str]) -> list[Doubt]:
    """Carriage returns without a line feed in records without quotes, in which they may be meant."""
    rows = [number for number, text in enumerate(texts) if "\r" in text and '"' not in text]
    if not rows:
        return []
    return [Doubt(RETURNS, sum(texts[number].count("\r") for number in rows), rows[0], texts[rows[0]])]


def _sums(first: Mapping[Any, LostValues], second: Mapping[Any, LostValues]) -> dict[Any, LostValues]:
    return {**first, **{key: first[key] + lost if key in first else lost for key, lost in second.items()}}


def _is_read_by_arrow(kind: ColumnKind) -> bool:
    """Whether pyarrow's reader makes such values itself, as we do."""
    return kind in _READ_BY_ARROW


def _has_hexadecimal(data: bytes) -> bool:
    """Whether a field may begin with 0x, which pyarrow takes for an integer."""
    return (b"x" in data and has_pair(data, b"0x")) or (b"X" in data and has_pair(data, b"0X"))
