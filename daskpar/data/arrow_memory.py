"""Chooses which of Arrow's memory pools tables are read from."""

from __future__ import annotations

import os
from functools import cache

import pyarrow as pa


@cache
def prefer_system_pool() -> None:
    """Let Arrow allocate from the system's memory in this process from now on.

    Not where the user has chosen (ARROW_DEFAULT_MEMORY_POOL). Arrow's own pool takes huge pages, whose first
    use is slow: a table that is read once took up to twice as long with it (measured), most of it where Dask
    puts the partitions together. Asked for once only: a pool that is set later stays.
    """
    if "ARROW_DEFAULT_MEMORY_POOL" not in os.environ:
        pa.set_memory_pool(pa.system_memory_pool())
