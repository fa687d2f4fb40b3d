"""Where in its file each row of a span starts: what sampling draws by, and how filtered rows are told apart."""

from __future__ import annotations

import numpy as np

from daskpar.data import records
from daskpar.data.dialect import Dialect


def row_starts(data: bytes, offset: int, dialect: Dialect) -> np.ndarray:
    """Byte of the file at which each row of `data` (whole records, from byte `offset`) starts."""
    found = records._row_starts(records._units(data, dialect), dialect)
    return np.asarray(found, np.int64) * (2 if dialect.wide else 1) + offset
