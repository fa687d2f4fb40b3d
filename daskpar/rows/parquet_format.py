"""The Parquet format: one file with large row groups.

Each mini-batch's rows are an Arrow stream in the parts, so that they can be read without their neighbours;
the file is made of them when all are there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from daskpar.jobspec.row_formats import PARQUET
from daskpar.rows.columns import Columns
from daskpar.rows.missing_values import is_missing
from daskpar.rows.named_rows import (
    NamedRowsEncoder,
    NamedRowsFormat,
    arrow_table,
    frame_names,
    mappings,
    pandas_frame,
    refuse_doubles,
    refuse_nameless,
)
from daskpar.rows.one_kind import check_one_kind
from daskpar.rows.parquet_file import ParquetJoiner, join_parquet
from daskpar.rows.parquet_schema import PANDAS_NULLABLE, joined_types, marked, types_of, types_text
from daskpar.rows.row_format import Schema

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from daskpar.rows.item_columns import ItemColumns

_USUAL_UNITS = {
    "datetime64": {"Y": "D", "M": "D", "W": "D", "h": "s", "m": "s"},
    "timedelta64": {"W": "s", "D": "s", "h": "s", "m": "s"},
}
"""Units of numpy's that Arrow has none for, and the next finer one that it has."""
BATCH_ROWS, BATCH_BYTES = 1 << 16, 16 << 20
"""Most rows and about the most bytes that are read at once when the file is made."""


class ParquetFormat(NamedRowsFormat):
    """One Parquet file, packed by zstd."""

    name = PARQUET
    concatenated = False
    texts = 2

    def encoder(self) -> ParquetEncoder:
        return ParquetEncoder(self)

    def joined(self, known: Schema, found: Schema) -> Schema:
        before, new = Columns.from_text(known[0]), Columns.from_text(found[0])
        columns = before.joined(new, union=self.union)
        if known[1] == found[1] and columns.names == before.names:
            return (columns.to_text(), known[1])
        return (columns.to_text(), types_text(joined_types(types_of(known), types_of(found), columns.names)))

    def join(self, ranges: Iterator[bytes], schema: Schema | None) -> Iterator[bytes]:
        return join_parquet(ranges, schema)

    def joiner(self, schema: Schema | None) -> ParquetJoiner:
        return ParquetJoiner(schema)


class ParquetEncoder(NamedRowsEncoder):
    """Of one processor."""

    def __init__(self, row_format: ParquetFormat) -> None:
        super().__init__(row_format)
        self._ranges: list[bytes] = []
        self.size_estimate = 0
        """Bytes that wait for `take`."""

    def _taken(
        self, returned: Any, index: int, before: ItemColumns | None
    ) -> tuple[int, Hashable, Callable[[], Schema]]:
        made = _table_of(returned, self.row_format, before)
        if made is None:
            self._ranges.append(b"")
            return len(returned), None, lambda: ()
        table, nullable = made
        data = _stream(table) if table.num_rows else b""
        self._ranges.append(data)
        self.size_estimate += len(data)
        names = tuple(table.column_names)

        def schema() -> Schema:
            return Columns.of(names, index).to_text(), types_text(marked(table, nullable, index))

        return table.num_rows, (names, tuple(map(str, table.schema.types)), nullable), schema

    def take(self) -> tuple[bytes, list[int]]:
        """As `RowEncoder.take`."""
        ranges, self._ranges, self.size_estimate = self._ranges, [], 0
        return b"".join(ranges), list(map(len, ranges))


# -- in the processors --


def _table_of(
    returned: Any, row_format: NamedRowsFormat, before: ItemColumns | None
) -> tuple[pa.Table, tuple[bool, ...]] | None:
    """What was returned as a table of the usual types, and which columns are nullable; None where it has no
    columns. ValueError for what is no table.
    """
    import pyarrow as pa

    masked: tuple[bool, ...] = ()
    frame = pandas_frame(returned)
    if frame is not None:
        names = frame_names(frame.columns)
        refuse_doubles(names)
        kinds = list(map(str, frame.dtypes))  # once: pandas makes a column of all types each time
        if any(kind.startswith("Sparse[") for kind in kinds):
            frame = _dense(frame, kinds)
            kinds = list(map(str, frame.dtypes))
        masked = tuple(kind in PANDAS_NULLABLE.values() for kind in kinds)
        for at, (name, kind) in enumerate(zip(names, kinds, strict=True)):
            if kind == "object":
                check_one_kind(frame.iloc[:, at].tolist(), name)
        if before is None:
            refuse_nameless(names, len(frame))
        table = _arrow_of(frame, names)
    elif (given := arrow_table(returned)) is not None:
        table = given
        refuse_doubles(table.column_names)
        if before is None:
            refuse_nameless(table.column_names, table.num_rows)
    else:
        names, rows = mappings(returned, row_format)
        arrays = [_array([row.get(name) for row in rows], name) for name in names]
        table = pa.Table.from_arrays(arrays, names=list(names))
    if before is not None and (table.num_columns or table.num_rows):
        table = before.table(table)
        masked = (False,) * len(before.names) + masked if masked else ()
    if not table.num_columns:
        return None
    if not table.num_rows:  # says nothing of its types
        table = pa.schema([(name, pa.null()) for name in table.column_names]).empty_table()
    return _usual(table), _nullable(table, masked)


def _arrow_of(frame: pd.DataFrame, names: Sequence[str]) -> pa.Table:
    import pyarrow as pa

    try:
        table = pa.Table.from_pandas(frame, preserve_index=False, nthreads=1)
    except UnicodeError as error:
        raise ValueError(f"a text of the DataFrame is no UTF-8: {error}") from error
    except (pa.ArrowException, OverflowError, TypeError):
        for at, name in enumerate(names):  # Arrow does not always tell which column it is
            try:
                pa.array(frame.iloc[:, at], from_pandas=True)
            except (pa.ArrowException, OverflowError, TypeError) as error:
                raise _no_type(name, error) from error
        raise
    return table.rename_columns(list(names))


def _no_type(name: str, error: Exception) -> ValueError:
    return ValueError(f"the column {name!r} can't have one type: {error}")


def _dense(frame: pd.DataFrame, kinds: list[str]) -> pd.DataFrame:
    """A frame with every value of its sparse columns, which Arrow has no type for; the given one stays."""
    frame = frame.copy(deep=False)
    for at, kind in enumerate(kinds):
        if kind.startswith("Sparse["):
            frame.isetitem(at, frame.iloc[:, at].to_numpy())
    return frame


def _array(values: list[Any], name: str) -> pa.Array:
    import pyarrow as pa

    check_one_kind(values, name)
    try:
        return pa.array(_with_usual_days(values), from_pandas=True)
    except (pa.ArrowException, OverflowError, TypeError, UnicodeError) as error:
        raise _no_type(name, error) from error


def _with_usual_days(values: list[Any]) -> Any:
    """Values that are numpy's dates or durations as an array of them, in a unit that Arrow has: one by one it
    does not know them.
    """
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return values
    for kind, code in ((numpy.datetime64, "datetime64"), (numpy.timedelta64, "timedelta64")):
        if any(type(value) is kind for value in values):
            array = numpy.array([None if is_missing(value) else value for value in values], dtype=code)
            unit = _USUAL_UNITS[code].get(numpy.datetime_data(array.dtype)[0])
            return array.astype(f"{code}[{unit}]") if unit else array
    return values


def _usual(table: pa.Table) -> pa.Table:
    import pyarrow as pa

    from daskpar.rows.parquet_types import check_types
    from daskpar.rows.wider_types import usual_type

    check_types(table.schema)
    wanted = pa.schema([(field.name, usual_type(field.type)) for field in table.schema])
    table = table.replace_schema_metadata(None)
    return table if table.schema.equals(wanted, check_metadata=True) else table.cast(wanted)


def _nullable(table: pa.Table, masked: tuple[bool, ...]) -> tuple[bool, ...]:
    import pyarrow.types as kinds

    return tuple(
        (bool(masked) and masked[at])
        or ((kinds.is_integer(column.type) or kinds.is_boolean(column.type)) and column.null_count > 0)
        for at, column in enumerate(table.columns)
    )


def _stream(table: pa.Table) -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    rows = max(1, min(BATCH_ROWS, table.num_rows * BATCH_BYTES // max(1, table.nbytes)))
    # Small tables gain nothing from threads, and other processors use the other cores.
    options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=rows)
    data: bytes = sink.getvalue().to_pybytes()
    return data
