"""Turns Arrow tables into data frames with Microsoft's dtypes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

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
        for number, column in enumerate(table.columns):
            if column.null_count == len(column) and not (
                pa.types.is_string(column.type) or pa.types.is_null(column.type)
            ):
                name = table.schema.field(number).name
                table = table.set_column(number, pa.field(name, pa.null()), pa.nulls(len(column)))
    frame: pd.DataFrame = table.to_pandas(use_threads=False)
    return frame
