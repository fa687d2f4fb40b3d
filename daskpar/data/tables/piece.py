"""The piece of a table: what one mini-batch of it, or a part of one, reads."""

from __future__ import annotations

import numpy as np

PIECE = np.dtype([("file", "<i4"), ("start", "<i8"), ("stop", "<i8")])
"""Records of one file (its number in the table): those whose first byte s is in start <= s < stop (delimited,
JSON lines), or the rows start <= r < stop (Parquet, Arrow)."""
