"""Gives names to what a function of `map_mini_batches` returns, for formats whose rows have names."""

from __future__ import annotations

import datetime
import decimal
import sys
from collections.abc import Iterator, Mapping
from typing import Any

VALUE = "value"
"""The column of what a function returns without a name."""


def named(returned: Any, name: str) -> Any:
    """What a function returned as rows with names; what can't be any is left to the format to refuse.

    A value without a name gets the column `value`, a mapping of single values is one row, one of columns a
    frame. An index with a name becomes a column.
    """
    if returned is None:
        raise TypeError(
            f"{name}() returned None: return rows (a DataFrame, a list, a mapping or a value), "
            "or pass format=None where it is called for what it does"
        )
    if hasattr(returned, "columns") or hasattr(returned, "to_frame"):
        return _frame(returned)
    if isinstance(returned, Mapping):
        return _of_mapping(returned)
    if _is_single(returned):
        return [{VALUE: _plain(returned)}]
    if hasattr(returned, "shape") and hasattr(returned, "tolist"):  # numpy
        return [{VALUE: value} for value in returned.tolist()]
    if isinstance(returned, list | tuple | Iterator) and not hasattr(returned, "_asdict"):
        return _of_elements(list(returned))
    return [returned] if _has_names(returned) else returned


def _frame(returned: Any) -> Any:
    pandas = sys.modules.get("pandas")
    if pandas is None or not isinstance(returned, pandas.DataFrame | pandas.Series):
        if hasattr(returned, "to_arrow"):  # polars
            return returned.to_arrow()
        return returned
    frame = returned
    if isinstance(frame, pandas.Series):
        frame = frame.to_frame(VALUE if frame.name is None else frame.name)
    names = [name for name in frame.index.names if name is not None]
    return frame.reset_index() if names and not set(names) & set(frame.columns) else frame


def _of_mapping(returned: Mapping[Any, Any]) -> Any:
    if returned and all(_is_column(value) for value in returned.values()):
        import pandas

        return pandas.DataFrame(dict(returned))
    return [returned]


def _is_column(value: Any) -> bool:
    return isinstance(value, list) or (hasattr(value, "tolist") and getattr(value, "shape", ()) != ())


def _of_elements(elements: list[Any]) -> Any:
    pandas = sys.modules.get("pandas")
    if pandas is not None and elements and all(isinstance(each, pandas.DataFrame) for each in elements):
        return pandas.concat([_frame(each) for each in elements], ignore_index=True)
    return [
        each if isinstance(each, Mapping) or _has_names(each) else {VALUE: _plain(each)} for each in elements
    ]


def _has_names(value: Any) -> bool:
    """A named tuple or a dataclass."""
    return hasattr(value, "_asdict") or hasattr(value, "__dataclass_fields__")


def _plain(value: Any) -> Any:
    """A value of numpy's as one of Python's: an array as a list."""
    if hasattr(value, "tolist") and hasattr(value, "dtype") and value.dtype.kind not in "Mm":
        return value.tolist()
    return list(value) if isinstance(value, tuple | set | frozenset) else value


_SINGLE = (
    str, bytes, bool, int, float, decimal.Decimal, datetime.date, datetime.time, datetime.timedelta,
)  # fmt: skip


def _is_single(value: Any) -> bool:
    return isinstance(value, _SINGLE) or (hasattr(value, "dtype") and getattr(value, "shape", None) == ())
