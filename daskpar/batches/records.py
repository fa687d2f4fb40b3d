"""The record of one try of one mini-batch: what processors report, the tracker counts, the journal keeps and reports show.

Records travel and are stored as packed little-endian bytes, many at a time, so that no Python object per mini-batch is needed
above the processor.
"""

from __future__ import annotations

import struct
from enum import IntEnum

import numpy as np


class Status(IntEnum):
    """How a try ended."""

    SUCCEEDED = 1
    EMPTY = 2  # the mini-batch held no row: committed without a call of run(), counted neither way
    FAILED = 3


class Reason(IntEnum):
    """Why a try failed (`NONE` for one that did not), in the words of the report's "Error Category" column."""

    NONE = 0
    EXCEPTION = 1
    TIMEOUT = 2
    DIED = 3  # the processor died under it: signal, os._exit
    MEMORY = 4  # killed for memory, by the node or the kernel
    SHORT = 5  # fewer returns than items
    BAD_RETURN = 6  # None, text, a mapping, a scalar
    LOAD_ERROR = 7
    LOAD_TIMEOUT = 8
    LOST = 9  # running at its third loss of a node


RECORD = np.dtype(
    [
        ("index", "<i8"),  # mini-batch index
        ("items", "<i8"),  # items of the mini-batch; as planned, else 1, when it could not be loaded
        ("returned", "<i8"),  # elements that run() returned
        ("failed_items", "<i8"),  # items charged to error_threshold by this try if it is the final one
        ("offset", "<i8"),  # where its rows lie in the part file
        ("length", "<i8"),  # their length in bytes
        ("started", "<f8"),  # seconds since the epoch at which loading began
        ("elapsed", "<f4"),  # seconds, loading included
        ("run", "<f4"),  # seconds inside run()
        ("cpu", "<f4"),  # processor seconds (user + system) of the try
        ("tries", "<u2"),  # failed tries before this one
        ("processor", "<u2"),  # number of the processor (NNN of processNNN)
        ("node", "<u2"),
        ("status", "u1"),
        ("reason", "u1"),
        ("final", "u1"),  # 1: the outcome counts (succeeded, empty, or no retries left)
    ]
)
"""One record: 77 bytes, no padding."""

PACK = struct.Struct("<6qd3f3H3B")
"""The same layout for packing one record in a processor."""

assert PACK.size == RECORD.itemsize


def unpack(data: bytes | memoryview) -> np.ndarray:
    """A read-only array of RECORD over `data`, whose length is a multiple of the record size."""
    return np.frombuffer(data, dtype=RECORD)
