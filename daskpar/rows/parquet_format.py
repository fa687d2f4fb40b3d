"""The Parquet format: one file with large row groups.

Each mini-batch's rows are an Arrow stream in the parts, so that they can be read without their neighbours;
the file is made of them when all are there.
"""

from __future__ import annotations

import base64
import json
import sys
import zlib
from collections.abc import Callable, Hashable, Iterator
from typing import TYPE_CHECKING, Any

from daskpar.errors import JobFailed
from daskpar.jobspec.row_formats import PARQUET
from daskpar.rows.columns import Columns, ColumnsDiffer
from daskpar.rows.missing_values import is_missing
from daskpar.rows.named_rows import (
    NamedRowsEncoder,
    NamedRowsFormat,
    arrow_table,
    frame_names,
    mappings,
    pandas_frame,
    refuse_doubles,
)
from daskpar.rows.one_kind import check_one_kind
from daskpar.rows.row_format import Schema

if TYPE_CHECKING:
    import pyarrow as pa

    from daskpar.rows.item_columns import ItemColumns

GROUP_ROWS, GROUP_BYTES = 1 << 20, 128 << 20
"""A row group is written when it has so many rows, or so many bytes in memory, whatever comes first."""
BATCH_ROWS, BATCH_BYTES = 1 << 16, 16 << 20
"""Most rows and about the most bytes that are read at once when the file is made."""

MINI_BATCH, NULLABLE, NO_ROWS = b"mini_batch", b"nullable", b"no rows"
"""What the schema that travels with the rows says of a column: a mini-batch that has this type; whether it is
one of whole numbers or truth values with nulls among them, which pandas has types of its own for; whether
there were no rows so far, so that its type, null, stands for nothing.
"""
_PANDAS_NULLABLE = {
    "int8": "Int8", "int16": "Int16", "int32": "Int32", "int64": "Int64",
    "uint8": "UInt8", "uint16": "UInt16", "uint32": "UInt32", "uint64": "UInt64",
    "bool": "boolean", "float": "Float32", "double": "Float64",
}  # fmt: skip


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
        return (columns.to_text(), _types_text(_joined_types(_types(known), _types(found), columns.names)))

    def join(self, ranges: Iterator[bytes], schema: Schema | None) -> Iterator[bytes]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        types = _types(schema) if schema is not None else pa.schema([])
        types = types.with_metadata(_pandas_metadata(types))
        plain = pa.schema([field.remove_metadata() for field in types], metadata=types.metadata)
        sink = _Sink()
        with pq.ParquetWriter(sink, plain, compression="zstd") as writer:
            for group in _read_ahead(_groups(ranges, plain)):
                writer.write_table(group, row_group_size=max(1, group.num_rows))
                yield sink.taken()
        yield sink.taken()


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
            return Columns.of(names, index).to_text(), _types_text(_marked(table, nullable, index))

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
        masked = tuple(kind in _PANDAS_NULLABLE.values() for kind in kinds)
        for at, (name, kind) in enumerate(zip(names, kinds, strict=True)):
            if kind == "object":
                check_one_kind(frame.iloc[:, at].tolist(), name)
        try:
            table = pa.Table.from_pandas(frame, preserve_index=False, nthreads=1)
        except UnicodeError as error:
            raise ValueError(f"a text of the DataFrame is no UTF-8: {error}") from error
        table = table.rename_columns(list(names))
    elif (given := arrow_table(returned)) is not None:
        table = given
        refuse_doubles(table.column_names)
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


def _array(values: list[Any], name: str) -> pa.Array:
    import pyarrow as pa

    check_one_kind(values, name)
    try:
        return pa.array(_with_usual_days(values), from_pandas=True)
    except (pa.ArrowException, OverflowError, TypeError, UnicodeError) as error:
        raise ValueError(f"the column {name!r} can't have one type: {error}") from error


def _with_usual_days(values: list[Any]) -> Any:
    """Values that are numpy's dates as an array of them, which Arrow knows; one by one it does not."""
    numpy = sys.modules.get("numpy")
    if numpy is None or not any(type(value) is numpy.datetime64 for value in values):
        return values
    return numpy.array([None if is_missing(value) else value for value in values], dtype="datetime64")


def _usual(table: pa.Table) -> pa.Table:
    import pyarrow as pa

    from daskpar.rows.wider_types import usual_type

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


def _marked(table: pa.Table, nullable: tuple[bool, ...], index: int) -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            field.with_metadata(
                {
                    MINI_BATCH: str(index),
                    **({NULLABLE: "1"} if null else {}),
                    **({} if table.num_rows else {NO_ROWS: "1"}),
                }
            )
            for field, null in zip(table.schema, nullable, strict=True)
        ]
    )


# -- in both --


def _types_text(types: pa.Schema) -> str:
    return base64.b64encode(zlib.compress(types.serialize().to_pybytes())).decode()


def _types(schema: Schema) -> pa.Schema:
    import pyarrow as pa

    return pa.ipc.read_schema(pa.py_buffer(zlib.decompress(base64.b64decode(schema[1]))))


def _joined_types(known: pa.Schema, found: pa.Schema, names: tuple[str, ...]) -> pa.Schema:
    import pyarrow as pa

    of_known, of_found = {field.name: field for field in known}, {field.name: field for field in found}
    fields = []
    for name in names:
        one, other = of_known.get(name), of_found.get(name)
        if one is not None and other is not None:
            fields.append(_joined_field(one, other))
        elif (only := one if one is not None else other) is not None:
            fields.append(only.with_metadata({**only.metadata, **_nulls_come(only.type)}))
    return pa.schema(fields)


def _joined_field(one: pa.Field, other: pa.Field) -> pa.Field:
    import pyarrow.types as kinds

    from daskpar.rows.wider_types import wider_type

    wider = wider_type(one.type, other.type)
    if wider is None:
        first, second = (int(field.metadata[MINI_BATCH]) for field in (one, other))
        raise ColumnsDiffer(
            f"the column {one.name!r} is {other.type} in mini-batch {second} and {one.type} in mini-batch "
            f"{first}, and no type holds both without changing values. {_advice(one.type, other.type)}"
        )
    metadata = dict(
        other.metadata if wider.equals(other.type) and not wider.equals(one.type) else one.metadata
    )
    if NULLABLE in one.metadata or NULLABLE in other.metadata:
        metadata[NULLABLE] = b"1"
    if not (NO_ROWS in one.metadata and NO_ROWS in other.metadata):
        metadata.pop(NO_ROWS, None)
    if any(kinds.is_null(field.type) and NO_ROWS not in field.metadata for field in (one, other)):
        metadata |= _nulls_come(wider)
    return one.with_type(wider).with_metadata(metadata)


def _advice(one: pa.DataType, other: pa.DataType) -> str:
    import pyarrow.types as kinds

    if kinds.is_timestamp(one) and kinds.is_timestamp(other):
        return "Bring all moments to one time zone: .dt.tz_convert('UTC'), or .dt.tz_localize(ZONE) before"
    if {kinds.is_floating(one), kinds.is_floating(other)} == {True, False}:
        return (
            "Return one type from every run() (whole numbers with nulls among them become fractions in "
            "pandas: .astype('Int64') keeps them)"
        )
    return "Return one type from every run()"


def _nulls_come(kind: pa.DataType) -> dict[bytes, bytes]:
    """For a column that some mini-batches have no values of."""
    import pyarrow.types as kinds

    return {NULLABLE: b"1"} if kinds.is_integer(kind) or kinds.is_boolean(kind) else {}


# -- in the driver --


def _groups(ranges: Iterator[bytes], types: pa.Schema) -> Iterator[pa.Table]:
    """The rows in tables of the size of a row group; where they are cut depends on nothing but the rows."""
    import pyarrow as pa

    waiting: list[pa.Table] = []
    rows = size = 0
    for data in ranges:
        for batch in _batches(data):
            table = _conformed(batch, types)
            while table.num_rows:
                taken = table.slice(0, GROUP_ROWS - rows)
                table = table.slice(taken.num_rows)
                waiting.append(taken)
                rows, size = rows + taken.num_rows, size + taken.nbytes
                if rows >= GROUP_ROWS or size >= GROUP_BYTES:
                    yield pa.concat_tables(waiting)
                    waiting, rows, size = [], 0, 0
    if waiting:
        yield pa.concat_tables(waiting)


def _read_ahead(groups: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The same; the next one is decoded on another thread while this one is packed."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1, thread_name_prefix="daskpar-decode") as thread:
        following = thread.submit(next, groups, None)
        while (group := following.result()) is not None:
            following = thread.submit(next, groups, None)
            yield group


def _batches(data: bytes) -> Iterator[pa.RecordBatch]:
    """What a range holds: one Arrow stream, or one for each piece of a divided mini-batch."""
    import pyarrow as pa

    source = pa.BufferReader(data)
    while source.tell() < len(data):
        yield from pa.ipc.open_stream(source)


def _conformed(batch: pa.RecordBatch, types: pa.Schema) -> pa.Table:
    import pyarrow as pa

    arrays = []
    for field in types:
        at = batch.schema.get_field_index(field.name)
        if at < 0:
            arrays.append(pa.nulls(batch.num_rows, field.type))
            continue
        try:
            arrays.append(batch.column(at).cast(field.type))
        except pa.ArrowException as error:
            raise JobFailed(
                f"The column {field.name!r} can't be written: it is {batch.schema.field(at).type} in one "
                f"mini-batch and {field.type} in the output: {error}. Return one type from every run()."
            ) from error
    return pa.Table.from_arrays(arrays, schema=types)


def _pandas_metadata(types: pa.Schema) -> dict[bytes, bytes] | None:
    """What pandas and Dask look at for whole numbers and truth values with nulls, which they would make
    fractions and objects of.
    """
    if not any(NULLABLE in (field.metadata or {}) for field in types):
        return None
    columns = [
        {
            "name": field.name,
            "field_name": field.name,
            "pandas_type": str(field.type),
            "numpy_type": _PANDAS_NULLABLE.get(str(field.type), "object"),
            "metadata": None,
        }
        for field in types
        if NULLABLE in (field.metadata or {})
    ]
    value = {"index_columns": [], "column_indexes": [], "columns": columns, "pandas_version": "2.2.0"}
    return {b"pandas": json.dumps(value).encode()}


class _Sink:
    """A file that gives what was written to it since it was asked last."""

    closed = False

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def write(self, data: Any) -> int:
        self._pieces.append(bytes(data))
        self._size += len(self._pieces[-1])
        return len(self._pieces[-1])

    def tell(self) -> int:
        return self._size

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """What was written can still be taken."""

    def taken(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)
