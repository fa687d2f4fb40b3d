"""Groups the rows of a table by key columns of whatever kinds.

Equal keys are those that a user calls equal: NaN equals NaN, -0.0 equals 0.0, a null equals a null and
nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daskpar.errors import InputError, nearest


@dataclass(frozen=True, slots=True)
class GroupedRows:
    """Rows group by group: group g holds the rows `order[starts[g]:starts[g + 1]]`.

    Groups come in order of first appearance.
    """

    order: np.ndarray
    starts: np.ndarray

    @property
    def first(self) -> np.ndarray:
        """The first row of each group."""
        rows: np.ndarray = self.order[self.starts[:-1]]
        return rows


def check_keys(keys: Sequence[str], columns: Sequence[str], where: str) -> None:
    """InputError where a key is no column, with the columns there are."""
    for key in keys:
        if key not in columns:
            hint = nearest(key, columns)
            known = f"The columns are {', '.join(map(repr, columns))}." if columns else "It has no columns."
            raise InputError(
                " ".join(filter(None, [f"partition key {key!r} is no column of {where}.", known, hint]))
            )


def group_rows(table: pa.Table, keys: Sequence[str]) -> GroupedRows:
    """The rows of `table` by group."""
    codes, count = np.zeros(table.num_rows, np.int64), min(table.num_rows, 1)
    for key in keys:
        coded = encode_distinct(comparable_array(table.column(key), key))
        own = index_numbers(coded.indices)
        if count > 1:
            coded = pa.array(codes * len(coded.dictionary) + own).dictionary_encode()
            own = index_numbers(coded.indices)
        codes, count = own, len(coded.dictionary)
    order = stable_order(codes, count)
    return GroupedRows(
        order, np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=count))]).astype(np.int64)
    )


def stable_order(codes: np.ndarray, count: int) -> np.ndarray:
    """The rows sorted by code (0 <= code < count), equal ones in their order."""
    order = np.argsort(codes.astype(np.uint16), kind="stable")  # numpy sorts 16 bits by radix, in linear time
    shift = 16
    while count > 1 << shift:
        digit = (codes[order] >> shift).astype(np.uint16)
        order = order[np.argsort(digit, kind="stable")]
        shift += 16
    return order


def comparable_array(column: pa.ChunkedArray, key: str) -> pa.Array:
    """The key column as one array in which equal values have equal bits."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_nested(column.type):
        raise InputError(
            f"partition key {key!r} holds {column.type} values; "
            "keys must be plain values such as text, numbers or dates"
        )
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # more than one array can hold
        array = pa.concat_arrays([chunk.cast(_large(chunk.type)) for chunk in array.chunks])
    if pa.types.is_float16(array.type):
        array = array.cast(pa.float32())
    if pa.types.is_floating(array.type):
        # adding 0.0 makes -0.0 of one kind with it; one NaN stands for all
        zero, nan = pa.scalar(0.0, array.type), pa.scalar(float("nan"), array.type)
        return pc.if_else(pc.is_nan(array), nan, pc.add(array, zero))
    return array


def _large(kind: pa.DataType) -> pa.DataType:
    return {pa.string(): pa.large_string(), pa.binary(): pa.large_binary()}.get(kind, kind)


def encode_distinct(array: pa.Array) -> pa.DictionaryArray:
    """The distinct values, the null among them, and for each row which one it has."""
    if pa.types.is_null(array.type):
        return pa.DictionaryArray.from_arrays(
            pa.array(np.zeros(len(array), np.int32)), pa.nulls(min(len(array), 1))
        )
    return array.dictionary_encode(null_encoding="encode")


def index_numbers(indices: pa.Array) -> np.ndarray:
    """The numbers of the distinct values, as 64 bits."""
    values: np.ndarray = indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return values
