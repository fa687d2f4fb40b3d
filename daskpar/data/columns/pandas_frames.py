"""Turns Arrow tables into data frames with Microsoft's dtypes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from daskpar.data.columns.block_frames import block_frame

if TYPE_CHECKING:
    import pandas as pd


def to_pandas(table: pa.Table, partition: bool = False) -> pd.DataFrame:
    """The table as a fresh, writable data frame with the dtypes of Microsoft's reader.

    These are int64, float64, bool, datetime64[ns] and text (object on pandas 2, str on pandas 3). Integers
    with nulls are float64 with NaN, booleans with nulls object with None. Columns without any value are
    object with None in a whole table; in a `partition`, whose other parts may have values, they keep the
    dtype of their type.
    """
    if not partition:
        table = _without_empty_types(table)
    frame = block_frame(table)
    return table.to_pandas(use_threads=False) if frame is None else frame


def _without_empty_types(table: pa.Table) -> pa.Table:
    """The table with columns of nulls where there is no value."""
    columns, fields = table.columns, list(table.schema)
    changed = False
    for number, column in enumerate(columns):
        if column.null_count == len(column) and not (
            pa.types.is_string(column.type) or pa.types.is_null(column.type)
        ):
            fields[number] = pa.field(fields[number].name, pa.null())
            columns[number] = pa.chunked_array([pa.nulls(len(column))])
            changed = True
    return (
        pa.Table.from_arrays(columns, schema=pa.schema(fields, table.schema.metadata)) if changed else table
    )
