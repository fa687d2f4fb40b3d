"""Keys as numbers: equal keys have equal numbers, in every process and whatever the width of their type."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from daskpar.batches.key_partition import partition_of_rows

MANY = 1 << 16


def numbers(values, kind=None):
    table = pa.table({"key": pa.array(values, kind)})
    return partition_of_rows(table, ["key"], MANY).tolist()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (([1, None, -5], pa.int8()), ([1, None, -5], pa.int64())),
        (([1, 2, None], pa.int64()), ([1.0, 2.0, None], pa.float64())),
        (([0.5, float("nan")], pa.float32()), ([0.5, float("nan")], pa.float64())),
        (([0.0], pa.float64()), ([-0.0], pa.float64())),
        ((["a", None], pa.string()), (["a", None], pa.large_string())),
        ((["a", "b", "a"], pa.string()), (pa.array(["a", "b", "a"]).dictionary_encode(), None)),
        (([10**6], pa.timestamp("us")), ([10**9], pa.timestamp("ns"))),
        (([None], pa.null()), ([None], pa.string())),
    ],
)
def test_equal_keys_fall_into_one_partition(one, other):
    assert numbers(*one) == numbers(*other)


def test_partitions_are_even():
    for values in (
        range(100_000),
        [f"store {k}" for k in range(100_000)],
        np.arange(100_000) * 1024,
        np.arange(100_000) / 8,
    ):
        counts = np.bincount(partition_of_rows(pa.table({"key": pa.array(values)}), ["key"], 8))
        assert counts.min() > 0.9 * counts.max()


def test_the_order_of_keys_matters_to_the_number():
    table = pa.table({"a": ["x", "y"], "b": ["y", "x"]})
    first, second = partition_of_rows(table, ["a", "b"], MANY).tolist()
    assert first != second


def test_partitions_are_the_same_in_every_process():
    code = (
        "import pyarrow as pa; from daskpar.batches.key_partition import partition_of_rows as p;"
        "print(p(pa.table({'a': ['x', None, 'é'], 'b': [1.5, -0.0, None]}), ['a', 'b'], 1000).tolist())"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        for seed in ("1", "2")
    ]
    assert runs[0].stdout == runs[1].stdout
