"""The record of one try of one mini-batch, in the form that processors report and the journal stores.

Records travel and are stored as packed little-endian bytes, many at a time, so that no Python object per
mini-batch is needed above the processor.
"""

from __future__ import annotations

import numpy as np

from daskpar.batches.packed_record import PACK

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
"""One record: 77 bytes, no padding; `packed_record.PACK` packs one."""

assert PACK.size == RECORD.itemsize


def unpack(data: bytes | memoryview) -> np.ndarray:
    """A read-only array of RECORD over `data`, whose length is a multiple of the record size."""
    return np.frombuffer(data, dtype=RECORD)
