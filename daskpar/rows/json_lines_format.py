"""The JSON lines format: one object for each row, on a line of its own."""

from __future__ import annotations

import datetime
import itertools
import json
import math
import os
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from json.encoder import encode_basestring as in_quotes
from typing import TYPE_CHECKING, Any

from daskpar.jobspec.row_formats import JSONL
from daskpar.rows.columns import Columns
from daskpar.rows.csv_format import before_each, with_names
from daskpar.rows.missing_values import is_missing
from daskpar.rows.named_rows import (
    EachRange,
    NamedRowsEncoder,
    NamedRowsFormat,
    frame_names,
    mappings,
    pandas_frame,
    refuse_doubles,
    refuse_nameless,
    rows_of,
)
from daskpar.rows.row_format import Schema

if TYPE_CHECKING:
    from daskpar.rows.item_columns import ItemColumns

_OPTIONS: dict[str, Any] = {"allow_nan": False, "separators": (",", ":")}
_ENCODE = json.JSONEncoder(ensure_ascii=False, **_OPTIONS).encode
_ENCODE_ASCII = json.JSONEncoder(ensure_ascii=True, **_OPTIONS).encode
_PLAIN = (str, int, bool)
_JSON_TYPES = frozenset({str, int, bool, float, type(None)})
_MANY_ROWS = 50
"""From so many rows on, the texts of whole columns are made at once."""


class JsonLinesFormat(NamedRowsFormat):
    """Objects in UTF-8, with null for what is missing, dates as ISO 8601 has them, decimals as text.

    Where columns may differ, the names of a range's columns stand before it, and the output is made of them.
    """

    name = JSONL

    @property
    def concatenated(self) -> bool:  # type: ignore[override]
        return not self.union

    @property
    def needs_schema(self) -> bool:
        return self.union

    def encoder(self) -> JsonLinesEncoder:
        return JsonLinesEncoder(self)

    def one_range(self, pieces: Sequence[bytes]) -> bytes:
        if not self.union:
            return b"".join(pieces)
        named = [with_names(data) for data in pieces if data]
        names = tuple(dict.fromkeys(name for own, _ in named for name in own))
        text = b"".join(_completed(rows, own, names) for own, rows in named)
        return before_each(text, [len(text)], [names])[0]

    def join(self, ranges: Iterator[bytes], schema: Schema | None) -> Iterator[bytes]:
        if self.concatenated:
            yield from super().join(ranges, schema)
            return
        yield from map(self.joiner(schema).add, ranges)

    def joiner(self, schema: Schema | None) -> EachRange:
        return EachRange(schema, _with_all)


class JsonLinesEncoder(NamedRowsEncoder):
    """Of one processor."""

    def __init__(self, row_format: JsonLinesFormat) -> None:
        super().__init__(row_format)
        self._ranges: list[bytes] = []
        self._names: list[tuple[str, ...]] = []
        self.size_estimate = 0
        """Bytes that wait for `take`."""

    def _taken(
        self, returned: Any, index: int, before: ItemColumns | None
    ) -> tuple[int, Hashable, Callable[[], Schema]]:
        frame = pandas_frame(returned)
        if frame is None:
            names, rows = mappings(rows_of(returned), self.row_format)
            count = len(rows)
        else:
            names, count, rows = frame_names(frame.columns), len(frame), []
            refuse_doubles(names)
            if before is None:
                refuse_nameless(names, count)
        first: list[tuple[str, Sequence[Any]]] = []
        if before is not None and (names or count):
            first = list(zip(before.names, before.values(names, count), strict=True))
        data = _plain_lines(rows, names, first) if frame is None else _frame_lines(frame, names, first)
        if data is None:
            columns: list[Sequence[Any]] = [_json_values(values, name) for name, values in first]
            for at, name in enumerate(names):
                columns.append(
                    _json_values([row.get(name) for row in rows], name)
                    if frame is None
                    else _column(frame.iloc[:, at], name)
                )
            data = _lines_of([*(name for name, _ in first), *names], columns, count)
        names = (*(name for name, _ in first), *names)
        self._ranges.append(data)
        self._names.append(names)
        self.size_estimate += len(data)
        return count, names or None, lambda: (Columns.of(names, index).to_text(),)

    def take(self) -> tuple[bytes, list[int]]:
        """As `RowEncoder.take`."""
        ranges, names = self._ranges, self._names
        self._ranges, self._names, self.size_estimate = [], [], 0
        text, lengths = b"".join(ranges), list(map(len, ranges))
        return before_each(text, lengths, names) if self.row_format.union else (text, lengths)


def _with_all(data: bytes, names: tuple[str, ...]) -> bytes:
    """The objects of a range with a null for each column that they don't have."""
    own, rows = with_names(data)
    return _completed(rows, own, names)


def _completed(rows: bytes, own: Sequence[str], names: Sequence[str]) -> bytes:
    """Objects with the members `own`, with a null for each other one of `names`."""
    missing = [name for name in names if name not in set(own)]
    nulls = b"".join(b"," + _line({name: None})[1:-2] for name in missing)
    return _filled(rows, nulls) if missing else rows


def _filled(rows: bytes, nulls: bytes) -> bytes:
    """The same objects with more members at their ends. No object has a line break in it."""
    return rows.replace(b"}\n", nulls + b"}\n")


def _frame_lines(
    frame: Any, names: Sequence[str], before: Sequence[tuple[str, Sequence[Any]]]
) -> bytes | None:
    """The lines of a frame, all at once where that pays."""
    if len(frame) < _MANY_ROWS or not names:
        return None
    try:
        from daskpar.rows.json_text import frame_lines  # brings pyarrow, which few rows don't need
    except ModuleNotFoundError:  # a Python of the script's own may have none
        return None
    return frame_lines(frame, names, _texts, before)


def _texts(values: Sequence[Any], name: str) -> list[str]:
    return list(map(_text, _json_values(values, name)))


def _text(value: Any) -> str:
    return in_quotes(value) if type(value) is str else _ENCODE(value)


def _plain_lines(
    rows: Sequence[Mapping[str, Any]], names: tuple[str, ...], before: Sequence[tuple[str, Sequence[Any]]]
) -> bytes | None:
    """The lines of mappings whose values are all such as JSON has; else None."""
    if before:
        return None
    for row in rows:
        if (
            type(row) is not dict
            or tuple(row) != names
            or not _JSON_TYPES.issuperset(map(type, row.values()))
        ):
            return None
    try:
        return _lines(rows)
    except ValueError:  # NaN, or another number that JSON has not
        return None


def _lines_of(names: Sequence[str], columns: Sequence[Sequence[Any]], count: int) -> bytes:
    rows = zip(*columns, strict=True) if columns else itertools.repeat((), count)
    return _lines([dict(zip(names, row, strict=True)) for row in rows])


def _lines(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """A line for each row; three times as fast as one by one."""
    try:
        text = _ENCODE(rows)[1:-1]
        # Between two rows is one of these; if there are no more, none is inside a row.
        if rows and text.count("},{") == len(rows) - 1:
            return (text.replace("},{", "}\n{") + "\n").encode()
    except UnicodeEncodeError:
        pass
    return b"".join(map(_line, rows))


def _line(row: Mapping[str, Any]) -> bytes:
    try:
        return (_ENCODE(row) + "\n").encode()
    except UnicodeEncodeError:  # names of files that are no UTF-8, say
        return (_ENCODE_ASCII(row) + "\n").encode()


def _column(series: Any, name: str) -> Sequence[Any]:
    """The values of one column of a DataFrame as JSON has them."""
    values: list[Any] = series.tolist()
    kind = getattr(series.dtype, "kind", "O")
    if kind in "iub" and not series.hasnans:
        return values
    return _json_values(values, name)


def _json_values(values: Sequence[Any], name: str) -> list[Any]:
    return [json_value(value, name) for value in values]


def json_value(value: Any, name: str) -> Any:
    """A value as JSON has it; `name` of its column, for what can't be written."""
    if type(value) in _PLAIN:
        return value
    if type(value) is float:
        if math.isfinite(value):
            return value
        if math.isnan(value):
            return None
        raise ValueError(f"the column {name!r} holds {value}, and JSON has no such number")
    if is_missing(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): json_value(inner, name) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(inner, name) for inner in value]
    return _other(value, name)


def _other(value: Any, name: str) -> Any:
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.isoformat() if hasattr(value, "isoformat") else f"PT{value.total_seconds()!r}S"
    if type(value).__name__ in ("Decimal", "UUID"):
        return str(value)
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if isinstance(value, str):
        return str(value)
    if type(value).__module__ == "numpy":
        if type(value).__name__ in ("datetime64", "timedelta64"):
            import pandas

            made = (
                pandas.Timestamp(value) if type(value).__name__ == "datetime64" else pandas.Timedelta(value)
            )
            return made.isoformat()
        if hasattr(value, "tolist"):
            return json_value(value.tolist(), name)
    raise ValueError(
        f"the column {name!r} holds a {type(value).__module__}.{type(value).__qualname__}, which JSON has no "
        "form for: return numbers, texts, dates, lists or mappings"
    )
