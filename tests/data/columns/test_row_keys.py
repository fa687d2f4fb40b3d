"""Groups of rows by keys: equal keys are one group, and rows keep their order."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from daskpar.data.columns.row_keys import group_rows, stable_order


def test_nan_and_null_are_not_the_same_key():
    table = pa.table({"key": pa.array([None, float("nan"), None, float("nan"), 0.0], pa.float64())})
    grouped = group_rows(table, ["key"])
    assert grouped.order.tolist() == [0, 2, 1, 3, 4]
    assert grouped.first.tolist() == [0, 1, 4]


@pytest.mark.parametrize("count", [1, 2, 1000, 1 << 16, (1 << 16) + 1, 1 << 20])
def test_stable_order_is_a_stable_sort(count):
    codes = np.random.default_rng(count).integers(0, count, 5000)
    codes[-1] = count - 1
    assert np.array_equal(stable_order(codes, count), np.argsort(codes, kind="stable"))


def test_no_rows_have_no_order():
    assert len(stable_order(np.zeros(0, np.int64), 0)) == 0
