"""The fast reader of wide tables: all columns of one type are one column to pyarrow.

pyarrow takes some microseconds for each column of a chunk, however few its rows are, and of a table with
thousands of columns a chunk has just a few rows. In plain text each field is made a line of its own, and the
fields of one type are read together, by the same rules. What is not plain is left for `arrow_csv.read_fast`.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from daskpar.data.columns import buffers
from daskpar.data.formats import arrow_csv
from daskpar.data.formats.dialect import Dialect

MANY_COLUMNS = 128
"""Fields of a record from which on a table is wide."""
FEW_ROWS = 96
"""Up to so many rows, the cost of columns outweighs that of values."""


def read_wide(
    data: bytes, dialect: Dialect, width: int, types: arrow_csv.FieldTypes
) -> arrow_csv.FastColumns | None:
    """What `read_fast` makes of the records; None where they are no plain text of a wide table.

    That is without quotes and carriage returns, with `width` fields in each record, and all values of the
    types.
    """
    if width < MANY_COLUMNS or not types or not data or b'"' in data or b"\r" in data:
        return None
    if data.startswith(arrow_csv.MARK) or data.count(b"\n", 0, len(data) - 1) >= FEW_ROWS:
        return None
    text = data if data.endswith(b"\n") else data + b"\n"
    letters = np.frombuffer(text, np.uint8)
    ends = np.flatnonzero((letters == ord(dialect.delimiter)) | (letters == 10))
    rows, rest = divmod(len(ends), width)
    if rest:
        return None
    breaks = letters[ends].reshape(rows, width) == 10
    if not breaks[:, -1].all() or breaks[:, :-1].any():
        return None
    lines = letters.copy()
    lines[ends] = 10
    columns: dict[int, pa.Array] = {}
    floats = None
    lengths = np.diff(ends, prepend=-1)
    for type_, numbers in types.by_type:
        values = _read_lines(_fields(lines, lengths, numbers, rows, width), dialect, type_)
        if values is None:
            return None
        floats = values if pa.types.is_floating(type_) else floats
        columns.update(_columns(values, numbers, rows))
    irregular = arrow_csv.IrregularRecords()
    return arrow_csv.FastColumns(
        types=types, columns=columns, rows=rows, irregular=irregular, data=text, floats=floats
    )


def _fields(lines: np.ndarray, lengths: np.ndarray, numbers: list[int], rows: int, width: int) -> bytes:
    """The fields of some columns, row by row, a line each."""
    if len(numbers) == width:
        return bytes(lines)
    chosen = np.zeros(width, bool)
    chosen[numbers] = True
    return bytes(lines[np.repeat(np.tile(chosen, rows), lengths)])


def _read_lines(lines: bytes, dialect: Dialect, type_: pa.DataType) -> pa.Array | None:
    """The lines as values of a type; None where one is none."""
    try:
        table = arrow_csv.read_table(lines, dialect, ["0"], {"0": type_}, empty_lines=True)
    except pa.ArrowInvalid:
        return None
    return table.column(0).chunk(0) if table.column(0).num_chunks == 1 else None


def _columns(values: pa.Array, numbers: list[int], rows: int) -> dict[int, pa.Array]:
    """Values row by row as the columns that they belong to."""
    count = len(numbers)
    if len(values) != rows * count:
        raise AssertionError(f"{len(values)} values in {rows} rows of {count}")
    if count == 1:
        turned = values
    elif pa.types.is_floating(values.type) and values.buffers()[1] is not None:
        turned = _turned(values, rows, count)
    else:
        turned = values.take(buffers.integers(np.arange(rows * count).reshape(rows, count).T.ravel()))
    return {number: turned.slice(place * rows, rows) for place, number in enumerate(numbers)}


def _turned(values: pa.Array, rows: int, count: int) -> pa.Array:
    """Floats row by row, as those of column after column."""
    floats = np.frombuffer(values.buffers()[1], np.float64, len(values)).reshape(rows, count)
    there = None
    if values.null_count:
        valid = buffers.valid(values).reshape(rows, count).T.ravel()
        there = pa.py_buffer(np.packbits(valid, bitorder="little"))
    turned = pa.py_buffer(floats.T.ravel())
    return pa.Array.from_buffers(pa.float64(), rows * count, [there, turned])
