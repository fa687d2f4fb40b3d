"""What Parquet has no type for is refused where it is returned, with its column; the file comes later."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.types as kinds

_PLAIN = {
    kind.id
    for kind in (
        *(pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
        *(
            pa.float32(),
            pa.float64(),
            pa.bool_(),
            pa.string(),
            pa.large_string(),
            pa.timestamp("us"),
            pa.null(),
        ),
    )
}
"""Types that most columns have: for thousands of them nothing else is asked."""


def check_types(schema: pa.Schema) -> None:
    """ValueError that names the first column whose type can't be written and read again as what it is."""
    for field in schema:
        if field.type.id in _PLAIN:
            continue
        for kind in _inside(field.type):
            if _has_none(kind):
                raise ValueError(
                    f"the column {field.name!r} has values that Parquet has no type for ({kind}): return "
                    "texts (.astype(str)), numbers or moments (.dt.to_timestamp() of periods)"
                )


def _inside(kind: pa.DataType) -> Iterator[pa.DataType]:
    """A type, and all that its values consist of."""
    yield kind
    if kinds.is_dictionary(kind):
        yield from _inside(kind.value_type)
    elif not kinds.is_union(kind):
        for at in range(kind.num_fields):
            yield from _inside(kind.field(at).type)


def _has_none(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.BaseExtensionType):
        # One of another library is its bare storage to a process that has not loaded that library.
        return not type(kind).__module__.startswith("pyarrow")
    return bool(kinds.is_union(kind) or kinds.is_run_end_encoded(kind) or kinds.is_interval(kind))
