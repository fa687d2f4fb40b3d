"""Parquet files: what their footers say (schema, row groups, statistics), and their rows."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from daskpar.data.arrow_memory import for_columns
from daskpar.data.columns.buffers import empty_table
from daskpar.data.columns.special_types import any_field, is_any, is_nullable, nullable_field, to_any
from daskpar.data.columns.wide_integers import count_changed_by_float
from daskpar.data.notices import WIDE, LossCounter
from daskpar.data.reach import unreadable
from daskpar.errors import InputError
from daskpar.locations import open_file
from daskpar.value_classes import frozen

WINDOW = 64 * 1024 * 1024
"""Row groups of more bytes than this are decoded a part at a time."""

PARQUET_NAMES = (".parquet", ".parq", ".pq")
"""How the names of Parquet files end."""


@frozen
class Footer:
    """What the end of a file says."""

    schema: pa.Schema
    groups: tuple[tuple[int, int], ...]
    """Rows and bytes of each row group, as stored."""


def open_parquet(path: str) -> pq.ParquetFile:
    """The file, opened; InputError where it is missing or no Parquet."""
    try:
        return pq.ParquetFile(open_file(path), memory_map=False)
    except OSError as error:
        raise unreadable(path, error) from None
    except (pa.ArrowException, ValueError) as error:
        raise InputError(f"{path} is no readable Parquet file: {error}{_beside(path)}") from None


def _beside(path: str) -> str:
    """What to do about a file that lies beside the files of a table and is none of them."""
    folder, _, name = path.rpartition("/")
    beside = name.startswith((".", "_")) or not name.lower().endswith(PARQUET_NAMES)
    return (
        f". It may be no part of the table: name those that are, by `pattern: {folder}/*.parquet`"
        if beside
        else ""
    )


def read_footer(path: str) -> Footer:
    """Schema and row groups of a file."""
    with open_parquet(path) as file:
        schema = file.schema_arrow
        hidden = _index_columns(schema)
        fields = [_plain(found) for found in schema if found.name not in hidden]
        counts = Counter(found.name for found in fields)
        twice = next((name for name, count in counts.items() if count > 1), None)
        if twice is not None:
            raise InputError(f"{path} has two columns named {twice!r}")
        metadata = file.metadata
        groups = []
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            size = sum(group.column(k).total_compressed_size for k in range(group.num_columns))
            groups.append((group.num_rows, size))
        return Footer(pa.schema(fields), tuple(groups))


def _index_columns(schema: pa.Schema) -> set[str]:
    """Columns that pandas stored its index in: they are no columns of the table."""
    try:
        stored = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))
    except ValueError:
        return set()
    return {name for name in stored.get("index_columns", ()) if isinstance(name, str)}


def _plain(found: pa.Field) -> pa.Field:
    """The field with a type that all steps know: no dictionaries, no views, no times finer than Python's."""
    type_ = found.type
    marked = found.metadata
    if type_.id in _PLAIN and not marked and found.nullable:
        return found
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    field = pa.field(found.name, _PLAINER.get(type_, type_))
    return nullable_field(field) if marked and is_nullable(found) else field


_PLAIN = {
    kind.id
    for kind in (
        *(pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
        *(pa.float32(), pa.float64(), pa.bool_(), pa.string(), pa.binary()),
    )
}
"""Types of which thousands of columns may be."""
_PLAINER = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary(), pa.time64("ns"): pa.time64("us")}


def unify(schemas: Iterable[tuple[str, pa.Schema]]) -> pa.Schema:
    """One schema for the files of a table: columns by name, in order of first appearance.

    Numbers are widened; plain values of different kinds are kept side by side (kind "any"). InputError names
    two files that can't be one table.
    """
    fields: dict[str, pa.Field] = {}
    first: dict[str, str] = {}
    for path, schema in schemas:
        for found in schema:
            known = fields.get(found.name)
            if known is None:
                fields[found.name], first[found.name] = found, path
            elif not known.equals(found, check_metadata=True):
                fields[found.name] = _widest(known, found, first[found.name], path)
    return pa.schema(list(fields.values()))


def _widest(known: pa.Field, found: pa.Field, first: str, path: str) -> pa.Field:
    if is_any(known):
        return known
    try:
        unified = pa.unify_schemas(
            [pa.schema([known]), pa.schema([found])], promote_options="permissive"
        ).field(0)
        if (_is_text(known.type) or _is_text(found.type)) and not _is_text(unified.type):
            raise pa.ArrowTypeError("texts would become bytes")
    except pa.ArrowException:
        if all(_is_plain(item.type) for item in (known, found)):
            return any_field(known.name)
        raise InputError(
            f"the column {known.name!r} is {known.type} in {first} and {found.type} in {path}: "
            "these can't be one column"
        ) from None
    field = pa.field(unified.name, unified.type)
    marked = (is_nullable(known) or is_nullable(found)) and pa.types.is_integer(field.type)
    return nullable_field(field) if marked else field


def _is_text(type_: pa.DataType) -> bool:
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_))


def _is_plain(type_: pa.DataType) -> bool:
    return _is_text(type_) or any(
        test(type_) for test in (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)
    )


def conform(
    table: pa.Table,
    fields: pa.Schema,
    rows: int,
    source: str = "",
    losses: LossCounter | None = None,
) -> pa.Table:
    """The columns `fields` of a table: missing ones as nulls, others cast to the type of the whole table.

    Integers that become other numbers in a float are counted in `losses`. InputError names the file `source`
    where a value is none of that type.
    """
    if not len(fields):
        return table.select([])
    if table.schema.equals(fields, check_metadata=True) and not fields.metadata:
        return table
    fields, table = fields.remove_metadata(), table.replace_schema_metadata()
    if table.schema.equals(fields, check_metadata=True):
        return table
    columns = []
    counts = Counter(table.schema.names)
    places = {name: number for number, name in enumerate(table.schema.names) if counts[name] == 1}
    there, schema = table.columns, list(table.schema)
    for wanted in fields:
        number = places.get(wanted.name, -1)
        if number < 0:
            columns.append(pa.nulls(rows, wanted.type))
            continue
        column, found = there[number], schema[number]
        if is_any(wanted) and not is_any(found):
            column = to_any(column.to_pylist())
        elif not column.type.equals(wanted.type):
            if losses is not None and pa.types.is_integer(column.type) and pa.types.is_floating(wanted.type):
                losses.add(wanted.name, WIDE, count_changed_by_float(column))
            column = _cast(column, wanted, source)
        columns.append(column)
    return pa.Table.from_arrays(columns, schema=fields)


def _cast(column: pa.ChunkedArray, wanted: pa.Field, source: str) -> pa.ChunkedArray:
    rounds = (pa.types.is_integer(column.type) and pa.types.is_floating(wanted.type)) or pa.types.is_time(
        column.type
    )
    try:
        return column.cast(wanted.type, safe=not rounds)
    except pa.ArrowException as error:
        raise InputError(
            f"{source or 'a file'}: the column {wanted.name!r} is {column.type} here and {wanted.type} "
            f"in the whole table, and does not fit: {error}"
        ) from None


class ParquetRows:
    """Rows of one Parquet file; what was decoded last is kept for the ranges next to it."""

    def __init__(self, path: str, columns: Sequence[str], terms: Sequence[tuple[str, str, Any]] = ()) -> None:
        self.path = path
        with for_columns(len(columns)):  # a reader keeps the pool with which it was opened
            self._file = open_parquet(path)
        names = self._file.schema_arrow.names
        present = set(names)
        self._columns = [name for name in columns if name in present]
        # To look up the places of thousands of columns takes time with each row group.
        self._chosen = None if len(self._columns) == len(names) else self._columns
        self._terms = [term for term in terms if term[0] in present]
        metadata = self._file.metadata
        self._starts = [0]
        for number in range(metadata.num_row_groups):
            self._starts.append(self._starts[-1] + metadata.row_group(number).num_rows)
        self._window: tuple[int, int, pa.Table] | None = None
        self._ahead: tuple[int, int, Any] | None = None  # row group, next row, iterator over its batches
        self._ruled_out: dict[int, bool] = {}

    def rows(self, start: int, stop: int) -> tuple[pa.Table, np.ndarray]:
        """Rows [start, stop) and their numbers in the file.

        Without those of row groups whose statistics say that a filter leaves none.
        """
        parts: list[pa.Table] = []
        numbers: list[np.ndarray] = []
        try:
            for group in range(bisect_right(self._starts, start) - 1, len(self._starts) - 1):
                low, high = max(start, self._starts[group]), min(stop, self._starts[group + 1])
                if self._starts[group] >= stop:
                    break
                if low < high and not self._excluded(group):
                    parts += self._of_group(group, low, high)
                    numbers.append(np.arange(low, high, dtype=np.int64))
        except OSError as error:
            raise unreadable(self.path, error) from None
        except pa.ArrowException as error:
            raise InputError(f"{self.path}, rows {start} to {stop}: {error}") from None
        if not parts:
            return empty_table(self._file.schema_arrow).select(self._columns), np.zeros(0, np.int64)
        return (parts[0] if len(parts) == 1 else pa.concat_tables(parts)), np.concatenate(numbers)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _of_group(self, group: int, start: int, stop: int) -> list[pa.Table]:
        parts = []
        while start < stop:
            found = self._window
            if found is None or not found[0] <= start < found[1]:
                self._window = found = None
                found = self._decode(group, start)
                self._window = found
            low, high, table = found
            end = min(stop, high)
            whole = start == low and end == high
            parts.append(table if whole else table.slice(start - low, end - start))
            start = end
        return parts

    def _decode(self, group: int, start: int) -> tuple[int, int, pa.Table]:
        metadata = self._file.metadata.row_group(group)
        base = self._starts[group]
        if metadata.total_byte_size <= WINDOW:
            table = self._file.read_row_group(group, columns=self._chosen, use_threads=False)
            return base, base + metadata.num_rows, table
        if self._ahead is None or self._ahead[0] != group or self._ahead[1] > start:
            size = max(1, int(metadata.num_rows * (WINDOW // 4) / metadata.total_byte_size))
            batches = self._file.iter_batches(
                size, row_groups=[group], columns=self._chosen, use_threads=False
            )
            self._ahead = (group, base, batches)
        while True:
            _, at, batches = self._ahead
            batch = next(batches)
            self._ahead = (group, at + batch.num_rows, batches)
            if at <= start < at + batch.num_rows:
                return at, at + batch.num_rows, pa.Table.from_batches([batch])

    def _excluded(self, group: int) -> bool:
        if group not in self._ruled_out:
            self._ruled_out[group] = bool(self._terms) and any(
                self._impossible(group, *term) for term in self._terms
            )
        return self._ruled_out[group]

    def _impossible(self, group: int, name: str, sign: str, constant: Any) -> bool:
        metadata = self._file.metadata.row_group(group)
        number = next(
            (k for k in range(metadata.num_columns) if metadata.column(k).path_in_schema == name), None
        )
        if number is None:
            return False
        known = metadata.column(number).statistics
        if known is None or not known.has_min_max:
            return False
        try:
            low, high = known.min, known.max
        except OverflowError:  # moments beyond Python's years
            return False
        if (
            _class(low) is None
            or _class(low) != _class(constant)
            or (_class(low) == "datetime" and low.tzinfo is not None)
        ):
            return False
        if isinstance(low, str):
            low, high, constant = low.encode(), high.encode(), constant.encode()
        outcomes = {
            "==": constant < low or constant > high,
            "<": low >= constant,
            "<=": low > constant,
            ">": high <= constant,
            ">=": high < constant,
        }
        return bool(outcomes.get(sign, False))


def _class(value: Any) -> str | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return "number" if value == value else None
    if isinstance(value, str):
        return "text"
    return "datetime" if isinstance(value, datetime) else None
