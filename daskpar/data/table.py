"""A table as a plain value: its files, how they are read and which steps follow; made by the driver, read by in processors."""

from __future__ import annotations

import numpy as np

PIECE = np.dtype([("file", "<i4"), ("start", "<i8"), ("stop", "<i8"), ("skip", "<i8"), ("take", "<i8")])
"""Records of one file: those whose first byte lies in the nominal range [start, stop] (delimited, JSON lines), or rows [start, stop) of a
Parquet or Arrow file; `skip` of them are left out and then at most `take` kept (-1: all)."""
