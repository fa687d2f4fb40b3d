"""The one type for a column whose mini-batches have several: only where no value changes by it.

Whatever the order in which types are met, the result is the same.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.types as kinds

_UNITS = ("s", "ms", "us")
_SIGNED = {1: pa.int8(), 2: pa.int16(), 4: pa.int32(), 8: pa.int64()}
_UNSIGNED = {1: pa.uint8(), 2: pa.uint16(), 4: pa.uint32(), 8: pa.uint64()}
_DIGITS_128, _DIGITS_256 = 38, 76


def usual_type(kind: pa.DataType) -> pa.DataType:
    """One of the types that mean the same: values for dictionaries of them, large text and bytes."""
    if kinds.is_dictionary(kind):
        return usual_type(kind.value_type)
    if kinds.is_string(kind) or kinds.is_string_view(kind):
        return pa.large_string()
    if kinds.is_binary(kind) or kinds.is_binary_view(kind):
        return pa.large_binary()
    if kinds.is_list(kind):
        return pa.list_(usual_type(kind.value_type))
    if kinds.is_large_list(kind):
        return pa.large_list(usual_type(kind.value_type))
    if kinds.is_struct(kind):
        return pa.struct([(field.name, usual_type(field.type)) for field in kind])
    return kind


def wider_type(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The smallest type that has all values of both as they are; None where there is none.

    Numbers with and without a fraction have none: what is 2 in one mini-batch would be 2.0 in the output.
    """
    if one.equals(other):
        return one
    if kinds.is_null(one):
        return other
    if kinds.is_null(other):
        return one
    if kinds.is_integer(one) and kinds.is_integer(other):
        return _integer(one, other)
    if kinds.is_floating(one) and kinds.is_floating(other):
        return one if one.bit_width > other.bit_width else other
    if kinds.is_decimal(one) and kinds.is_decimal(other):
        return _decimal(one, other)
    if kinds.is_timestamp(one) and kinds.is_timestamp(other):
        unit = _unit(one.unit, other.unit)
        return pa.timestamp(unit, one.tz) if unit and one.tz == other.tz else None
    if kinds.is_duration(one) and kinds.is_duration(other):
        unit = _unit(one.unit, other.unit)
        return pa.duration(unit) if unit else None
    return _nested(one, other)


def _integer(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    widths = {kinds.is_signed_integer(kind): kind.bit_width // 8 for kind in (one, other)}
    if len(widths) == 1:
        return one if one.bit_width > other.bit_width else other
    return _SIGNED.get(max(widths[True], 2 * widths[False]))


def _decimal(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    scale = max(one.scale, other.scale)
    digits = max(one.precision - one.scale, other.precision - other.scale) + scale
    if digits > _DIGITS_256:
        return None
    wide = digits > _DIGITS_128 or kinds.is_decimal256(one) or kinds.is_decimal256(other)
    return pa.decimal256(digits, scale) if wide else pa.decimal128(digits, scale)


def _unit(one: str, other: str) -> str | None:
    # Nanoseconds end in the year 2262: not every moment in microseconds has a place there.
    if one == other:
        return one
    return max(one, other, key=_UNITS.index) if one in _UNITS and other in _UNITS else None


def _nested(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    if (kinds.is_list(one) or kinds.is_large_list(one)) and (
        kinds.is_list(other) or kinds.is_large_list(other)
    ):
        inner = wider_type(one.value_type, other.value_type)
        if inner is None:
            return None
        large = kinds.is_large_list(one) or kinds.is_large_list(other)
        return pa.large_list(inner) if large else pa.list_(inner)
    if kinds.is_struct(one) and kinds.is_struct(other):
        if [field.name for field in one] != [field.name for field in other]:
            return None
        inner_types = [wider_type(mine.type, its.type) for mine, its in zip(one, other, strict=True)]
        if any(inner is None for inner in inner_types):
            return None
        return pa.struct([(field.name, inner) for field, inner in zip(one, inner_types, strict=True)])
    return None
