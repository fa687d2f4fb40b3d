"""The steps of a table, applied to its rows piece by piece: columns kept, values converted, rows filtered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daskpar.data.columns.conversion import convert, convert_values
from daskpar.data.columns.kinds import ColumnKind
from daskpar.data.columns.special_types import is_any, stream_field, values_of
from daskpar.data.columns.text_values import example_text
from daskpar.data.notices import LossCounter, LostValues
from daskpar.data.tables import filter_parser
from daskpar.data.tables.filter_mask import mask
from daskpar.errors import InputError
from daskpar.value_classes import mutable

TableStep = Mapping[str, Any]
"""One step as a plain value: `{"op": …}` and what that operation needs.

    keep         names                the columns that stay
    convert      column, kind         kind: `ColumnKind.to_json()`
    filter       text, where          where: place in the MLTable, for errors
    sample       low, high, seed      rows whose drawn number u is low <= u < high
    nanoseconds  names                moments get this unit
    path                              the file's path as the first column
    files        names, first, at     columns from the file's path; first: number of the first one
    nulls        names                columns without values, at the end
"""

ROW_OPERATIONS = ("filter", "sample")
OF_A_FILE = ("sample", "path", "files")
"""Operations that ask which file a row is of."""


@mutable
class RowChunk:
    """Rows on their way through the steps of a table: of one file, or of several where no step asks which."""

    table: pa.Table
    file: int
    """Number of the file in the whole table; -1 for rows of several."""
    positions: np.ndarray
    """For each row where its record stands in its file: the byte or the number of the row."""
    path: str = ""
    values: pa.Table | None = None
    """Columns that come from the file's path (one row)."""
    losses: LossCounter = field(default_factory=LossCounter)


def apply(steps: Iterable[TableStep], chunk: RowChunk) -> RowChunk:
    """The rows after the steps; rows keep their order."""
    for op, some in groupby(steps, key=lambda step: step["op"]):
        if op == "convert":
            _convert(list(some), chunk)
            continue
        for step in some:
            _OPERATIONS[op](step, chunk)
    return chunk


def needed_columns(steps: Sequence[TableStep], base: Sequence[str], final: Sequence[str]) -> set[str]:
    """Columns of the reader that the result or a filter depends on: all others need not be read."""
    needed = set(final)
    for step in steps:
        if step["op"] == "filter":
            needed |= filter_parser.columns_of(filter_parser.parse_filter(step["text"]))
    return needed & set(base)


def drops_rows(steps: Iterable[TableStep]) -> bool:
    """Whether any of the steps may leave rows out."""
    return any(step["op"] in ROW_OPERATIONS for step in steps)


def _keep(step: TableStep, chunk: RowChunk) -> None:
    there = set(chunk.table.column_names)
    chunk.table = chunk.table.select([name for name in step["names"] if name in there])


def _convert(steps: Sequence[TableStep], chunk: RowChunk) -> None:
    """Conversions of some columns, one after the other: the table is put together once."""
    names = chunk.table.column_names
    places = {name: number for number, name in reversed(list(enumerate(names)))}
    columns, fields = chunk.table.columns, list(chunk.table.schema)
    for step in steps:
        name, kind = step["column"], ColumnKind.from_json(step["kind"])
        if name not in places:
            continue
        number = places[name]
        array, lost = convert_field(columns[number], fields[number], kind)
        chunk.losses.add(name, "convert", lost)
        columns[number] = pa.chunked_array([array])
        fields[number] = converted_field(name, kind, array.type)
    if places:
        schema = pa.schema(fields, chunk.table.schema.metadata)
        chunk.table = pa.Table.from_arrays(columns, schema=schema)


def converted_field(name: str, kind: ColumnKind, type_: pa.DataType) -> pa.Field:
    """The field of a converted column."""
    return stream_field(name) if kind.name == "stream_info" else pa.field(name, type_)


def convert_field(
    column: pa.ChunkedArray, source: pa.Field, kind: ColumnKind
) -> tuple[pa.Array, LostValues | None]:
    """`conversion.convert`, for columns with values of any kind as well."""
    return convert_values(values_of(column, source), kind) if is_any(source) else convert(column, kind)


def _filter(step: TableStep, chunk: RowChunk) -> None:
    try:
        kept = mask(filter_parser.parse_filter(step["text"]), chunk.table)
    except InputError as error:
        raise InputError(f"{step['where']}: filter {step['text']!r}: {error}") from None
    _select(chunk, kept)


def _select(chunk: RowChunk, kept: pa.Array | pa.ChunkedArray) -> None:
    rows = kept.to_numpy(zero_copy_only=False) if isinstance(kept, pa.Array) else kept.to_numpy()
    rows = rows.astype(bool, copy=False)
    if not rows.all():
        chunk.table = chunk.table.filter(pa.array(rows))
        chunk.positions = chunk.positions[rows]


def _sample(step: TableStep, chunk: RowChunk) -> None:
    drawn = uniform(step["seed"], chunk.file, chunk.positions)
    _select(chunk, pa.array(is_drawn(drawn, step["low"], step["high"])))


def is_drawn(drawn: np.ndarray, low: float, high: float) -> np.ndarray:
    """Which rows a sample keeps, by their drawn numbers: as Microsoft's reader, low <= u < high."""
    kept: np.ndarray = (drawn >= low) & ((drawn < high) | (high == 1.0))
    return kept


def uniform(seed: int, file: int, positions: np.ndarray) -> np.ndarray:
    """Numbers in [0, 1) that depend on the seed and on where a record stands, not on how the table is cut."""
    # rounds of SplitMix64; Microsoft's generator is not documented, and depends on its partitions
    state = positions.astype(np.uint64)
    with np.errstate(over="ignore"):
        for salt in (np.uint64(file), np.uint64(seed & (2**64 - 1))):
            state = state * np.uint64(0x9E3779B97F4A7C15) + salt + np.uint64(0x632BE59BD9B4E019)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _nanoseconds(step: TableStep, chunk: RowChunk) -> None:
    for name in step["names"]:
        if name not in chunk.table.column_names:
            continue
        number = chunk.table.column_names.index(name)
        column = chunk.table.column(number)
        try:
            finer = column.cast(pa.timestamp("ns"))
        except pa.ArrowInvalid:  # moments that nanoseconds can't hold become null, and are counted
            fits = pc.equal(
                pc.cast(pc.cast(column, pa.timestamp("ns"), safe=False), column.type, safe=False), column
            )
            finer = pc.if_else(fits, column, pa.scalar(None, column.type)).cast(pa.timestamp("ns"))
            chunk.losses.add(
                name,
                "convert",
                LostValues(
                    finer.null_count - column.null_count, example_text(column.filter(pc.invert(fits))[0])
                ),
            )
        chunk.table = chunk.table.set_column(number, pa.field(name, pa.timestamp("ns")), finer)


def _path(step: TableStep, chunk: RowChunk) -> None:
    _insert(chunk, 0, pa.field("Path", pa.string()), pa.scalar(chunk.path, pa.string()))


def _files(step: TableStep, chunk: RowChunk) -> None:
    assert chunk.values is not None
    for shift in range(len(step["names"])):
        number = step["first"] + shift
        _insert(chunk, step["at"] + shift, chunk.values.schema.field(number), chunk.values.column(number)[0])


def _nulls(step: TableStep, chunk: RowChunk) -> None:
    for name in step["names"]:
        _insert(chunk, chunk.table.num_columns, pa.field(name, pa.null()), pa.scalar(None))


def _insert(chunk: RowChunk, at: int, column: pa.Field, value: pa.Scalar) -> None:
    rows = len(chunk.positions)
    array = (
        pa.nulls(rows, column.type) if not value.is_valid else pc.cast(pa.repeat(value, rows), column.type)
    )
    at = min(at, chunk.table.num_columns)
    chunk.table = (
        chunk.table.add_column(at, column, array)
        if chunk.table.num_columns
        else pa.table([array], schema=pa.schema([column]))
    )


_OPERATIONS = {
    "keep": _keep,
    "filter": _filter,
    "sample": _sample,
    "nanoseconds": _nanoseconds,
    "path": _path,
    "files": _files,
    "nulls": _nulls,
}
