"""Filters evaluated: a tree of `expressions` over an Arrow table, column-wise, to a mask; nulls, kinds and
their order as in mltable.md.

Columns that hold values of several kinds (kind "any") are evaluated row by row, by the same rules on Python
values.
"""

from __future__ import annotations

import operator
from datetime import date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daskpar.data.columns.types import is_any, values_of
from daskpar.data.tables.filter_parser import Node, columns_of
from daskpar.errors import InputError

Value = Any  # pa.Array | pa.ChunkedArray | pa.Scalar

_RANK = {"bool": 0, "number": 1, "text": 2, "datetime": 3, "other": 4}
_FUNCTIONS = {
    "==": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
_OPERATORS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def mask(node: Node, table: pa.Table) -> Value:
    """For each row whether it stays (null: no); InputError where a row can't be evaluated (division by zero)
    or kinds don't fit.
    """
    names = columns_of(node)
    if any(name in table.column_names and is_any(table.schema.field(name)) for name in names):
        return _row_by_row(node, table, names)
    try:
        found = _Columns(table).evaluate(node)
    except pa.ArrowException as error:
        raise InputError(f"it can't be calculated: {error}") from None
    if _kind(found.type) not in ("bool", "null"):
        raise InputError(f"the filter gives {_words(_kind(found.type))}; it must give true or false")
    found = pc.cast(found, pa.bool_())
    if isinstance(found, pa.Scalar):
        found = pa.repeat(found, table.num_rows)
    return pc.fill_null(found, False)


def _kind(type_: pa.DataType) -> str:
    if pa.types.is_boolean(type_):
        return "bool"
    if pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_):
        return "number"
    if pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        return "text"
    if pa.types.is_timestamp(type_) or pa.types.is_date(type_):
        return "datetime"
    return "null" if pa.types.is_null(type_) else "other"


def _words(kind: str) -> str:
    return {
        "bool": "true or false",
        "number": "a number",
        "text": "a text",
        "datetime": "a date",
        "null": "nothing",
    }.get(kind, "a nested value")


class _Columns:
    """Evaluates whole columns; `active` marks the rows whose outcome counts (those not decided by `and`, `or`
    or `if` before).
    """

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self.active: Value = pa.scalar(True)

    def evaluate(self, node: Node) -> Value:
        return getattr(self, "_" + node[0])(*node[1:])

    def _value(self, constant: Any) -> Value:
        if isinstance(constant, int) and not isinstance(constant, bool) and not -(2**63) <= constant < 2**63:
            return pa.scalar(constant, pa.uint64()) if 0 <= constant < 2**64 else pa.scalar(_real(constant))
        return (
            pa.scalar(constant, pa.timestamp("us")) if isinstance(constant, datetime) else pa.scalar(constant)
        )

    def _list(self, nodes: list[Node]) -> Value:
        return pa.scalar([0], pa.list_(pa.int64())) if nodes else pa.scalar([], pa.list_(pa.int64()))

    def _column(self, name: str) -> Value:
        if name not in self.table.column_names:
            return pa.scalar(None)
        return _widened(self.table.column(name))

    def _field(self, node: Node, name: str) -> Value:
        value = self.evaluate(node)
        if not pa.types.is_struct(value.type) or value.type.get_field_index(name) < 0:
            return pa.scalar(None)
        return _widened(pc.struct_field(value, name))

    def _startswith(self, text: Node, prefix: Node) -> Value:
        value, start = self.evaluate(text), self.evaluate(prefix)
        if not isinstance(start, pa.Scalar) or _kind(start.type) != "text":
            raise InputError("startswith takes a constant text")
        if self._any(pc.is_null(value)):
            raise InputError(
                "startswith was asked of a missing value: filter those out first, or name another column"
            )
        if _kind(value.type) != "text":
            raise InputError(f"startswith was asked of {_words(_kind(value.type))}, not of a text")
        return pc.starts_with(value, start.as_py())

    def _not(self, node: Node) -> Value:
        return pc.invert(self._truth(self.evaluate(node), "not"))

    def _and(self, nodes: list[Node]) -> Value:
        found = self._truth(self.evaluate(nodes[0]), "and")
        for node in nodes[1:]:
            found = pc.if_else(found, self._truth(self._where(found, node), "and"), pa.scalar(False))
        return found

    def _or(self, nodes: list[Node]) -> Value:
        found = self._truth(self.evaluate(nodes[0]), "or")
        for node in nodes[1:]:
            others = pc.invert(pc.fill_null(found, False))
            found = pc.or_kleene(found, self._truth(self._where(others, node), "or"))
        return found

    def _if(self, condition: Node, then: Node, otherwise: Node) -> Value:
        test = pc.fill_null(self._truth(self.evaluate(condition), "if"), False)
        first, second = self._where(test, then), self._where(pc.invert(test), otherwise)
        kinds = {_kind(first.type), _kind(second.type)} - {"null"}
        if len(kinds) > 1:
            raise InputError("both values of `if … else …` must be of one kind")
        return pc.if_else(test, first, second)

    def _compare(self, sign: str, left: Node, right: Node) -> Value:
        a, b = self.evaluate(left), self.evaluate(right)
        kinds = _kind(a.type), _kind(b.type)
        if "null" in kinds:
            return pa.scalar(None, pa.bool_())
        if kinds[0] != kinds[1]:
            outcome = {"==": False, "!=": True}.get(sign)
            if outcome is None:
                order = _RANK[kinds[0]] - _RANK[kinds[1]]
                outcome = order < 0 if sign[0] == "<" else order > 0
            return pc.if_else(
                pc.and_(pc.is_valid(a), pc.is_valid(b)), pa.scalar(outcome), pa.scalar(None, pa.bool_())
            )
        if kinds[0] == "datetime":
            a, b = _same_unit(a, b)
        if kinds[0] == "other":
            return _other(sign, a, b)
        return _compare_numbers(sign, a, b) if kinds[0] == "number" else _FUNCTIONS[sign](a, b)

    def _negative(self, node: Node) -> Value:
        value = self._number(self.evaluate(node), "-")
        return pa.scalar(None) if pa.types.is_null(value.type) else pc.negate_checked(value)

    def _positive(self, node: Node) -> Value:
        return self._number(self.evaluate(node), "+")

    def _arithmetic(self, sign: str, left: Node, right: Node) -> Value:
        a, b = self.evaluate(left), self.evaluate(right)
        if "null" in (_kind(a.type), _kind(b.type)):
            return pa.scalar(None)
        if sign == "+" and _kind(a.type) == _kind(b.type) == "text":
            return pc.binary_join_element_wise(
                a.cast(pa.large_string()), b.cast(pa.large_string()), pa.scalar("", pa.large_string())
            )
        a, b = self._number(a, sign), self._number(b, sign)
        if sign in ("/", "//", "%") and self._any(pc.and_(pc.equal(b, 0), pc.is_valid(a))):
            raise InputError(f"division by zero in `{sign}`")
        try:
            return _calculate(sign, a, b)
        except pa.ArrowException as error:
            raise InputError(f"`{sign}` can't be calculated: {error}") from None

    def _number(self, value: Value, sign: str) -> Value:
        if _kind(value.type) not in ("number", "null"):
            raise InputError(f"`{sign}` takes numbers, not {_words(_kind(value.type))}")
        return _floats(value) if value.type == pa.uint64() else value

    def _truth(self, value: Value, word: str) -> Value:
        if _kind(value.type) not in ("bool", "null"):
            raise InputError(f"`{word}` takes true or false, not {_words(_kind(value.type))}")
        return pc.cast(value, pa.bool_())

    def _where(self, rows: Value, node: Node) -> Value:
        before = self.active
        self.active = pc.and_(before, pc.fill_null(rows, False))
        try:
            return self.evaluate(node)
        finally:
            self.active = before

    def _any(self, rows: Value) -> bool:
        found = pc.and_(pc.fill_null(rows, False), self.active)
        if isinstance(found, pa.Scalar):
            return bool(found.as_py()) and self.table.num_rows > 0
        return bool(pc.any(found).as_py())


def _widened(column: Value) -> Value:
    """The values with a type that holds the outcome of sums as well: integers of 64 bits, floats of at least
    32.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_float16(column.type):
        return column.cast(pa.float64())
    if not pa.types.is_integer(column.type) or column.type == pa.int64():
        return column
    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid:  # unsigned ones that only 64 bits without a sign can hold
        return column


def _floats(value: Value) -> Value:
    """The numbers as floats, rounded where they are too large to be held exactly."""
    return pc.cast(value, pa.float64(), safe=False)


def _compare_numbers(sign: str, a: Value, b: Value) -> Value:
    try:
        return _FUNCTIONS[sign](a, b)
    except pa.ArrowInvalid:  # integers that floats can't hold: Python compares them exactly
        rows = [len(value) for value in (a, b) if not isinstance(value, pa.Scalar)] or [1]
        sides = [
            [value.as_py()] * rows[0] if isinstance(value, pa.Scalar) else value.to_pylist()
            for value in (a, b)
        ]
        compare = _OPERATORS[sign]
        found = pa.array(
            [None if x is None or y is None else compare(x, y) for x, y in zip(*sides, strict=True)],
            pa.bool_(),
        )
        return found[0] if isinstance(a, pa.Scalar) and isinstance(b, pa.Scalar) else found


def _calculate(sign: str, a: Value, b: Value) -> Value:
    if sign in ("/", "//", "**", "%") and any(pa.types.is_decimal(value.type) for value in (a, b)):
        a, b = _floats(a), _floats(b)  # decimals would need more digits than there are
    if pa.types.is_floating(a.type) or pa.types.is_floating(b.type) or sign in ("/", "**"):
        a, b = (_floats(value) if pa.types.is_integer(value.type) else value for value in (a, b))
    if sign in ("+", "-", "*"):
        return {"+": pc.add_checked, "-": pc.subtract_checked, "*": pc.multiply_checked}[sign](a, b)
    if sign == "/":
        return pc.divide(pc.cast(a, pa.float64()), _no_zero(pc.cast(b, pa.float64())))
    if sign == "**":
        return pc.power(pc.cast(a, pa.float64()), pc.cast(b, pa.float64()))
    b = _no_zero(b)
    quotient = pc.divide(a, b)
    if not pa.types.is_integer(quotient.type):
        quotient = pc.trunc(quotient)
    if sign == "//":
        return quotient
    if pa.types.is_floating(quotient.type):
        return _float_rest(a, b)
    rest = pc.subtract(a, pc.multiply(quotient, b))
    other_sign = pc.and_(pc.not_equal(rest, 0), pc.not_equal(pc.less(rest, 0), pc.less(b, 0)))
    return pc.if_else(other_sign, pc.add(rest, b), rest)


def _float_rest(a: Value, b: Value) -> Value:
    """What is left of a division, exactly, with the sign of the divisor."""
    known = pc.and_(pc.is_valid(a), pc.is_valid(b))
    sides = [pc.fill_null(pc.cast(value, pa.float64()), 1.0) for value in (a, b)]
    with np.errstate(all="ignore"):
        found = np.mod(
            *(value.as_py() if isinstance(value, pa.Scalar) else value.to_numpy() for value in sides)
        )
    return pc.if_else(
        known,
        pa.scalar(float(found)) if np.ndim(found) == 0 else pa.array(found),
        pa.scalar(None, pa.float64()),
    )


def _no_zero(value: Value) -> Value:
    """Zero divisors of rows whose outcome does not count are nulls."""
    return pc.if_else(pc.equal(value, 0), pa.scalar(None, value.type), value)


def _same_unit(a: Value, b: Value) -> tuple[Value, Value]:
    a, b = _naive(a), _naive(b)
    try:
        return a.cast(pa.timestamp("ns")), b.cast(pa.timestamp("ns"))
    except pa.ArrowInvalid:  # beyond the range of nanoseconds
        return pc.cast(a, pa.timestamp("us"), safe=False), pc.cast(b, pa.timestamp("us"), safe=False)


def _naive(value: Value) -> Value:
    if pa.types.is_date(value.type):
        return value.cast(pa.timestamp("s"))
    return value.cast(pa.timestamp(value.type.unit)) if value.type.tz else value


def _other(sign: str, a: Value, b: Value) -> Value:
    if sign not in ("==", "!=") or not a.type.equals(b.type) or pa.types.is_nested(a.type):
        raise InputError(f"values of type {a.type} can't be compared with `{sign}` in a filter")
    return _FUNCTIONS[sign](a, b)


def _row_by_row(node: Node, table: pa.Table, names: frozenset[str]) -> pa.Array:
    known = [name for name in table.column_names if name in names]
    columns = [_values_of(table.column(name), table.schema.field(name)) for name in known]
    kept = np.zeros(table.num_rows, bool)
    for number, row in enumerate(zip(*columns, strict=True)):
        found = _of_row(node, dict(zip(known, row, strict=True)))
        if found is not None and not isinstance(found, bool):
            raise InputError(f"the filter gives {_words(_kind_of(found))}; it must give true or false")
        kept[number] = found is True
    return pa.array(kept)


def _values_of(column: pa.ChunkedArray, field: pa.Field) -> list[Any]:
    """The values of a column as Python objects that can be compared with each other."""
    return values_of(_naive(column) if _kind(column.type) == "datetime" else column, field)


def _of_row(node: Node, row: dict[str, Any]) -> Any:
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
                "startswith was asked of a value that is no text: filter those out first, or name another column"
            )
        return value.startswith(start)
    if name == "not":
        return None if value is None else not _true(value, name)
    if value is not None and _kind_of(value) != "number":
        raise InputError(
            f"`{'-' if name == 'negative' else '+'}` takes numbers, not {_words(_kind_of(value))}"
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
        raise InputError(f"`{word}` takes true or false, not {_words(_kind_of(value))}")
    return value


def _kind_of(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, str):
        return "text"
    return "datetime" if isinstance(value, (datetime, date)) else "null" if value is None else "other"


def _compare_values(sign: str, a: Any, b: Any) -> bool:
    kinds = _kind_of(a), _kind_of(b)
    if sign in ("==", "!="):
        return bool((kinds[0] == kinds[1] and a == b) == (sign == "=="))
    if kinds[0] != kinds[1]:
        a, b = _RANK[kinds[0]], _RANK[kinds[1]]
    elif kinds[0] == "text":
        a, b = a.encode("utf-8", "surrogatepass"), b.encode("utf-8", "surrogatepass")
    elif kinds[0] == "other":
        raise InputError(f"nested values can't be compared with `{sign}` in a filter")
    return bool(_OPERATORS[sign](a, b))


def _calculate_values(sign: str, a: Any, b: Any) -> Any:
    if sign == "+" and isinstance(a, str) and isinstance(b, str):
        return a + b
    for value in (a, b):
        if _kind_of(value) != "number":
            raise InputError(f"`{sign}` takes numbers, not {_words(_kind_of(value))}")
    if sign in ("/", "//", "%") and b == 0:
        raise InputError(f"division by zero in `{sign}`")
    if isinstance(a, float) or isinstance(b, float) or sign in ("/", "**"):
        with np.errstate(all="ignore"):  # infinite and undefined outcomes are values, as they are in columns
            found = _FLOATS[sign](np.float64(_real(a)), np.float64(_real(b)))
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


def _real(value: float) -> float:
    """The number as a float, infinite where it is too large."""
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
