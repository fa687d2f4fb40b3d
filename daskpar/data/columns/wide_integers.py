"""Integers that become other numbers as floats: those beyond 2^53, where not every integer is a float."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daskpar.data.columns.frame_layout import layout_of
from daskpar.data.columns.number_blocks import FEW_COLUMNS, columns_beyond
from daskpar.data.notices import WIDE, LossCounter, LostValues

_EXACT = 2**53
"""Integers up to here are floats without loss."""


class WideIntegers:
    """Integers beside nulls, which make a column of floats of them: those that a float changes."""

    def __init__(self, table: pa.Table) -> None:
        self._columns: list[tuple[str, np.ndarray, np.ndarray, np.ndarray]] = []
        for number in _with_wide(table, layout_of(table.schema).long):
            column = table.column(number)
            values, nulls = _filled(column)
            changed = changed_by_float(values) & ~nulls
            self._columns.append((table.schema.field(number).name, values, nulls, changed))

    def count(self, start: int, stop: int) -> LossCounter | None:
        """What a frame of the rows [start, stop) changes; None where that is nothing."""
        if not self._columns:
            return None
        losses = LossCounter()
        for name, values, nulls, changed in self._columns:
            rows = np.flatnonzero(changed[start:stop])
            if len(rows) and nulls[start:stop].any():
                example = change_text(int(values[start + rows[0]]))
                losses.add(name, WIDE, LostValues(len(rows), example))
        return losses if losses.found else None


def _with_wide(table: pa.Table, columns: Sequence[int]) -> list[int]:
    """Those of the columns of integers of 64 bits that have nulls beside integers that may not be floats."""
    found = [number for number in columns if table.column(number).null_count]
    if len(found) >= FEW_COLUMNS:
        signed = [number for number in found if table.schema.field(number).type == pa.int64()]
        beyond = columns_beyond(table, signed, float(_EXACT)) if signed else []
        found = sorted(set(found) - (set(signed) - set(beyond)))
    return [number for number in found if _is_wide(table.column(number))]


def changed_by_float(values: np.ndarray) -> np.ndarray:
    """Which of the integers are others as floats."""
    floats = values.astype(np.float64)
    beyond = floats >= 2.0 ** (63 if values.dtype == np.int64 else 64)  # they fit no integer any more
    changed: np.ndarray = beyond | (np.where(beyond, 0.0, floats).astype(values.dtype) != values)
    return changed


def count_changed_by_float(column: pa.ChunkedArray) -> LostValues | None:
    """Which integers of a column that becomes one of floats are other numbers then."""
    if not _is_wide(column):
        return None
    values, nulls = _filled(column)
    rows = np.flatnonzero(changed_by_float(values) & ~nulls)
    return LostValues(len(rows), change_text(int(values[rows[0]]))) if len(rows) else None


def _is_wide(column: pa.ChunkedArray) -> bool:
    if column.type not in (pa.int64(), pa.uint64()):
        return False
    limits = pc.min_max(column)
    low, high = limits["min"].as_py(), limits["max"].as_py()
    return low is not None and max(-low, high) > _EXACT


def _filled(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """The integers, 0 for nulls, and where these are."""
    return pc.fill_null(column, pa.scalar(0).cast(column.type)).to_numpy(), column.is_null().to_numpy()


def change_text(value: int) -> str:
    """How a message shows an integer that a float changes."""
    return f"{value} became {int(float(value))}"
