"""The numbers in the table of mini-batches: three digits that count, and no others in their text."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskpar.reports.mini_batch_rows import _rounded


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.0"),
        (0.0123456, "0.0123"),
        (0.3, "0.3"),
        (1.0, "1.0"),
        (9.999, "10.0"),
        (86_399.5, "86400.0"),
        (1234.5, "1230.0"),
        (8.35e-05, "8.35e-05"),
        (1e-12, "0.0"),
    ],
)
def test_three_digits_count(seconds: float, text: str) -> None:
    assert list(map(repr, _rounded(np.array([seconds])))) == [text]


@given(st.lists(st.floats(1e-9, 1e9)))
def test_each_is_the_nearest_number_of_three_digits(seconds: list[float]) -> None:
    for found, given_ in zip(_rounded(np.array(seconds, np.float64)), seconds, strict=True):
        assert found == float(f"{found:.2e}")
        assert found == pytest.approx(given_, rel=5.1e-3)
