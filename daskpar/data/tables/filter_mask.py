"""Evaluates a filter over an Arrow table, whole columns at once: which rows stay.

Nulls, kinds and their order are those of Microsoft's reader. Columns that hold values of several kinds are
left to `filter_rows`, which follows the same rules.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daskpar.data.columns.special_types import is_any
from daskpar.data.tables.filter_kinds import COMPARE, RANK, kind_of_type, kind_words, to_float, without_zone
from daskpar.data.tables.filter_parser import Node, columns_of
from daskpar.data.tables.filter_rows import mask_row_by_row
from daskpar.errors import InputError

Value = Any  # pa.Array | pa.ChunkedArray | pa.Scalar

_FUNCTIONS = {
    "==": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}


def mask(node: Node, table: pa.Table) -> Value:
    """For each row whether it stays (null: no).

    InputError where a row can't be evaluated (division by zero) or kinds don't fit.
    """
    names = columns_of(node)
    if any(name in table.column_names and is_any(table.schema.field(name)) for name in names):
        return mask_row_by_row(node, table, names)
    try:
        found = _Columns(table).evaluate(node)
    except pa.ArrowException as error:
        raise InputError(f"it can't be calculated: {error}") from None
    if kind_of_type(found.type) not in ("bool", "null"):
        raise InputError(
            f"the filter gives {kind_words(kind_of_type(found.type))}; it must give true or false"
        )
    found = pc.cast(found, pa.bool_())
    if isinstance(found, pa.Scalar):
        found = pa.repeat(found, table.num_rows)
    return pc.fill_null(found, False)


class _Columns:
    """Evaluates the nodes of a filter over whole columns.

    `active` marks the rows whose outcome counts: those that an `and`, `or` or `if` further up has not
    decided. An error in the others (a division by zero behind `x != 0 and …`) is none.
    """

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self.active: Value = pa.scalar(True)

    def evaluate(self, node: Node) -> Value:
        return getattr(self, "_" + node[0])(*node[1:])

    def _value(self, constant: Any) -> Value:
        if isinstance(constant, int) and not isinstance(constant, bool) and not -(2**63) <= constant < 2**63:
            return (
                pa.scalar(constant, pa.uint64()) if 0 <= constant < 2**64 else pa.scalar(to_float(constant))
            )
        return (
            pa.scalar(constant, pa.timestamp("us")) if isinstance(constant, datetime) else pa.scalar(constant)
        )

    def _list(self, nodes: list[Node]) -> Value:
        return pa.scalar([0], pa.list_(pa.int64())) if nodes else pa.scalar([], pa.list_(pa.int64()))

    def _column(self, name: str) -> Value:
        if name not in self.table.column_names:  # as Microsoft's reader: an unknown column is null
            return pa.scalar(None)
        return _widened(self.table.column(name))

    def _field(self, node: Node, name: str) -> Value:
        value = self.evaluate(node)
        if not pa.types.is_struct(value.type) or value.type.get_field_index(name) < 0:
            return pa.scalar(None)
        return _widened(pc.struct_field(value, name))

    def _startswith(self, text: Node, prefix: Node) -> Value:
        value, start = self.evaluate(text), self.evaluate(prefix)
        if not isinstance(start, pa.Scalar) or kind_of_type(start.type) != "text":
            raise InputError("startswith takes a constant text")
        if self._any(pc.is_null(value)):  # as Microsoft's reader, which fails the whole read
            raise InputError(
                "startswith was asked of a missing value: filter those out first, or name another column"
            )
        if kind_of_type(value.type) != "text":
            raise InputError(f"startswith was asked of {kind_words(kind_of_type(value.type))}, not of a text")
        return pc.starts_with(value, start.as_py())

    def _not(self, node: Node) -> Value:
        return pc.invert(self._truth(self.evaluate(node), "not"))

    def _and(self, nodes: list[Node]) -> Value:
        # as Microsoft's reader: a null on the left decides, other than in SQL
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
        kinds = {kind_of_type(first.type), kind_of_type(second.type)} - {"null"}
        if len(kinds) > 1:
            raise InputError("both values of `if … else …` must be of one kind")
        return pc.if_else(test, first, second)

    def _compare(self, sign: str, left: Node, right: Node) -> Value:
        a, b = self.evaluate(left), self.evaluate(right)
        kinds = kind_of_type(a.type), kind_of_type(b.type)
        if "null" in kinds:
            return pa.scalar(None, pa.bool_())
        if kinds[0] != kinds[1]:  # as Microsoft's reader: never equal, and ordered by kind
            outcome = {"==": False, "!=": True}.get(sign)
            if outcome is None:
                order = RANK[kinds[0]] - RANK[kinds[1]]
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
        if "null" in (kind_of_type(a.type), kind_of_type(b.type)):
            return pa.scalar(None)
        if sign == "+" and kind_of_type(a.type) == kind_of_type(b.type) == "text":
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
        if kind_of_type(value.type) not in ("number", "null"):
            raise InputError(f"`{sign}` takes numbers, not {kind_words(kind_of_type(value.type))}")
        return _floats(value) if value.type == pa.uint64() else value

    def _truth(self, value: Value, word: str) -> Value:
        if kind_of_type(value.type) not in ("bool", "null"):
            raise InputError(f"`{word}` takes true or false, not {kind_words(kind_of_type(value.type))}")
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
    """The values with a type that holds sums as well: integers of 64 bits, floats of at least 32."""
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
        compare = COMPARE[sign]
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
    # as Microsoft's reader: `//` cuts toward zero, and `%` has the sign of the divisor
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
    a, b = without_zone(a), without_zone(b)
    try:
        return a.cast(pa.timestamp("ns")), b.cast(pa.timestamp("ns"))
    except pa.ArrowInvalid:  # beyond the range of nanoseconds
        return pc.cast(a, pa.timestamp("us"), safe=False), pc.cast(b, pa.timestamp("us"), safe=False)


def _other(sign: str, a: Value, b: Value) -> Value:
    if sign not in ("==", "!=") or not a.type.equals(b.type) or pa.types.is_nested(a.type):
        raise InputError(f"values of type {a.type} can't be compared with `{sign}` in a filter")
    return _FUNCTIONS[sign](a, b)
