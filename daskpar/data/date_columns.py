"""Columns of date texts to nanosecond timestamps: fixed layouts by numpy, other texts one by one.

API
    to_timestamps(texts, kind) -> pyarrow timestamp[ns] Array      null for texts that no format fits, or that a timestamp can't hold
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from daskpar.data.dates import OUT_OF_RANGE, compile_format
from daskpar.data.kinds import Kind


def to_timestamps(texts: pa.Array, kind: Kind) -> pa.Array:
    """Timestamps of `texts` by the formats of `kind`."""
    coded = texts.dictionary_encode()
    values = pa.array([read_date(text, kind) for text in coded.dictionary.to_pylist()], pa.int64())
    return values.take(coded.indices).cast(pa.timestamp("ns"))


def read_date(text: str, kind: Kind) -> int | None:
    """Nanoseconds of one text, None where no format fits or the date is impossible or too large.

    A given format that fits ends the search even if its date is impossible; an inferred one does not.
    """
    whole = (kind.date_constant or "") + text
    found = None
    for made in kind.formats:
        compiled = compile_format(made, kind.inferred)
        value = None if compiled is None else compiled.read(whole)
        if value is not None:
            found = None if value == OUT_OF_RANGE else value
            if found is not None or not kind.inferred:
                return found
    return found
