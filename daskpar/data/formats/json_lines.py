"""JSON lines to Arrow tables by fixed kinds, and the kinds inferred from sampled objects.

pyarrow reads what is plain (lines that are all laid out alike by its reader of CSV: `even_lines`); a chunk
with anything else (nested values, several kinds in a column, invalid lines) is read line by line.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import json as arrow_json

from daskpar.data.columns.buffers import empty_table
from daskpar.data.columns.column_texts import WIDE_FLOAT
from daskpar.data.columns.conversion import convert_values
from daskpar.data.columns.kinds import ColumnKind
from daskpar.data.columns.special_types import any_field, is_any, to_any
from daskpar.data.formats.byte_scan import count_byte, count_pair
from daskpar.data.formats.even_lines import read_even_lines
from daskpar.data.notices import LostValues
from daskpar.errors import InputError
from daskpar.value_classes import frozen


@frozen
class ParsedLines:
    """A table, which lines became its rows, and what was lost."""

    table: pa.Table
    kept: np.ndarray | None = None
    failures: Mapping[str, LostValues] = field(default_factory=dict)
    surplus: Mapping[str, LostValues] = field(default_factory=dict)
    """Keys that are no columns, with the number of their values."""
    changed: Mapping[str, LostValues] = field(default_factory=dict)
    """Integers that became other numbers in a column of floats."""
    dropped: LostValues | None = None
    """Invalid lines that were left out."""


def infer_fields(objects: Iterable[Mapping[str, Any]]) -> list[pa.Field]:
    """Columns of sampled objects, in order of first appearance.

    Types are bool, int64, uint64, float64, text, or values of any kind.
    """
    kinds: dict[str, set[str]] = {}
    limits: dict[str, list[int]] = {}
    for item in objects:
        for name, value in item.items():
            kinds.setdefault(name, set()).add(_kind(value))
            if type(value) is int:
                low, high = limits.setdefault(name, [0, 0])
                limits[name] = [min(low, value), max(high, value)]
    return [_field(name, found - {"null"}, *limits.get(name, (0, 0))) for name, found in kinds.items()]


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    return {bool: "bool", int: "int", float: "float", str: "text"}.get(type(value), "nested")


def _field(name: str, kinds: set[str], low: int, high: int) -> pa.Field:
    if kinds == {"int"}:
        fits = (
            pa.int64()
            if low >= -(2**63) and high < 2**63
            else pa.uint64()
            if low >= 0 and high < 2**64
            else pa.float64()
        )
        return pa.field(name, fits)
    if kinds and kinds <= {"int", "float"}:
        return pa.field(name, pa.float64())
    plain = {"bool": pa.bool_(), "text": pa.string()}
    return (
        pa.field(name, plain[next(iter(kinds))])
        if len(kinds) == 1 and kinds <= set(plain)
        else any_field(name)
    )


def parse_lines(
    data: bytes,
    fields: Sequence[pa.Field],
    *,
    kinds: Mapping[str, ColumnKind] | None = None,
    keep: set[str] | None = None,
    drop_invalid: bool = False,
    offset: int = 0,
    source: str = "",
) -> ParsedLines:
    """The rows of the whole lines in `data` (UTF-8, at byte `offset` of the file `source`).

    Values of the columns in `kinds` are converted to their kind, those of other columns must be of the
    column's type. InputError names the byte of an invalid line.
    """
    wanted = [found for found in fields if keep is None or found.name in keep]
    if not any(is_any(found) for found in wanted):
        found = _parse_fast(data, fields, wanted)
        if found is not None:
            return found
    return parse_lines_carefully(
        data, line_starts(data), fields, wanted, drop_invalid, offset, source, kinds or {}
    )


def line_starts(data: bytes) -> np.ndarray:
    """Where the lines that are not empty start."""
    array = np.frombuffer(data, np.uint8)
    breaks = np.flatnonzero(array == 10)
    starts = np.concatenate([np.zeros(1, np.int64), breaks + 1])
    ends = np.concatenate([breaks, np.full(1, len(data), np.int64)])
    lone_return = (
        (ends - starts == 1) & (array[np.minimum(starts, max(len(data) - 1, 0))] == 13)
        if len(data)
        else np.zeros(1, bool)
    )
    found: np.ndarray = starts[(ends > starts) & ~lone_return]
    return found


def decode_line(text: str) -> dict[str, Any]:
    """The object that a line begins with; ValueError where there is none.

    As Microsoft's reader: what follows the object on its line is not looked at.
    """
    value, _ = _DECODER.raw_decode(text.lstrip())
    if not isinstance(value, dict):
        raise ValueError("the line is no object")
    if "\\ud" in text or "\\uD" in text:
        _check_surrogates(value)
    return value


def _check_surrogates(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair is no character") from None


def _refuse(token: str) -> NoReturn:
    raise ValueError(f"{token} is no JSON")


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text} is too large")
    return value


_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_float)


def _count_objects(data: bytes) -> int | None:
    """How many lines that are not empty `data` has; None where one does not begin and end as an object does.

    With both, each line has one object or more: so as many objects as lines are one for each.
    """
    lines = count_byte(data, 10) + (not data.endswith(b"\n"))
    if not data.startswith(b"{") or count_pair(data, b"\n{") != lines - 1:
        starts = line_starts(data)
        if not (np.frombuffer(data, np.uint8)[starts] == ord("{")).all():
            return None
        lines = len(starts)
    ends = count_pair(data, b"}\n") + data.endswith((b"}", b"}\r"))
    if b"\r" in data:
        ends += data.count(b"}\r\n")
    return lines if ends == lines else None


def _parse_fast(data: bytes, fields: Sequence[pa.Field], wanted: Sequence[pa.Field]) -> ParsedLines | None:
    """What pyarrow makes of the chunk, or None where it may not be what the lines say."""
    found = read_even_lines(data, wanted)
    if found is None:
        lines = _count_objects(data)
        if lines is None:
            return None
        found = _read_objects(data, wanted) if lines else empty_table(pa.schema(list(wanted)))
        if found is None or found.num_rows != lines:
            return None
    read = dict(zip(found.column_names, found.columns, strict=True))
    doubtful = [item.name for item in wanted if pa.types.is_floating(item.type) and _has_odd(read[item.name])]
    for name in doubtful:
        if pc.any(pc.invert(pc.is_finite(read[name]))).as_py():
            return None
    known = {item.name for item in fields}
    surplus = {}
    for name, column in read.items():
        if name not in known:
            count = len(column) - column.null_count
            if count:
                surplus[name] = LostValues(count, str(column.drop_null()[0].as_py()))
    changed = dict[str, LostValues]()
    starts = line_starts(data) if doubtful else np.zeros(0, np.int64)
    for name in doubtful:
        wide = _wide_rows(read[name])
        texts = (data[start:].partition(b"\n")[0] for start in starts[wide].tolist())
        lost = _changed([decode_line(text.decode()).get(name) for text in texts])
        changed |= {name: lost} if lost else {}
    return ParsedLines(found.select([item.name for item in wanted]), surplus=surplus, changed=changed)


def _read_objects(data: bytes, wanted: Sequence[pa.Field]) -> pa.Table | None:
    schema = pa.schema([pa.field(item.name, item.type) for item in wanted])
    try:
        return arrow_json.read_json(
            pa.BufferReader(data),
            arrow_json.ReadOptions(use_threads=False, block_size=len(data) + 1),
            arrow_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="infer"),
        )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError):
        return None


def _has_odd(column: pa.ChunkedArray) -> bool:
    """Whether any of these floats may be no number, or an integer that it can't hold."""
    for chunk in column.chunks:
        if len(chunk):
            values = np.frombuffer(chunk.buffers()[1], np.float64)[chunk.offset : chunk.offset + len(chunk)]
            if not max(-float(values.min()), float(values.max())) < WIDE_FLOAT:  # nan is no number either
                return True
    return False


def _wide_rows(column: pa.ChunkedArray) -> list[int]:
    """Rows whose float may be an integer that it can't hold."""
    limits = pc.min_max(column)
    low, high = limits["min"].as_py(), limits["max"].as_py()
    if low is None or max(-low, high) < 2.0**53:
        return []
    rows: list[int] = np.flatnonzero(np.abs(column.to_numpy()) >= 2.0**53).tolist()
    return rows


def _changed(values: Iterable[Any]) -> LostValues | None:
    """Integers among the values of a column of floats that become other numbers."""
    found = [
        value for value in values if type(value) is int and _is_float(value) and int(float(value)) != value
    ]
    return LostValues(len(found), f"{found[0]} became {int(float(found[0]))}") if found else None


def _is_float(value: int) -> bool:
    return abs(value) < _BEYOND_FLOAT


def parse_lines_carefully(
    data: bytes,
    starts: np.ndarray,
    fields: Sequence[pa.Field],
    wanted: Sequence[pa.Field],
    drop_invalid: bool,
    offset: int,
    source: str,
    kinds: Mapping[str, ColumnKind],
) -> ParsedLines:
    """As `parse_lines`, line by line: right for every line, and what the fast reader is compared with."""
    known = {item.name for item in fields}
    objects, kept, surplus, dropped = [], [], dict[str, LostValues](), 0
    first = ""
    for number, start in enumerate(starts.tolist()):
        end = data.find(b"\n", start)
        line = data[start : len(data) if end < 0 else end]
        try:
            item = decode_line(line.decode())
        except (ValueError, RecursionError) as error:
            if not drop_invalid:
                why = str(error).partition(": line")[0]
                raise InputError(
                    f"{source or 'JSON lines'}: the line at byte {offset + start} is invalid: {why}"
                ) from None
            dropped += 1
            first = first or line[:80].decode(errors="replace")
            continue
        objects.append(item)
        kept.append(number)
        for name in item.keys() - known:
            if item[name] is not None:
                surplus[name] = surplus.get(name, LostValues(0, str(item[name]))) + LostValues(1, "")
    columns, failures, changed = [], {}, dict[str, LostValues]()
    for column in wanted:
        values = [item.get(column.name) for item in objects]
        if column.type == pa.float64() and (wide := _changed(values)):
            changed[column.name] = wide
        array, lost = (
            convert_values(values, kinds[column.name]) if column.name in kinds else _column(values, column)
        )
        columns.append(array)
        if lost:
            failures[column.name] = lost
    table = pa.Table.from_arrays(columns, schema=pa.schema(list(wanted)))
    return ParsedLines(
        table,
        np.array(kept, np.int64),
        failures,
        surplus,
        changed,
        LostValues(dropped, first) if dropped else None,
    )


def _column(values: list[Any], column: pa.Field) -> tuple[pa.Array, LostValues | None]:
    if is_any(column):
        return to_any(values), None
    fits = _FITS[str(column.type)]
    good = [value if value is None or fits(value) else None for value in values]
    lost = [value for value, kept in zip(values, good, strict=True) if kept is None and value is not None]
    if column.type == pa.float64():
        good = [None if value is None else float(value) for value in good]
    return pa.array(good, column.type), LostValues(len(lost), str(lost[0])) if lost else None


_BEYOND_FLOAT = 2**1024 - 2**970
"""The least integer that rounds to infinity."""
_FITS: Mapping[str, Any] = {
    "bool": lambda value: type(value) is bool,
    "int64": lambda value: type(value) is int and -(2**63) <= value < 2**63,
    "uint64": lambda value: type(value) is int and 0 <= value < 2**64,
    "double": lambda value: type(value) is float or (type(value) is int and _is_float(value)),
    "string": lambda value: type(value) is str,
}
