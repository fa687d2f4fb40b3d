"""What a function may return where rows have names."""

from __future__ import annotations

import dataclasses
import datetime
from collections import namedtuple
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from daskpar.processor.named_returns import named

Point = namedtuple("Point", "x y")


@dataclasses.dataclass
class Pair:
    a: int


@pytest.mark.parametrize(
    ("returned", "rows"),
    [
        (3, [{"value": 3}]),
        (True, [{"value": True}]),
        ("text", [{"value": "text"}]),
        (np.float32(1.5), [{"value": 1.5}]),
        (Decimal("1.50"), [{"value": Decimal("1.50")}]),
        (datetime.date(2026, 1, 31), [{"value": datetime.date(2026, 1, 31)}]),
        ({"n": 1}, [{"n": 1}]),
        ({}, [{}]),
        ([], []),
        ([1, None, "x"], [{"value": 1}, {"value": None}, {"value": "x"}]),
        ((1, 2), [{"value": 1}, {"value": 2}]),
        ([{"a": 1}, {"a": 2}], [{"a": 1}, {"a": 2}]),
        ([(1, 2), {3}], [{"value": [1, 2]}, {"value": [3]}]),
        ((value for value in "ab"), [{"value": "a"}, {"value": "b"}]),
        (np.array([1, 2]), [{"value": 1}, {"value": 2}]),
        (np.array([[1, 2]]), [{"value": [1, 2]}]),
        ([np.array([1.5]), np.int64(2)], [{"value": [1.5]}, {"value": 2}]),
        (Point(1, 2), [Point(1, 2)]),
        ([Point(1, 2)], [Point(1, 2)]),
        (Pair(1), [Pair(1)]),
    ],
)  # fmt: skip
def test_values_and_mappings_become_rows(returned, rows):
    assert named(returned, "f") == rows


FRAME = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})


@pytest.mark.parametrize(
    ("returned", "frame"),
    [
        (FRAME, FRAME),
        (FRAME.set_index("b"), pd.DataFrame({"b": ["x", "y"], "a": [1, 2]})),
        (FRAME.groupby("b").a.sum(), pd.DataFrame({"b": ["x", "y"], "a": [1, 2]})),
        (pd.Series([1, 2]), pd.DataFrame({"value": [1, 2]})),
        (pd.Series([1, 2], name="n"), pd.DataFrame({"n": [1, 2]})),
        ({"a": [1, 2], "b": np.array(["x", "y"])}, FRAME),
        ([FRAME, FRAME], pd.concat([FRAME, FRAME], ignore_index=True)),
    ],
)
def test_frames_keep_an_index_that_has_a_name(returned, frame):
    pd.testing.assert_frame_equal(named(returned, "f"), frame, check_dtype=False)


def test_nothing_is_told():
    with pytest.raises(TypeError, match=r"score\(\) returned None: return rows .* or pass format=None"):
        named(None, "score")
