"""`convert_column_types`: columns of any kind to another kind, value by value as Microsoft's engine does it.

API
    convert(column, kind) -> (array, Failure | None)      column: pyarrow Array or ChunkedArray of any type; array of `result_type(column.type, kind)`
    result_type(source, kind) -> pyarrow.DataType         the type that `convert` gives; null where no value of the source converts
    check_formats(formats, date_constant=None)            ValueError says why the formats can't give a date
"""

from __future__ import annotations

import pyarrow as pa

from daskpar.data.dates import check_formats
from daskpar.data.kinds import Kind
from daskpar.data.values import Failure, from_text

__all__ = ["check_formats", "convert", "result_type"]


def result_type(source: pa.DataType, kind: Kind) -> pa.DataType:
    """The type that `convert` gives for columns of type `source`."""
    return kind.arrow


def convert(column: pa.Array | pa.ChunkedArray, kind: Kind) -> tuple[pa.Array, Failure | None]:
    """`column` as `kind`; values that don't convert become null and are counted."""
    return from_text(column.cast(pa.string()), kind)
