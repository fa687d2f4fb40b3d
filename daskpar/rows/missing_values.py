"""Knows the nulls that returned values may have."""

from __future__ import annotations

from typing import Any


def is_missing(value: Any) -> bool:
    """Whether a value is one of the nulls of Python, numpy and pandas: None, NaN, NaT, NA."""
    if value is None:
        return True
    kind = type(value)
    if kind is str or kind is int or kind is bool:
        return False
    if kind is float or isinstance(value, float):
        return bool(value != value)
    if kind.__name__ in ("NaTType", "NAType"):
        return True
    return (
        kind.__module__ == "numpy"
        and kind.__name__ in ("float32", "float16", "datetime64", "timedelta64")
        and bool(value != value)
    )
