"""Evaluates a filter row by row, on Python values.

For columns that hold values of several kinds (kind "any"), by the same rules as `filter_mask`.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import pyarrow as pa

from daskpar.data.columns.special_types import values_of
from daskpar.data.tables.filter_kinds import (
    COMPARE,
    RANK,
    kind_of_type,
    kind_of_value,
    kind_words,
    to_float,
    without_zone,
)
from daskpar.data.tables.filter_parser import Node
from daskpar.errors import InputError


def mask_row_by_row(node: Node, table: pa.Table, names: frozenset[str]) -> pa.Array:
    """For each row whether it stays; `names` are the columns that the filter looks at."""
    known = [name for name in table.column_names if name in names]
    columns = [_values_of(table.column(name), table.schema.field(name)) for name in known]
    kept = np.zeros(table.num_rows, bool)
    for number, row in enumerate(zip(*columns, strict=True)):
        found = _of_row(node, dict(zip(known, row, strict=True)))
        if found is not None and not isinstance(found, bool):
            raise InputError(
                f"the filter gives {kind_words(kind_of_value(found))}; it must give true or false"
            )
        kept[number] = found is True
    return pa.array(kept)


def _values_of(column: pa.ChunkedArray, field: pa.Field) -> list[Any]:
    """The values of a column as Python objects that can be compared with each other."""
    return values_of(without_zone(column) if kind_of_type(column.type) == "datetime" else column, field)


def _of_row(node: Node, row: dict[str, Any]) -> Any:
    """The value of a node for one row; None is a null."""
    name, parts = node[0], node[1:]
    if name == "value":
        return parts[0]
    if name == "column":
        return row.get(parts[0])
    if name == "list":
        return [_of_row(part, row) for part in parts[0]]
    if name == "field":
        value = _of_row(parts[0], row)
        return value.get(parts[1]) if isinstance(value, dict) else None
    if name in ("and", "or", "if"):
        return _decide(name, parts, row)
    if name in ("compare", "arithmetic"):
        a, b = _of_row(parts[1], row), _of_row(parts[2], row)
        if a is None or b is None:
            return None
        return _compare_values(parts[0], a, b) if name == "compare" else _calculate_values(parts[0], a, b)
    value = _of_row(parts[0], row)
    if name == "startswith":
        start = _of_row(parts[1], row)
        if not isinstance(value, str) or not isinstance(start, str):
            raise InputError(
                "startswith was asked of a value that is no text: "
                "filter those out first, or name another column"
            )
        return value.startswith(start)
    if name == "not":
        return None if value is None else not _true(value, name)
    if value is not None and kind_of_value(value) != "number":
        raise InputError(
            f"`{'-' if name == 'negative' else '+'}` takes numbers, not {kind_words(kind_of_value(value))}"
        )
    return -value if value is not None and name == "negative" else value


def _decide(name: str, parts: tuple[Any, ...], row: dict[str, Any]) -> Any:
    if name == "if":
        test = _of_row(parts[0], row)
        return _of_row(parts[1] if test is not None and _true(test, name) else parts[2], row)
    missing = False
    for node in parts[0]:
        value = _of_row(node, row)
        holds = value is not None and _true(value, name)
        if holds == (name == "or"):  # decided: what follows is not looked at
            return value
        missing = missing or value is None
    return None if missing else name == "and"


def _true(value: Any, word: str) -> bool:
    if not isinstance(value, bool):
        raise InputError(f"`{word}` takes true or false, not {kind_words(kind_of_value(value))}")
    return value


def _compare_values(sign: str, a: Any, b: Any) -> bool:
    kinds = kind_of_value(a), kind_of_value(b)
    if sign in ("==", "!="):
        return bool((kinds[0] == kinds[1] and a == b) == (sign == "=="))
    if kinds[0] != kinds[1]:
        a, b = RANK[kinds[0]], RANK[kinds[1]]
    elif kinds[0] == "text":
        a, b = a.encode("utf-8", "surrogatepass"), b.encode("utf-8", "surrogatepass")
    elif kinds[0] == "other":
        raise InputError(f"nested values can't be compared with `{sign}` in a filter")
    return bool(COMPARE[sign](a, b))


def _calculate_values(sign: str, a: Any, b: Any) -> Any:
    if sign == "+" and isinstance(a, str) and isinstance(b, str):
        return a + b
    for value in (a, b):
        if kind_of_value(value) != "number":
            raise InputError(f"`{sign}` takes numbers, not {kind_words(kind_of_value(value))}")
    if sign in ("/", "//", "%") and b == 0:
        raise InputError(f"division by zero in `{sign}`")
    if isinstance(a, float) or isinstance(b, float) or sign in ("/", "**"):
        with np.errstate(all="ignore"):  # infinite and undefined outcomes are values, as they are in columns
            found = _FLOATS[sign](np.float64(to_float(a)), np.float64(to_float(b)))
        return float(found)
    if sign == "//":
        return abs(a) // abs(b) * (-1 if (a < 0) != (b < 0) else 1)
    return _INTEGERS[sign](a, b)


_INTEGERS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "%": operator.mod}
_FLOATS = {
    **_INTEGERS,
    "/": operator.truediv,
    "//": lambda a, b: np.trunc(a / b),
    "**": operator.pow,
}
