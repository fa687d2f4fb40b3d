"""What a return of run() means, by the table of the design."""

from __future__ import annotations

from collections import deque

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskpar.processor.return_check import compare_counts, why_not_countable
from daskpar.results import Reason, TryStatus


@pytest.mark.parametrize(
    "returned",
    [
     [], [1], (), (1,), np.zeros(3), np.zeros((2, 2)), pd.DataFrame({"a": [1]}), pd.Series([1]), iter([1]), (x for x in ()), {1, 2},
     deque([1]),
     range(3), pd.Index([1])],
)  # fmt: skip
def test_what_has_elements_can_be_counted(returned):
    assert why_not_countable(returned) == ""


@pytest.mark.parametrize(
    "returned",
    [
        None,
        "text",
        b"bytes",
        bytearray(b"x"),
        {"a": 1},
        5,
        1.5,
        True,
        np.float64(1),
        np.array(1),
        object(),
        print,
    ],
)
def test_what_has_none_is_refused_with_what_to_return(returned):
    assert "return a DataFrame, list" in why_not_countable(returned)


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_the_gap_is_what_has_failed(items, returned):
    result = compare_counts(items=items, returned=returned)
    assert result.failed_items == max(0, items - returned)
    assert (result.status, result.reason) == (
        (TryStatus.SUCCEEDED, Reason.NONE) if returned >= items else (TryStatus.FAILED, Reason.SHORT)
    )
    assert bool(result.message) == (returned < items)


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (None, "run() returned None: "),
        ("text", "run() returned one str: "),
        ({"a": 1}, "run() returned a mapping (dict): "),
        (5, "run() returned a int, which has no number of elements: "),
    ],
)
def test_it_is_named(returned, words):
    assert why_not_countable(returned).startswith(words)
