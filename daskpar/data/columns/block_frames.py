"""Data frames of wide tables: their numbers as one block for each type, not a conversion for each column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from daskpar.data.columns.frame_layout import layout_of
from daskpar.data.columns.number_blocks import number_block

if TYPE_CHECKING:
    import pandas as pd

MANY_COLUMNS = 128
"""Numbers from which on a table is wide: fewer take Arrow no time."""
MOST_OTHERS = 0.25
"""Of the numbers: more columns of other types are converted by Arrow, with all the rest."""

_INT64 = pa.int64().id


def block_frame(table: pa.Table) -> pd.DataFrame | None:
    """The frame that Arrow would make of a wide table of numbers; None for tables of other kinds.

    Also where this pandas has no way to be given blocks.
    """
    if table.num_columns < MANY_COLUMNS or not table.num_rows or table.schema.metadata:
        return None
    blocks = _number_columns(table)
    numbers = [number for numbers, _ in blocks for number in numbers]
    others = table.num_columns - len(numbers)
    if len(numbers) < MANY_COLUMNS or others > MOST_OTHERS * len(numbers):
        return None
    import pandas as pd

    try:
        from pandas.api.internals import (  # type: ignore[import-not-found, unused-ignore]
            create_dataframe_from_blocks,
        )
    except ImportError:  # before pandas 3
        return None
    parts: list[tuple[Any, np.ndarray]] = [
        (number_block(table, numbers, nulls_in_integers=nulls).T, np.array(numbers, np.intp))
        for numbers, nulls in blocks
    ]
    if others:
        rest = np.setdiff1d(np.arange(table.num_columns), numbers)
        parts += _blocks_of(table.select(rest.tolist()).to_pandas(use_threads=False), rest)
    frame: pd.DataFrame = create_dataframe_from_blocks(
        parts, pd.RangeIndex(table.num_rows), pd.Index(table.column_names)
    )
    return frame


def _number_columns(table: pa.Table) -> list[tuple[list[int], bool]]:
    """The columns of each type of numbers, and whether they are integers with nulls, which become floats."""
    layout = layout_of(table.schema)
    found = [(numbers, False) for numbers in layout.floats.values()]
    for kind, numbers in layout.integers.items():
        with_nulls = {number for number in numbers if table.column(number).null_count}
        whole = [number for number in numbers if number not in with_nulls]
        found += [(whole, False)] if whole else []
        found += [(sorted(with_nulls), True)] if with_nulls and kind == _INT64 else []
    return found


def _blocks_of(frame: pd.DataFrame, places: np.ndarray) -> list[tuple[Any, np.ndarray]]:
    """The columns of a frame as blocks, for the places in another one that they get."""
    found: list[tuple[Any, np.ndarray]] = []
    of_type: dict[Any, list[int]] = {}
    for number, dtype in enumerate(frame.dtypes):
        if isinstance(dtype, np.dtype):
            of_type.setdefault(dtype, []).append(number)
        else:
            found.append((frame.iloc[:, number].array, places[number : number + 1]))
    for dtype, numbers in of_type.items():
        values = np.ascontiguousarray(frame.iloc[:, numbers].to_numpy(dtype).T)
        found.append((values if values.flags.writeable else values.copy(), places[numbers]))
    return found
