"""The rows of failed items: read again by the plan, where they stand in their files, and as Parquet."""

from __future__ import annotations

import base64
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from daskpar.batches.plan import Plan
from daskpar.outputs.commits import Commits
from daskpar.rows.json_lines_format import json_value
from daskpar.value_classes import frozen

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


@frozen(kw_only=True)
class FoundRows:
    """The rows of one mini-batch."""

    rows: pa.Table
    paths: Sequence[str | None]
    """File of each row; None for rows that were grouped."""
    positions: Sequence[int | None]
    """Where each stands in its file: the number of the row, or its first byte."""


def table_of(plan: Plan, index: int) -> FoundRows:
    """The rows of mini-batch `index`, as they are now. Raises as `Plan.load`."""
    if plan.group_frames is not None:
        # Not from a frame: there, Arrow would have to guess what values of several kinds are.
        rows = plan.group_frames.rows(index).replace_schema_metadata(None)
        nothing = [None] * rows.num_rows
        return FoundRows(rows=rows, paths=nothing, positions=nothing)
    import pyarrow as pa

    tables, paths, positions = [], [], []
    for piece in range(*plan.item_range(index)):
        chunk = plan.reader.chunk(piece)
        tables.append(chunk.table)
        paths += [plan.table.files[int(plan.pieces[piece]["file"])]] * chunk.table.num_rows
        positions += np.asarray(chunk.positions).tolist()
    rows = pa.concat_tables(tables) if tables else plan.table.schema.empty_table()
    return FoundRows(rows=rows, paths=paths, positions=positions)


def row_numbers(plan: Plan, index: int, found: FoundRows, commits: Commits) -> list[int | None]:
    """How many rows of its file stand before each row; None where that would take reading them all."""
    from daskpar.data.tables.table import ARROW
    from daskpar.data.tables.table_steps import drops_rows

    count = found.rows.num_rows
    if plan.table.format == ARROW or plan.rows_are_gathered:
        return [None] * count
    if plan.table.by_rows:
        return list(found.positions)
    if drops_rows(plan.table.steps) or plan.table.extents is not None or plan.kind != "pieces":
        return [None] * count
    files = plan.pieces["file"]
    first = int(np.searchsorted(files, files[index]))
    before = commits.items_between(first, index)
    return [None] * count if before is None else [before + at for at in range(count)]


class FailedRows:
    """Writes rows to Parquet files in `folder`, one for each list of types that mini-batches have.

    Columns of values of any kind are JSON texts until all rows are there: only then is it known whether one
    type holds all of them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: pq.ParquetWriter | None = None
        self._schema: pa.Schema | None = None
        self._files = 0
        self._locations: set[str] = set()
        """Columns of locations of files, which Parquet holds as text."""
        self._nested: dict[str, pa.DataType | None] = {}
        """Column of values of any kind -> the type of lists or structs that holds all so far; None: none."""

    @property
    def any(self) -> bool:
        """Whether there are rows."""
        return self._files > 0

    def add(self, rows: pa.Table) -> None:
        """Append rows."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        from daskpar.data.columns.special_types import is_stream

        if not rows.num_rows:
            return
        self._note_kinds(rows)
        if self._schema is not None and rows.schema != self._schema:
            try:
                rows = rows.cast(self._schema)
            except (pa.ArrowException, ValueError):
                self._end_file()
        if self._schema is None or self._writer is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._schema = rows.schema
            self._locations.update(field.name for field in rows.schema if is_stream(field))
            self._writer = pq.ParquetWriter(self._path(self._files), self._schema, compression="zstd")
            self._files += 1
        self._writer.write_table(rows)

    def close(self) -> None:
        """Complete the files."""
        self._end_file()
        types = {name: kind for name, kind in self._nested.items() if kind is not None}
        if types and all(_nested_copy(self._path(n), types) for n in range(self._files)):
            for n in range(self._files):
                os.replace(_copy_of(self._path(n)), self._path(n))
        for left in self._folder.glob("*.nested"):
            left.unlink()

    def mltable(self) -> str:
        """The MLTable beside them."""
        files = "".join(f"- file: ./{self._folder.name}/{self._path(n).name}\n" for n in range(self._files))
        reading = "transformations:\n- read_parquet:\n    include_path_column: false\n"
        if self._locations:
            columns = json.dumps(sorted(self._locations))
            reading += "- convert_column_types:\n"
            reading += f"  - columns: {columns}\n    column_type: stream_info\n"
        return f"type: mltable\npaths:\n{files}{reading}"

    def _path(self, number: int) -> Path:
        return self._folder / f"part-{number:05}.parquet"

    def _end_file(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = self._schema = None

    def _note_kinds(self, rows: pa.Table) -> None:
        from daskpar.data.columns.special_types import is_any, values_of

        for at, field in enumerate(rows.schema):
            if is_any(field) and self._nested.get(field.name, field) is not None:
                found = _nested_type(values_of(rows.column(at), field))
                self._nested[field.name] = _one_type(self._nested.get(field.name, found), found)


def _nested_type(values: list[Any]) -> pa.DataType | None:
    """The lists or structs that Parquet has for `values`, where a reader gives back the same; else None."""
    import pyarrow as pa

    try:
        made = pa.array(values)
    except (pa.ArrowException, OverflowError):
        return None
    fits = pa.types.is_nested(made.type) and not _has_empty(made.type) and made.to_pylist() == values
    return made.type if fits else None


def _has_empty(kind: pa.DataType) -> bool:
    """Whether there are structs without fields in it, which Parquet has not."""
    import pyarrow as pa

    if pa.types.is_struct(kind) and not kind.num_fields:
        return True
    return any(_has_empty(kind.field(n).type) for n in range(kind.num_fields))


def _one_type(first: pa.DataType | None, second: pa.DataType | None) -> pa.DataType | None:
    """One type for the values of both, where there is one that changes none."""
    import pyarrow as pa

    if first is None or second is None or first.equals(second):
        return second if first is not None else None
    try:
        joined = pa.unify_schemas([pa.schema([("", first)]), pa.schema([("", second)])])
    except (pa.ArrowException, ValueError):
        return None
    return joined.field(0).type


def _copy_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.nested")


def _nested_copy(path: Path, types: Mapping[str, pa.DataType]) -> bool:
    """Write a copy of the file in which the JSON texts of these columns are such values; False where some
    value would not stay the same.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from daskpar.data.columns.special_types import values_of

    with pq.ParquetFile(path) as source:
        kept = source.schema_arrow
        schema = pa.schema([pa.field(f.name, types[f.name]) if f.name in types else f for f in kept])
        with pq.ParquetWriter(_copy_of(path), schema, compression="zstd") as target:
            for group in range(source.num_row_groups):
                rows = source.read_row_group(group)
                for at, field in enumerate(kept):
                    if field.name not in types:
                        continue
                    values = values_of(rows.column(at), field)
                    try:
                        made = pa.array(values, types[field.name])
                    except (pa.ArrowException, ValueError, TypeError, OverflowError):
                        return False
                    if made.to_pylist() != values:
                        return False
                    rows = rows.set_column(at, schema.field(at), made)
                target.write_table(rows)
    return True


def values_by_row(rows: pa.Table) -> list[dict[str, Any]]:
    """Column -> value of each row, as Python objects."""
    from daskpar.data.columns.special_types import values_of

    columns = [values_of(rows.column(at), field) for at, field in enumerate(rows.schema)]
    return [dict(zip(rows.column_names, row, strict=True)) for row in zip(*columns, strict=True)]


def json_row(row: Mapping[str, Any]) -> dict[str, object]:
    """A row as JSON: dates as ISO 8601, decimals as text, bytes as base64, null for what is missing."""
    return {str(name): _json(value, str(name)) for name, value in row.items()}


def _json(value: Any, name: str) -> object:
    if isinstance(value, float) and math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        return {str(key): _json(inner, name) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_json(inner, name) for inner in value]
    try:
        found: object = json_value(value, name)
    except ValueError:
        return str(value)
    return found
