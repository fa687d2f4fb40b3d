"""Turns decoded rows into data frames: converted to pandas once, cut into mini-batches by slicing.

pandas is loaded on first use: a driver plans tables without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daskpar.data.columns.frame_layout import layout_of
from daskpar.data.columns.pandas_frames import to_pandas
from daskpar.data.columns.special_types import is_nullable, values_of
from daskpar.data.columns.wide_integers import WideIntegers

if TYPE_CHECKING:
    import pandas as pd


MOST_CHANGING = 32
"""Columns whose dtype may change from slice to slice: of more, each slice is converted by itself."""
ROWS_AHEAD = 4096
"""Rows of slices that are cut together. Between two calls of `run()` the code that cuts has left the
processor's caches: cut one by one, small slices took three times as long (measured).
"""


def to_frame(table: pa.Table, rows: int, partition: bool = True) -> pd.DataFrame:
    """The table as a fresh data frame.

    Columns of any kind hold Python values, nested lists as arrays, locations as StreamInfo; integers that are
    nullable stay what they are.
    """
    import pandas as pd

    layout = layout_of(table.schema)
    special = sorted(
        [*layout.special, *(number for number in layout.nullable if table.column(number).null_count)]
    )
    if not special:
        return to_pandas(table, partition) if table.num_columns else pd.DataFrame(index=pd.RangeIndex(rows))
    apart = set(special)
    plain = table.select([number for number in range(table.num_columns) if number not in apart])
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

    def __init__(self, table: pa.Table, rows: int, starts: Sequence[int], stops: Sequence[int]) -> None:
        """Slice `i` has the rows [starts[i], stops[i]) of the `rows` of the table."""
        import pandas as pd

        self.wide = WideIntegers(table)
        self._starts, self._stops = starts, stops
        self._ahead: dict[int, pd.DataFrame] = {}
        self._range = pd.RangeIndex
        self._copy = int(pd.__version__.split(".")[0]) < 3
        """Before pandas 3 a slice that the script changes would change its span."""
        with_nulls = [n for n in layout_of(table.schema).changing if table.column(n).null_count]
        self._table = table if len(with_nulls) > MOST_CHANGING else None
        self._frame = to_frame(table, rows) if self._table is None else pd.DataFrame()
        # integers and booleans whose span has nulls: a mini-batch without one gets its own dtype back
        self._with_nulls: list[tuple[int, np.ndarray, np.ndarray]] = []
        for number in with_nulls if self._table is None else ():
            column = table.column(number)
            filled = pc.fill_null(column, pa.scalar(0).cast(column.type)).to_numpy()
            self._with_nulls.append((number, filled, column.is_null().to_numpy()))

    def frame(self, i: int) -> pd.DataFrame:
        """Slice `i`, a new one each time; fastest in ascending order."""
        start, stop = self._starts[i], self._stops[i]
        if self._table is not None:
            return to_frame(self._table.slice(start, stop - start), stop - start)
        found = self._ahead.pop(i, None)
        if found is not None:
            return found
        self._ahead.clear()
        found = self._cut(start, stop)
        rows = stop - start
        for later in range(i + 1, len(self._starts)):
            start, stop = self._starts[later], self._stops[later]
            rows += stop - start
            if rows > ROWS_AHEAD:
                break
            self._ahead[later] = self._cut(start, stop)
        return found

    def _cut(self, start: int, stop: int) -> pd.DataFrame:
        frame = self._frame.iloc[start:stop]
        if self._copy:
            frame = frame.copy()
        frame.index = self._range(stop - start)
        for number, filled, nulls in self._with_nulls:
            if not nulls[start:stop].any():
                frame.isetitem(number, filled[start:stop])
        return frame
