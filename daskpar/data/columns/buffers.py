"""Passes numbers and bytes between NumPy and Arrow by their buffers, without loading pandas.

Arrow's own conversions (`pa.array`, `to_numpy`) load pandas where it is installed, a third of a second and 60
MB: the driver, which needs pandas for nothing else, uses these functions instead.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

BYTE_STRINGS_AT_ONCE = 100_000
"""As objects: bounds the memory that they take beside the column."""


def integers(values: np.ndarray) -> pa.Array:
    """An int64 column of these numbers."""
    numbers = np.ascontiguousarray(values, np.int64)
    return pa.Array.from_buffers(pa.int64(), len(numbers), [None, pa.py_buffer(numbers)])


def numbers(column: pa.Array | pa.ChunkedArray, dtype: Any = np.int64) -> np.ndarray:
    """The values of a column of a type of fixed width, `dtype` in NumPy.

    What stands for a null is any number.
    """
    kind = np.dtype(dtype)
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    parts = [
        np.frombuffer(chunk.buffers()[1], kind, len(chunk), kind.itemsize * chunk.offset)
        for chunk in chunks
        if len(chunk)
    ]
    return parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0, kind), *parts])


def empty_table(schema: pa.Schema) -> pa.Table:
    """A table of these columns without rows: thousands of columns take no time."""
    return pa.Table.from_batches([], schema)


def valid(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Which values of a column are there."""
    there: np.ndarray = numbers(column.is_valid().cast(pa.uint8()), np.uint8) != 0
    return there


def byte_strings(values: Iterable[bytes]) -> pa.Array:
    """A large_binary column of these bytes."""
    remaining = iter(values)
    parts = []
    while found := list(islice(remaining, BYTE_STRINGS_AT_ONCE)):
        ends = np.cumsum([0, *map(len, found)], dtype=np.int64)
        parts.append(
            pa.Array.from_buffers(
                pa.large_binary(), len(found), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(found))]
            )
        )
    return pa.concat_arrays(parts) if parts else pa.nulls(0, pa.large_binary())
