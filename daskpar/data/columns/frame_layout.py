"""Which columns of a table its data frame treats in which way: looked up once for all blocks of a table."""

from __future__ import annotations

from dataclasses import field

import pyarrow as pa

from daskpar.data.columns.special_types import is_any, is_nullable, is_stream
from daskpar.value_classes import frozen

_FLOATS = {pa.float32().id, pa.float64().id}
_INTEGERS = {
    kind().id for kind in (pa.int8, pa.int16, pa.int32, pa.int64, pa.uint8, pa.uint16, pa.uint32, pa.uint64)
}
_LONG = {pa.int64().id, pa.uint64().id}
_BOOL = pa.bool_().id


@frozen
class FrameLayout:
    """Numbers of the columns of a schema, by what is done with them."""

    schema: pa.Schema
    special: list[int] = field(default_factory=list)
    """With values that Arrow's types don't tell: of any kind, locations."""
    nullable: list[int] = field(default_factory=list)
    """Integers that stay integers beside nulls."""
    floats: dict[int, list[int]] = field(default_factory=dict)
    """Of 32 or 64 bits, by the id of their type."""
    integers: dict[int, list[int]] = field(default_factory=dict)
    """The same for those that are not nullable."""
    changing: list[int] = field(default_factory=list)
    """Integers and booleans, whose dtype is another beside nulls."""
    long: list[int] = field(default_factory=list)
    """Integers of 64 bits that are not nullable: not every one is a float."""


def layout_of(schema: pa.Schema) -> FrameLayout:
    """The layout of a schema; the latest is kept, for block after block has the same."""
    global _latest
    found = _latest  # once: another thread may put the layout of its own table there meanwhile
    if found.schema is not schema and not found.schema.equals(schema, check_metadata=True):
        found = _latest = _made(schema)
    return found


def _made(schema: pa.Schema) -> FrameLayout:
    found = FrameLayout(schema)
    for number, column in enumerate(schema):
        kind = column.type.id
        marked = bool(column.metadata)
        if marked and (is_any(column) or is_stream(column)):
            found.special.append(number)
        elif kind in _FLOATS:
            found.floats.setdefault(kind, []).append(number)
        elif kind in _INTEGERS:
            found.changing.append(number)
            if marked and is_nullable(column):
                found.nullable.append(number)
                continue
            found.integers.setdefault(kind, []).append(number)
            if kind in _LONG:
                found.long.append(number)
        elif kind == _BOOL:
            found.changing.append(number)
    return found


_latest = FrameLayout(pa.schema([]))
