"""Computes in which partition of a grouping a row belongs: from its keys, the same in every process."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from daskpar.data.columns.row_keys import comparable_array, encode_distinct, index_numbers

MIX = np.uint64(0x9E3779B97F4A7C15)
NULL_HASH = np.uint64(0xD6E8FEB86659FD93)


def partition_of_rows(table: pa.Table, keys: Sequence[str], partitions: int) -> np.ndarray:
    """The partition of each row, 0 <= p < partitions.

    A function of the values of its keys alone, the same in every process.
    """
    mixed = np.zeros(table.num_rows, np.uint64)
    for key in keys:
        mixed = (mixed ^ _hashes(comparable_array(table.column(key), key))) * MIX
        mixed ^= mixed >> np.uint64(29)
    number = mixed % np.uint64(partitions)
    return number.astype(np.uint16 if partitions <= 0xFFFF else np.int64)


def _hashes(array: pa.Array) -> np.ndarray:
    coded = encode_distinct(array)
    values = coded.dictionary
    hashes = _hash_values(values)
    if values.null_count:
        hashes[values.is_null().to_numpy(zero_copy_only=False)] = NULL_HASH
    result: np.ndarray = hashes[index_numbers(coded.indices)]
    return result


def _hash_values(values: pa.Array) -> np.ndarray:
    """A number for each value that depends on the value and not on the width of its type.

    1, 1.0 and true hash alike.
    """
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
    numbers32 = [
        0 if text is None else zlib.crc32(text if isinstance(text, bytes) else str(text).encode())
        for text in texts
    ]
    return _spread(np.array(numbers32, np.int64))


def _integers(values: pa.Array) -> np.ndarray:
    numbers: np.ndarray = values.fill_null(0).to_numpy(zero_copy_only=False)
    return numbers


def _spread(numbers: np.ndarray) -> np.ndarray:
    """Bits of numbers spread over 64, so that neighbours do not fall into partitions by a pattern."""
    mixed = numbers.astype(np.int64).view(np.uint64) + MIX
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
