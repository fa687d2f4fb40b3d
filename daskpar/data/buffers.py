"""Numbers and bytes between NumPy and Arrow by their buffers.

Arrow's own conversions (`pa.array`, `to_numpy`) load pandas where it is installed, a third of a second and 60 MB: the driver, which needs
pandas for nothing else, goes by these.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa


def integers(values: np.ndarray) -> pa.Array:
    """An int64 column of these numbers."""
    numbers = np.ascontiguousarray(values, np.int64)
    return pa.Array.from_buffers(pa.int64(), len(numbers), [None, pa.py_buffer(numbers)])


def numbers(column: pa.ChunkedArray) -> np.ndarray:
    """The numbers of an int64 column without nulls."""
    parts = [np.frombuffer(chunk.buffers()[1], np.int64, len(chunk), 8 * chunk.offset) for chunk in column.chunks if len(chunk)]
    return parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0, np.int64), *parts])


def byte_strings(values: Iterable[bytes]) -> pa.Array:
    """A large_binary column of these bytes."""
    found = list(values)
    ends = np.cumsum([0, *map(len, found)], dtype=np.int64)
    return pa.Array.from_buffers(pa.large_binary(), len(found), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(found))])
