"""Transformations after the reader: each becomes a step of the table, or narrows the rows it is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from daskpar.data.columns.buffers import empty_table
from daskpar.data.mltable.column_choice import columns_left, conversions
from daskpar.data.mltable.document import Transformation
from daskpar.data.mltable.partition_format import extract, parse_format
from daskpar.data.mltable.take_skip import select_partitions, skip, take
from daskpar.data.tables.filter_parser import parse_filter
from daskpar.data.tables.table import Table
from daskpar.data.tables.table_steps import RowChunk, apply
from daskpar.errors import InputError

_NARROWING: dict[str, Callable[[Table, Any], Table]] = {
    "take": take,
    "skip": skip,
    "select_partitions": select_partitions,
}


def transform_table(table: Table, transformation: Transformation, where: str) -> Table:
    """The table behind one more transformation.

    `where` is the transformation's place, for errors of a filter. InputError or ValueError where it can't be
    applied.
    """
    name, options = transformation.name, transformation.options
    value, names = options.get("value"), table.schema.names
    if name.startswith("read_"):
        raise InputError(f"{name} needs files, but the files have been read already: a table has one reader")
    if name in ("keep_columns", "drop_columns"):
        return with_step(table, {"op": "keep", "names": columns_left(value, names, name)})
    if name == "convert_column_types":
        found = conversions(value or [], names)
        return with_steps(
            table, [{"op": "convert", "column": column, "kind": kind.to_json()} for column, kind in found]
        )
    if name == "filter":
        return _filtered(table, value or "", where)
    if name in ("take_random_sample", "sample"):
        return with_step(table, {"op": "sample", **{key: options[key] for key in ("low", "high", "seed")}})
    if name == "extract_columns_from_partition_format":
        return _with_columns_from_paths(table, value or "")
    return _NARROWING[name](table, value)


def with_step(table: Table, step: dict[str, Any]) -> Table:
    """The table with one more step, and the schema that it leads to."""
    return with_steps(table, [step])


def with_steps(table: Table, more: Sequence[dict[str, Any]]) -> Table:
    """The table with more steps."""
    values = None if table.values is None else table.values.slice(0, 1)
    if table.values is not None and not table.files:
        schema = table.values.schema
        values = pa.table([pa.nulls(1, field.type) for field in schema], schema=schema)
    # the steps are applied to the table without rows, which gives the schema
    chunk = RowChunk(empty_table(table.base), 0, np.zeros(0, np.int64), "", values)
    steps = (*table.steps, *more)
    return replace(table, steps=steps, schema=apply(steps, chunk).table.schema)


def _filtered(table: Table, text: str, where: str) -> Table:
    parse_filter(text)  # a mistake in it is an error of planning
    table = with_step(table, {"op": "filter", "text": text, "where": where})
    # as Microsoft's reader: behind a filter, moments have nanoseconds
    coarse = [
        found.name
        for found in table.schema
        if pa.types.is_timestamp(found.type) and not found.type.tz and found.type.unit != "ns"
    ]
    return with_step(table, {"op": "nanoseconds", "names": coarse}) if coarse else table


def _with_columns_from_paths(table: Table, text: str) -> Table:
    form = parse_format(text)
    twice = next((name for name in form.columns if name in table.schema.names), None)
    if twice is not None:
        raise InputError(f"there is a column {twice!r} already")
    if "Path" not in table.schema.names or not any(step["op"] == "path" for step in table.steps):
        # as Microsoft's reader: without `include_path_column` there is no path left to look at
        return with_step(table, {"op": "nulls", "names": list(form.columns)})
    found = extract(form, table.files)
    values, first = found, 0
    if table.values is not None:  # a column that was dropped may come again, under the same name
        values, first = table.values, table.values.num_columns
        for name in found.column_names:
            values = values.append_column(name, found.column(name))
    at = table.schema.names.index("Path") + 1
    step = {"op": "files", "names": found.column_names, "first": first, "at": at}
    return with_step(replace(table, values=values), step)
