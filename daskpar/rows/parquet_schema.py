"""The schema of rows that become one Parquet file: as text that travels with them, joined of those of several
mini-batches, and as the file has it.
"""

from __future__ import annotations

import base64
import json
import zlib
from typing import TYPE_CHECKING

from daskpar.rows.columns import ColumnsDiffer
from daskpar.rows.row_format import Schema

if TYPE_CHECKING:
    import pyarrow as pa

MINI_BATCH, NULLABLE, NO_ROWS = b"mini_batch", b"nullable", b"no rows"
"""What the schema that travels with the rows says of a column: a mini-batch that has this type; whether it is
one of whole numbers or truth values with nulls among them, which pandas has types of its own for; whether
there were no rows so far, so that its type, null, stands for nothing.
"""
PANDAS_NULLABLE = {
    "int8": "Int8", "int16": "Int16", "int32": "Int32", "int64": "Int64",
    "uint8": "UInt8", "uint16": "UInt16", "uint32": "UInt32", "uint64": "UInt64",
    "bool": "boolean", "float": "Float32", "double": "Float64",
}  # fmt: skip


def marked(table: pa.Table, nullable: tuple[bool, ...], index: int) -> pa.Schema:
    """The types of a mini-batch's rows, with what else is known of its columns."""
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


def types_text(types: pa.Schema) -> str:
    """The second text of a `Schema`."""
    return base64.b64encode(zlib.compress(types.serialize().to_pybytes())).decode()


def types_of(schema: Schema) -> pa.Schema:
    """What `types_text` was made of."""
    import pyarrow as pa

    return pa.ipc.read_schema(pa.py_buffer(zlib.decompress(base64.b64decode(schema[1]))))


def joined_types(known: pa.Schema, found: pa.Schema, names: tuple[str, ...]) -> pa.Schema:
    """Types for the rows of both, which have the columns `names` together; raises ColumnsDiffer."""
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


def file_schema(schema: Schema | None) -> pa.Schema:
    """The schema that the file has: all that it depends on beside the rows."""
    import pyarrow as pa

    types = types_of(schema) if schema is not None else pa.schema([])
    return pa.schema([field.remove_metadata() for field in types], metadata=_pandas_metadata(types))


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
            "numpy_type": PANDAS_NULLABLE.get(str(field.type), "object"),
            "metadata": None,
        }
        for field in types
        if NULLABLE in (field.metadata or {})
    ]
    value = {"index_columns": [], "column_indexes": [], "columns": columns, "pandas_version": "2.2.0"}
    return {b"pandas": json.dumps(value).encode()}
