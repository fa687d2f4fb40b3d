"""Kinds of values in a filter: what they are called, and how they compare with each other."""

from __future__ import annotations

import operator
from datetime import date, datetime
from typing import Any

import pyarrow as pa

RANK = {"bool": 0, "number": 1, "text": 2, "datetime": 3, "other": 4}
"""As Microsoft's reader: values of different kinds are ordered by their kind."""
COMPARE = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def kind_of_type(type_: pa.DataType) -> str:
    """`bool`, `number`, `text`, `datetime`, `null` or `other`: what values of an Arrow type are."""
    if pa.types.is_boolean(type_):
        return "bool"
    if pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_):
        return "number"
    if pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        return "text"
    if pa.types.is_timestamp(type_) or pa.types.is_date(type_):
        return "datetime"
    return "null" if pa.types.is_null(type_) else "other"


def kind_words(kind: str) -> str:
    """The kind in a message: "a number"."""
    return {
        "bool": "true or false",
        "number": "a number",
        "text": "a text",
        "datetime": "a date",
        "null": "nothing",
    }.get(kind, "a nested value")


def kind_of_value(value: Any) -> str:
    """The kind of a Python value."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, str):
        return "text"
    return "datetime" if isinstance(value, (datetime, date)) else "null" if value is None else "other"


def without_zone(value: Any) -> Any:
    """Days and moments as moments in UTC that carry no zone, so that they compare with each other."""
    if pa.types.is_date(value.type):
        return value.cast(pa.timestamp("s"))
    return value.cast(pa.timestamp(value.type.unit)) if value.type.tz else value


def to_float(value: float) -> float:
    """The number as a float, infinite where it is too large."""
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
