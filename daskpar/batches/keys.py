"""Keys of rows as numbers: in which partition a row belongs, and in which group, whatever kinds the key columns have.

Equal keys are those that a user calls equal: NaN equals NaN, -0.0 equals 0.0, a null equals a null and nothing else.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daskpar.errors import InputError, nearest

MIX = np.uint64(0x9E3779B97F4A7C15)
NULL_HASH = np.uint64(0xD6E8FEB86659FD93)


@dataclass(frozen=True, slots=True)
class Grouped:
    """Rows group by group: group g holds the rows `order[starts[g]:starts[g + 1]]`; groups come in order of first appearance."""

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
            raise InputError(" ".join(filter(None, [f"partition key {key!r} is no column of {where}.", known, hint])))


def partition_of_rows(table: pa.Table, keys: Sequence[str], partitions: int) -> np.ndarray:
    """The partition of each row, 0 <= p < partitions: a function of the values of its keys alone, the same in every process."""
    mixed = np.zeros(table.num_rows, np.uint64)
    for key in keys:
        mixed = (mixed ^ _hashes(_comparable(table.column(key), key))) * MIX
        mixed ^= mixed >> np.uint64(29)
    number = mixed % np.uint64(partitions)
    return number.astype(np.uint16 if partitions <= 0xFFFF else np.int64)


def group_rows(table: pa.Table, keys: Sequence[str]) -> Grouped:
    """The rows of `table` by group."""
    codes, count = np.zeros(table.num_rows, np.int64), min(table.num_rows, 1)
    for key in keys:
        encoded = _encoded(_comparable(table.column(key), key))
        own = _filled(encoded.indices)
        if count > 1:
            encoded = pa.array(codes * len(encoded.dictionary) + own).dictionary_encode()
            own = _filled(encoded.indices)
        codes, count = own, len(encoded.dictionary)
    order = stable_order(codes, count)
    return Grouped(order, np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=count))]).astype(np.int64))


def stable_order(codes: np.ndarray, count: int) -> np.ndarray:
    """The rows sorted by code (0 <= code < count), equal ones in their order; 16 bits at a time, for which numpy sorts by radix."""
    order = np.argsort(codes.astype(np.uint16), kind="stable")
    shift = 16
    while count > 1 << shift:
        digit = (codes[order] >> shift).astype(np.uint16)
        order = order[np.argsort(digit, kind="stable")]
        shift += 16
    return order


def _comparable(column: pa.ChunkedArray, key: str) -> pa.Array:
    """The key column as one array in which equal values have equal bits."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_nested(column.type):
        raise InputError(f"partition key {key!r} holds {column.type} values; keys must be plain values such as text, numbers or dates")
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # more than one array can hold
        array = pa.concat_arrays([chunk.cast(_large(chunk.type)) for chunk in array.chunks])
    if pa.types.is_float16(array.type):
        array = array.cast(pa.float32())
    if pa.types.is_floating(array.type):
        zero, nan = pa.scalar(0.0, array.type), pa.scalar(float("nan"), array.type)
        return pc.if_else(pc.is_nan(array), nan, pc.add(array, zero))
    return array


def _large(kind: pa.DataType) -> pa.DataType:
    return {pa.string(): pa.large_string(), pa.binary(): pa.large_binary()}.get(kind, kind)


def _encoded(array: pa.Array) -> pa.DictionaryArray:
    if pa.types.is_null(array.type):
        return pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(array), np.int32)), pa.nulls(min(len(array), 1)))
    return array.dictionary_encode(null_encoding="encode")


def _filled(indices: pa.Array) -> np.ndarray:
    values: np.ndarray = indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return values


def _hashes(array: pa.Array) -> np.ndarray:
    encoded = _encoded(array)
    values = encoded.dictionary
    hashes = _hash_values(values)
    if values.null_count:
        hashes[values.is_null().to_numpy(zero_copy_only=False)] = NULL_HASH
    result: np.ndarray = hashes[_filled(encoded.indices)]
    return result


def _hash_values(values: pa.Array) -> np.ndarray:
    """A number for each value that depends on the value and not on the width of its type: 1, 1.0 and true hash alike."""
    kind = values.type
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        return _spread(_integers(values.cast(pa.int64(), safe=False)))
    if pa.types.is_floating(kind):
        numbers = values.cast(pa.float64()).fill_null(0.0).to_numpy(zero_copy_only=False)
        whole = np.abs(numbers) < 2.0**63
        whole &= np.trunc(numbers) == numbers
        bits = numbers.view(np.int64).copy()
        bits[whole] = numbers[whole].astype(np.int64)
        return _spread(bits)
    if pa.types.is_timestamp(kind):
        return _spread(_integers(values.cast(pa.timestamp("us", kind.tz), safe=False).cast(pa.int64())))
    texts: list[Any] = values.to_pylist()
    numbers32 = [0 if text is None else zlib.crc32(text if isinstance(text, bytes) else str(text).encode()) for text in texts]
    return _spread(np.array(numbers32, np.int64))


def _integers(values: pa.Array) -> np.ndarray:
    numbers: np.ndarray = values.fill_null(0).to_numpy(zero_copy_only=False)
    return numbers


def _spread(numbers: np.ndarray) -> np.ndarray:
    """Bits of numbers spread over 64, so that neighbours do not fall into neighbouring partitions by pattern."""
    mixed = numbers.astype(np.int64).view(np.uint64) + MIX
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
