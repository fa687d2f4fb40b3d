"""Refuses columns whose Python values Arrow would bring to one type by changing some of them.

Arrow makes dates of moments where a date comes first, moments in UTC of those without a zone, fractions of
whole numbers and bytes of texts, all without a word.
"""

from __future__ import annotations

import datetime
import decimal
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

from daskpar.rows.missing_values import is_missing

_WHOLE, _FRACTION = "a whole number", "a fraction"
_TOGETHER = ({_WHOLE, "a decimal"},)
"""Kinds that have one type for all values of both."""
_ADVICE = {
    frozenset({_WHOLE, _FRACTION}): "return float() of all, or whole numbers alone",
    frozenset({"a moment with a zone", "a moment without a zone"}): "give all a zone, or none",
    frozenset({"a date", "a moment without a zone"}): "return datetime.datetime for all, or .date() of them",
}


def check_one_kind(values: Sequence[Any], name: str) -> None:
    """ValueError where a column holds values of several kinds, with the rows of two."""
    types = set(map(type, values))
    types.discard(type(None))
    if len(types) == 1 and not _may_differ_inside(next(iter(types))):
        return
    first: dict[str, tuple[int, Any]] = {}
    for row, value in enumerate(values):
        if not is_missing(value):
            first.setdefault(_kind(value), (row, value))
    kinds = set(first)
    if len(kinds) > 1 and kinds not in _TOGETHER:
        one, other = sorted(first, key=lambda kind: first[kind][0])[:2]
        advice = _ADVICE.get(frozenset((one, other)), "return values of one kind")
        raise ValueError(
            f"the column {name!r} can't have one type: it holds {one} in row {first[one][0]} "
            f"({_shown(first[one][1])}) and {other} in row {first[other][0]} ({_shown(first[other][1])}); "
            f"{advice}"
        )
    if kinds == {"a mapping"}:
        present = [value for value in values if not is_missing(value)]
        for key in dict.fromkeys(key for value in present for key in value):
            check_one_kind([value.get(key) for value in present], f"{name}.{key}")
    elif kinds == {"a list"}:
        check_one_kind([inner for value in values if not is_missing(value) for inner in value], f"{name}[]")


def _may_differ_inside(kind: type) -> bool:
    return issubclass(kind, Mapping | list | tuple | datetime.datetime)


def _kind(value: Any) -> str:
    if isinstance(value, bool) or type(value).__name__ in ("bool", "bool_"):
        return "a truth value"
    if isinstance(value, decimal.Decimal):
        return "a decimal"
    if isinstance(value, numbers.Integral):
        return _WHOLE
    if isinstance(value, numbers.Real):
        return _FRACTION
    if isinstance(value, datetime.datetime):
        return "a moment without a zone" if value.tzinfo is None else "a moment with a zone"
    if isinstance(value, datetime.date):
        return "a date"
    if isinstance(value, str):
        return "a text"
    if isinstance(value, bytes | bytearray | memoryview):
        return "bytes"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    return f"a {type(value).__module__}.{type(value).__qualname__}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
