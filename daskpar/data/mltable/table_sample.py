"""The first rows of a table, read when it is planned: a mistake in its steps shows before the run starts."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from daskpar.data.columns.buffers import empty_table
from daskpar.data.tables.piece import PIECE
from daskpar.data.tables.table import Table
from daskpar.data.tables.table_reader import TableReader

SAMPLE_BYTES = 64 * 1024
"""Bytes read of one span of text."""
SAMPLE_ROWS = 200
"""Rows after which no further span is read."""
MOST_BYTES = 4 * SAMPLE_BYTES
"""Bytes after which no further span is read, where filters let few rows through."""
MOST_MULTI_LINE_BYTES = 16 * SAMPLE_BYTES
"""The largest span that is read whole because records that span lines can only be cut where they end."""
SMALL_PARQUET = 4 * 1024 * 1024
"""Bytes of a table of Parquet up to which it is read whole; of a larger one the schema says it all."""


def sample_table(table: Table) -> tuple[pa.Table, bool]:
    """The first rows of a table behind all steps, and whether these are all of them."""
    spans = [span for span in table.spans() if span[2] > span[1]]
    return _sample_rows(table, spans) if table.by_rows else _sample_text(table, spans)


def has_rows(table: Table) -> bool:
    """Whether any row is left; reads the table until there is one."""
    reader = TableReader(table, table.files_pieces())
    return any(len(reader.chunk(i).positions) for i in range(len(reader.pieces)))


def _sample_rows(table: Table, spans: list[tuple[int, int, int]]) -> tuple[pa.Table, bool]:
    if table.size_bytes > SMALL_PARQUET:
        return empty_table(table.schema), False
    return _joined(table, [_read(table, span) for span in spans]), True


def _sample_text(table: Table, spans: list[tuple[int, int, int]]) -> tuple[pa.Table, bool]:
    multi_line = table.dialect is not None and table.dialect.support_multi_line
    parts: list[pa.Table] = []
    read = rows = 0
    for number, start, stop in spans:
        if rows >= SAMPLE_ROWS or read >= MOST_BYTES:
            return _joined(table, parts), False
        size = stop - start
        if size > SAMPLE_BYTES and not multi_line:
            parts.append(_read(table, (number, start, start + SAMPLE_BYTES)))
            return _joined(table, parts), False
        if size > MOST_MULTI_LINE_BYTES:
            return _joined(table, parts), False
        parts.append(_read(table, (number, start, stop)))
        rows += parts[-1].num_rows
        read += size
    return _joined(table, parts), True


def _read(table: Table, span: tuple[int, int, int]) -> pa.Table:
    return TableReader(table, np.array([span], PIECE)).arrow(0)


def _joined(table: Table, parts: list[pa.Table]) -> pa.Table:
    return pa.concat_tables(parts) if parts else empty_table(table.schema)
