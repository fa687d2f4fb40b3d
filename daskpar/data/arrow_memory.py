"""Chooses which of Arrow's memory pools tables are read from."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import pyarrow as pa

MANY_COLUMNS = 1000
"""From here on the buffers of a table are so many and small that the system's memory is slow at handing them
out, and Arrow's own pool takes a quarter less time to read them (measured)."""


@cache
def prefer_system_pool() -> None:
    """Let Arrow allocate from the system's memory in this process from now on.

    Not where the user has chosen (ARROW_DEFAULT_MEMORY_POOL). Arrow's own pool takes huge pages, whose first
    use is slow: a table that is read once took up to twice as long with it (measured), most of it where Dask
    puts the partitions together. Asked for once only: a pool that is set later stays.
    """
    if "ARROW_DEFAULT_MEMORY_POOL" not in os.environ:
        with _lock:
            pa.set_memory_pool(pa.system_memory_pool())


_lock = threading.Lock()
"""Held while a pool is set here."""


class _SmallBuffers:
    """Arrow's own pool, in the place of the one that is set, for as long as any thread opens a wide table."""

    def __init__(self) -> None:
        self._readers = 0
        self._usual: pa.MemoryPool | None = None

    def begin(self) -> None:
        with _lock:
            self._readers += 1
            if self._readers == 1:
                self._usual = pa.default_memory_pool()
                pa.set_memory_pool(pa.mimalloc_memory_pool())

    def end(self) -> None:
        with _lock:
            self._readers -= 1
            # A pool that another thread has set meanwhile stays.
            if not self._readers and pa.default_memory_pool().backend_name == "mimalloc":
                pa.set_memory_pool(self._usual)


_small_buffers = _SmallBuffers()


@contextmanager
def for_columns(count: int) -> Iterator[None]:
    """Let Arrow allocate as suits a table of so many columns, whose reader is made meanwhile.

    Not where the user has chosen a pool, or this Arrow was built without its own.
    """
    wide = count >= MANY_COLUMNS and "ARROW_DEFAULT_MEMORY_POOL" not in os.environ
    if not wide or "mimalloc" not in pa.supported_memory_backends():
        yield
        return
    _small_buffers.begin()
    try:
        yield
    finally:
        _small_buffers.end()
