"""Converts columns of any kind to another kind, value by value as Microsoft's `convert_column_types` does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daskpar.data.columns.kinds import ColumnKind
from daskpar.data.columns.text_values import HIGHEST, LOWEST, count_lost, from_text
from daskpar.data.notices import LostValues

_PLAIN_NUMBER = "[eE]|[iI]nf|[nN]a[nN]|^-0$"


def convert(column: pa.Array | pa.ChunkedArray, kind: ColumnKind) -> tuple[pa.Array, LostValues | None]:
    """The column as `kind`; values that don't convert become null and are counted.

    The array has the type `kind.arrow`, or null where no value of such a column can convert.
    """
    array = _whole(column)
    if _is_text(array.type):
        return from_text(array, kind)
    if not _is_possible(array.type, kind):
        result = pa.nulls(len(array), pa.null())
    elif kind.name == "string":
        result = _to_text(array)
    elif kind.name == "bool":
        result = _to_bool(array)
    elif kind.name == "int":
        result = _to_int(array)
    elif kind.name == "float":
        result = _to_number(array).cast(pa.float64(), safe=False)
    else:
        result = _to_timestamp(array)
    return result, count_lost(array, result)


def convert_values(values: Sequence[Any], kind: ColumnKind) -> tuple[pa.Array, LostValues | None]:
    """Values of any kinds, each converted by its own; what doesn't convert becomes null and is counted."""
    found = [
        _nested_text(value) if isinstance(value, (dict, list)) and kind.name == "string" else value
        for value in values
    ]
    out: list[Any] = [None] * len(found)
    lost: LostValues | None = None
    for (type_, large), rows in _by_type(found).items():
        given = [found[row] for row in rows]
        if type_ in (dict, list):
            failed: LostValues | None = LostValues(len(given), str(given[0]))
        else:
            array, failed = _convert_large(given, kind) if large else convert(pa.array(given), kind)
            for row, value in zip(
                rows,
                (array.cast(pa.int64()) if pa.types.is_timestamp(array.type) else array).to_pylist(),
                strict=True,
            ):
                out[row] = value
        lost = lost + failed if lost and failed else lost or failed
    result = (
        pa.array(out, pa.int64()).cast(kind.arrow)
        if pa.types.is_timestamp(kind.arrow)
        else pa.array(out, kind.arrow)
    )
    return result, lost


def _by_type(values: Sequence[Any]) -> dict[tuple[type, bool], list[int]]:
    """Places of the values that are there, by type; integers of more than 64 bits apart."""
    found: dict[tuple[type, bool], list[int]] = {}
    for row, value in enumerate(values):
        if value is not None:
            found.setdefault((type(value), type(value) is int and not LOWEST <= value <= HIGHEST), []).append(
                row
            )
    return found


def _convert_large(values: Sequence[Any], kind: ColumnKind) -> tuple[pa.Array, LostValues | None]:
    """Integers that Arrow has no type for: by their digits, where they can be of the kind at all."""
    if kind.name == "bool":
        return pa.array([True] * len(values)), None
    if kind.name not in ("string", "int", "float"):
        return pa.nulls(len(values), kind.arrow), LostValues(len(values), str(values[0]))
    return from_text(pa.array([str(value) for value in values], pa.string()), kind)


def _nested_text(value: Any, inside: bool = False) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_nested_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_nested_text(item, True) for item in value) + "]"
    if isinstance(value, str):
        return f'"{value}"' if inside else value
    return "null" if value is None else str(value)


def _whole(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _is_date(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def _is_possible(source: pa.DataType, kind: ColumnKind) -> bool:
    """Whether values of a column of type `source` can become values of `kind` at all."""
    if _is_text(source) or kind.name == "string":
        return kind.name != "null"
    if kind.name == "bool":
        return _is_number(source) or bool(pa.types.is_boolean(source))
    if kind.name in ("int", "float"):
        return _is_number(source)
    return kind.name == "datetime" and _is_date(source)


def _to_number(array: pa.Array) -> pa.Array:
    return (
        array.cast(pa.float64())
        if pa.types.is_decimal(array.type) or pa.types.is_float16(array.type)
        else array
    )


def _to_int(array: pa.Array) -> pa.Array:
    """As Microsoft's reader: cut toward zero, kept inside 64 bits; nan and inf become null."""
    number = _to_number(array)
    if pa.types.is_integer(number.type):
        if number.type == pa.uint64():
            number = pc.min_element_wise(number, pa.scalar(HIGHEST, pa.uint64()), skip_nulls=False)
        return number.cast(pa.int64())
    number = number.cast(pa.float64())
    finite = pc.fill_null(pc.is_finite(number), False)
    values = pc.trunc(pc.if_else(finite, number, 0.0)).to_numpy()
    high, low = values >= 2.0**63, values < -(2.0**63)
    cut = np.where(high | low, 0.0, values).astype(np.int64)
    cut[high], cut[low] = HIGHEST, LOWEST
    return pc.if_else(finite, pa.array(cut), pa.scalar(None, pa.int64()))


def _to_bool(array: pa.Array) -> pa.Array:
    """As Microsoft's reader: numbers that are not zero are true, nan among them."""
    return (
        array
        if pa.types.is_boolean(array.type)
        else pc.not_equal(_to_number(array), pa.scalar(0).cast(_to_number(array).type))
    )


def _to_timestamp(array: pa.Array) -> pa.Array:
    """Naive nanoseconds in UTC; moments that they can't hold become null."""
    if pa.types.is_timestamp(array.type) and array.type.tz is not None:
        array = array.cast(pa.timestamp(array.type.unit))
    if pa.types.is_date(array.type):
        array = array.cast(pa.timestamp("s" if pa.types.is_date32(array.type) else "ms"))
    try:
        return array.cast(pa.timestamp("ns"))
    except pa.ArrowInvalid:
        scale = {"s": 10**9, "ms": 10**6, "us": 1000}[array.type.unit]
        values = array.cast(pa.int64())
        inside = pc.and_(pc.less_equal(values, HIGHEST // scale), pc.greater(values, -(HIGHEST // scale)))
        return pc.if_else(inside, array, pa.scalar(None, array.type)).cast(pa.timestamp("ns"))


def _to_text(array: pa.Array) -> pa.Array:
    if pa.types.is_boolean(array.type):
        return pc.if_else(array, "True", "False")
    if pa.types.is_floating(array.type):
        return _number_text(array)
    if _is_date(array.type):
        return _date_text(_to_timestamp(array))
    if pa.types.is_integer(array.type) or pa.types.is_null(array.type):
        return array.cast(pa.string())
    return pa.array(
        [None if value is None else _plain_text(value) for value in array.to_pylist()], pa.string()
    )


def _plain_text(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _number_text(array: pa.Array) -> pa.Array:
    """As Microsoft's reader: the shortest digits that mean the same number, never with an exponent."""
    array = array.cast(pa.float64())
    texts = array.cast(pa.string())
    odd = pc.fill_null(pc.match_substring_regex(texts, _PLAIN_NUMBER), False)
    if not pc.any(odd).as_py():
        return texts
    return pc.replace_with_mask(
        texts, odd, pa.array([_number(value) for value in array.filter(odd).to_pylist()], pa.string())
    )


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    text = format(Decimal(repr(value)), "f")
    return text.removesuffix(".0")


def _date_text(array: pa.Array) -> pa.Array:
    """As Microsoft's reader: ISO 8601 in UTC with 3, 6 or 9 digits of fraction, or none."""
    whole = pc.strftime(pc.floor_temporal(array, unit="second").cast(pa.timestamp("s")), "%Y-%m-%dT%H:%M:%S")
    values = array.cast(pa.int64()).fill_null(0).to_numpy() % 10**9
    if not values.any():
        return pc.binary_join_element_wise(whole, "+00:00", "")
    parts = [
        ""
        if not value
        else f".{value // 10**6:03}"
        if value % 10**6 == 0
        else f".{value // 1000:06}"
        if value % 1000 == 0
        else f".{value:09}"
        for value in values.tolist()
    ]
    return pc.binary_join_element_wise(whole, pa.array(parts, pa.string()), "+00:00", "")
