"""Turns decoded rows into data frames: converted to pandas once, cut into mini-batches by slicing.

pandas is loaded on first use: a driver plans tables without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daskpar.data.columns.pandas_frames import to_pandas
from daskpar.data.columns.special_types import is_any, is_nullable, is_stream, values_of
from daskpar.data.columns.wide_integers import WideIntegers

if TYPE_CHECKING:
    import pandas as pd


def to_frame(table: pa.Table, rows: int, partition: bool = True) -> pd.DataFrame:
    """The table as a fresh data frame.

    Columns of any kind hold Python values, nested lists as arrays, locations as StreamInfo; integers that are
    nullable stay what they are.
    """
    import pandas as pd

    special = [
        number
        for number, field in enumerate(table.schema)
        if is_any(field) or is_stream(field) or (is_nullable(field) and table.column(number).null_count)
    ]
    if not special:
        return to_pandas(table, partition) if table.num_columns else pd.DataFrame(index=pd.RangeIndex(rows))
    plain = table.select([number for number in range(table.num_columns) if number not in special])
    frame = to_pandas(plain, partition) if plain.num_columns else pd.DataFrame(index=pd.RangeIndex(rows))
    for number in special:
        if is_nullable(table.schema.field(number)):
            name = table.schema.field(number).name
            frame.insert(number, name, pd.Series(_integers(table.column(number))))
            continue
        values = np.empty(rows, dtype=object)
        for row, value in enumerate(values_of(table.column(number), table.schema.field(number))):
            values[row] = _array(value) if isinstance(value, list) else value
        frame.insert(number, table.schema.field(number).name, pd.Series(values, dtype=object))
    return frame


def _integers(column: pa.ChunkedArray) -> pd.arrays.IntegerArray:
    """Integers beside nulls as what pandas has for them."""
    import pandas as pd

    values = pc.fill_null(column, pa.scalar(0).cast(column.type)).to_numpy()
    return pd.arrays.IntegerArray(values, column.is_null().to_numpy())


def _array(values: list[Any]) -> np.ndarray:
    try:
        found = pa.array(values).to_numpy(zero_copy_only=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        found = np.empty(len(values), dtype=object)
        found[:] = values
    return np.asarray(found)


class FrameSlices:
    """Mini-batches out of one table: each has the dtypes that its own rows have alone, and a fresh index."""

    def __init__(self, table: pa.Table, rows: int) -> None:
        import pandas as pd

        self.wide = WideIntegers(table)

        self._frame = to_frame(table, rows)
        self._range = pd.RangeIndex
        self._copy = int(pd.__version__.split(".")[0]) < 3
        """Before pandas 3 a slice that the script changes would change its span."""
        # integers and booleans whose span has nulls: a mini-batch without one gets its own dtype back
        self._with_nulls: list[tuple[int, np.ndarray, np.ndarray]] = []
        for number, column in enumerate(table.columns):
            if column.null_count and (pa.types.is_integer(column.type) or pa.types.is_boolean(column.type)):
                filled = pc.fill_null(column, pa.scalar(0).cast(column.type)).to_numpy()
                self._with_nulls.append((number, filled, column.is_null().to_numpy()))

    def slice(self, start: int, stop: int) -> pd.DataFrame:
        """Rows [start, stop)."""
        frame = self._frame.iloc[start:stop]
        if self._copy:
            frame = frame.copy()
        frame.index = self._range(stop - start)
        for number, filled, nulls in self._with_nulls:
            if not nulls[start:stop].any():
                frame.isetitem(number, filled[start:stop])
        return frame
