"""Columns of numbers of one type as one block of numpy: one call for thousands of columns, not one each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

FEW_COLUMNS = 32
"""Fewer columns are looked at one by one, which makes no copy of them."""


def number_block(table: pa.Table, columns: Sequence[int], *, nulls_in_integers: bool = False) -> np.ndarray:
    """The columns, which are of one type of numbers, as an array of rows and columns, each column in one run.

    Nulls, which columns of floats may have, are NaN there; with `nulls_in_integers`, which is for integers of
    64 bits, they become floats beside them.
    """
    chosen = table.select(list(columns))
    type_ = chosen.schema.field(0).type
    nulls = nulls_in_integers or pa.types.is_floating(type_)
    parts: list[np.ndarray] = [
        batch.to_tensor(null_to_nan=nulls, row_major=False).to_numpy() for batch in chosen.to_batches()
    ]
    if len(parts) == 1:
        return parts[0]
    dtype = np.float64 if nulls_in_integers else type_.to_pandas_dtype()
    empty = np.empty((0, len(columns)), dtype, order="F")
    return np.asfortranarray(np.concatenate([empty, *parts]))


def columns_beyond(table: pa.Table, columns: Sequence[int], limit: float) -> list[int]:
    """Those of the columns of numbers of 64 bits that hold any number of at least this size."""
    floats = pa.types.is_floating(table.schema.field(columns[0]).type)
    block = number_block(table, columns, nulls_in_integers=not floats)
    if not block.size:
        return []
    low, high = np.fmin.reduce(block, axis=None), np.fmax.reduce(block, axis=None)
    if not max(-low, high) >= limit:  # nan where there are no others
        return []
    found = np.flatnonzero(np.fmax.reduce(np.abs(block), axis=0) >= limit)
    return [columns[number] for number in found.tolist()]
