"""The fast reader of delimited text: pyarrow's, used where it reads as Microsoft's reader does.

pyarrow agrees on quotes wherever each quoted field is closed within its record. It differs on lone `\\r`, on
line breaks inside quotes when `support_multi_line` is off, on unclosed quotes, and on a byte order mark,
which it drops from the start of any chunk. `read_fast` finds such bytes and answers None: the caller then
takes the careful reader. Records with more or fewer fields than most are handed back as text, to be read
there too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.csv as csv

from daskpar.data.columns.kinds import FALSE_WORDS, TRUE_WORDS
from daskpar.data.formats.byte_scan import count_byte, count_pair
from daskpar.data.formats.dialect import Dialect
from daskpar.data.formats.record_bounds import count_breaks, count_lines, ends_inside_quotes, has_glued_breaks
from daskpar.value_classes import frozen, mutable

_LONGEST = 1 << 30  # bytes: one block of pyarrow holds less than 2 GiB
MARK = b"\xef\xbb\xbf"
"""Of the byte order."""


@mutable
class IrregularRecords:
    """Records with another number of fields than most, collected while pyarrow reads."""

    rows: list[int] = field(default_factory=list)
    """Their row numbers among all records of the chunk, from 0."""
    texts: list[str] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)
    """Their numbers of fields."""

    def __call__(self, row: Any) -> str:
        self.rows.append(row.number - 1)
        self.texts.append(row.text)
        self.widths.append(row.actual_columns)
        return "skip"


class FieldTypes(dict[int, pa.DataType]):
    """The types to read fields as, by number in ascending order; what is asked of all of them is kept."""

    @cached_property
    def by_type(self) -> list[tuple[pa.DataType, list[int]]]:
        """The fields of each type."""
        known: dict[int, tuple[pa.DataType, list[int]]] = {}
        for number, type_ in self.items():
            known.setdefault(type_.id, (type_, []))[1].append(number)
        return list(known.values())

    def of(self, type_: pa.DataType) -> list[int]:
        """The fields of one type."""
        return next((numbers for other, numbers in self.by_type if other.id == type_.id), [])


@frozen(kw_only=True)
class FastColumns:
    """What the fast reader read: columns by number, how many rows they have, and the other records."""

    types: FieldTypes
    columns: Mapping[int, pa.Array]
    rows: int
    irregular: IrregularRecords
    data: bytes
    """What they were read from."""
    floats: pa.Array | None = None
    """The values of all columns of floats, where they were read together."""


class UnconvertedColumn(Exception):
    """Values of this column are not of the type that was asked for."""

    def __init__(self, column: int) -> None:
        super().__init__(column)
        self.column = column


def read_fast(data: bytes, dialect: Dialect, width: int, types: FieldTypes) -> FastColumns | None:
    """The columns `types` (by number) of records with `width` fields.

    None where pyarrow would read other records than Microsoft's reader. Raises UnconvertedColumn.
    """
    if (
        not data
        or len(data) > _LONGEST
        or not types
        or data.startswith(MARK)
        or not _has_plain_breaks(data, dialect)
    ):
        return None
    if not data.endswith(b"\n"):
        data += b"\n"  # without it pyarrow takes an empty last field behind a quoted one for quoted too
    names = [str(number) for number in range(width)]
    irregular = IrregularRecords()
    try:
        table = read_table(
            data, dialect, names, {str(number): kind for number, kind in types.items()}, irregular=irregular
        )
    except pa.ArrowInvalid as error:
        raise UnconvertedColumn(_column_of(error)) from None
    if (
        b'"' in data
        and not dialect.support_multi_line
        and _has_swallowed_breaks(data, table.num_rows + len(irregular.rows))
    ):
        return None
    columns = {number: _whole(column) for number, column in zip(types, table.columns, strict=True)}
    return FastColumns(types=types, columns=columns, rows=table.num_rows, irregular=irregular, data=data)


def read_table(
    data: bytes,
    dialect: Dialect,
    names: Sequence[str],
    types: Mapping[str, pa.DataType],
    *,
    irregular: IrregularRecords | None = None,
    empty_lines: bool = False,
) -> pa.Table:
    """The columns `types` of records of the fields `names`, as pyarrow reads them by our rules.

    `empty_lines`: each is a record of one field. Raises pyarrow's ArrowInvalid.
    """
    return csv.read_csv(
        pa.BufferReader(data),
        csv.ReadOptions(use_threads=False, column_names=names, block_size=len(data) + 1),
        csv.ParseOptions(
            delimiter=dialect.delimiter,
            newlines_in_values=dialect.support_multi_line,
            invalid_row_handler=irregular,
            ignore_empty_lines=not empty_lines,
        ),
        csv.ConvertOptions(
            check_utf8=False,
            column_types=types,
            include_columns=list(types),
            null_values=[] if dialect.empty_as_string else [""],
            strings_can_be_null=not dialect.empty_as_string,
            quoted_strings_can_be_null=False,
            true_values=TRUE_WORDS,
            false_values=FALSE_WORDS,
        ),
    )


def _has_swallowed_breaks(data: bytes, rows: int) -> bool:
    """Whether fewer rows were read than there are lines with content."""
    return rows != count_breaks(data) and rows != count_lines(data)


def _column_of(error: pa.ArrowInvalid) -> int:
    """The column that pyarrow's message names; -1 where it is about something else."""
    head, found, rest = str(error).partition("In CSV column #")
    digits = rest.partition(":")[0]
    return int(digits) if found and not head and digits.isdigit() else -1


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return (
        column.chunk(0)
        if column.num_chunks == 1
        else pa.concat_arrays(column.chunks)
        if column.num_chunks
        else pa.array([], column.type)
    )


def _has_plain_breaks(data: bytes, dialect: Dialect) -> bool:
    if b"\r" in data and count_byte(data, 13) != count_pair(data, b"\r\n"):
        return False
    if b'"' not in data:
        return not (dialect.support_multi_line and has_glued_breaks(data, dialect))
    if dialect.support_multi_line:
        return not (ends_inside_quotes(data, dialect) or has_glued_breaks(data, dialect))
    # elsewhere an unclosed quote swallows a line break, which the number of rows betrays unless it is the
    # last
    end = len(data)
    while data.endswith((b"\n", b"\r"), 0, end):
        end -= 1
    return not ends_inside_quotes(data[data.rfind(b"\n", 0, end) + 1 : end], dialect)
