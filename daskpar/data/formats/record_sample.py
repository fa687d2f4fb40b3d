"""The first records of a delimited file, to infer kinds from: as rows, or as columns where a table is wide.

A wide table has as many values in a row as others in thousands of rows: the fast reader takes them apart in a
hundredth of the time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from daskpar.data.formats import arrow_csv
from daskpar.data.formats.delimited import Read, sample_rows
from daskpar.data.formats.dialect import Dialect, to_utf8
from daskpar.data.formats.tokenizer import Row
from daskpar.value_classes import frozen

WIDE = 128
"""Fields of a record from which on a table is wide."""
_READ_BYTES = 1 << 22
_MOST_BYTES = 1 << 28


@frozen
class SampledRows:
    """Records as rows, which may differ in length."""

    rows: Sequence[Row]

    @property
    def count(self) -> int:
        """How many records."""
        return len(self.rows)

    @property
    def width(self) -> int:
        """Fields of the longest."""
        return max((len(row) for row in self.rows), default=0)

    def texts(self, number: int) -> list[str | None] | pa.Array:
        """A column by its number; None where a record is shorter."""
        return [row[number] if number < len(row) else None for row in self.rows]

    def rows_beyond(self, width: int) -> list[Row]:
        """Records with a value behind the first `width` fields."""
        return [row for row in self.rows if any(value is not None for value in row[width:])]


@frozen
class SampledColumns:
    """Records of one length as columns of text."""

    columns: Sequence[pa.Array]

    @property
    def count(self) -> int:
        """How many records."""
        return len(self.columns[0])

    @property
    def width(self) -> int:
        """Fields of each."""
        return len(self.columns)

    def texts(self, number: int) -> list[str | None] | pa.Array:
        """A column by its number."""
        return self.columns[number] if number < self.width else [None] * self.count

    def rows_beyond(self, width: int) -> list[Row]:
        """Records with a value behind the first `width` fields."""
        behind = [column.is_valid().to_numpy(zero_copy_only=False) for column in self.columns[width:]]
        found: list[int] = np.flatnonzero(np.logical_or.reduce(behind)).tolist() if behind else []
        return [[column[row].as_py() for column in self.columns] for row in found]


def sample_records(
    read: Read, size: int, body: int, dialect: Dialect, limit: int, width: int, source: str = ""
) -> SampledRows | SampledColumns:
    """The first `limit` records of a file of `size` bytes whose data starts at byte `body`.

    `width`: fields that its header has; 0 without one.
    """
    columns = None if dialect.wide else _columns(read, size, body, dialect, limit, width, source)
    return SampledRows(sample_rows(read, size, body, dialect, limit, source)) if columns is None else columns


def _columns(
    read: Read, size: int, body: int, dialect: Dialect, limit: int, width: int, source: str
) -> SampledColumns | None:
    """The records where they are wide and of one length, and the fast reader reads them all."""
    first = b"" if 0 < width < WIDE else read(body, min(WIDE * 64, size - body))
    if first.count(dialect.delimiter.encode()) < WIDE - 1:
        return None
    parts: list[bytes] = []
    length = lines = 0
    while lines <= limit and body + length < size:
        if length and not lines and length >= _MOST_BYTES:
            return None
        part = read(body + length, min(_READ_BYTES, size - body - length))
        if not part:
            break
        parts.append(part)
        length += len(part)
        lines += part.count(b"\n")
    data = b"".join(parts)
    if lines > limit:
        data = data[: int(np.flatnonzero(np.frombuffer(data, np.uint8) == 10)[limit - 1]) + 1]
    if not data or (b'"' in data and dialect.support_multi_line):
        return None
    text = to_utf8(data, dialect, body, source)
    width = width or text.partition(b"\n")[0].count(dialect.delimiter.encode()) + 1
    try:
        fast = _read(text, dialect, width)
        if fast is not None and not fast.rows and len(Counter(fast.irregular.widths)) == 1:
            fast = _read(text, dialect, fast.irregular.widths[0])
    except arrow_csv.UnconvertedColumn:
        return None
    if fast is None or fast.irregular.rows or (lines > limit and fast.rows < limit):
        return None  # blank lines are no records: more bytes are wanted, or records differ in length
    return SampledColumns([fast.columns[number].slice(0, limit) for number in fast.types])


def _read(text: bytes, dialect: Dialect, width: int) -> arrow_csv.FastColumns | None:
    types = arrow_csv.FieldTypes(dict.fromkeys(range(width), pa.string()))
    return arrow_csv.read_fast(text, dialect, width, types)
