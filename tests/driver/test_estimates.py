"""What some mini-batches say of the whole, and how sure that is."""

from __future__ import annotations

import math
import random

import pytest

from daskpar.driver.estimates import on_processors, total


def test_all_of_them_leave_nothing_to_guess():
    found = total([1.0, 2.0, 3.0], 3)
    assert (found.value, found.low, found.high, found.unsure) == (6, 6, 6, 0)


def test_one_of_many_says_nothing_of_the_range():
    found = total([2.0], 10)
    assert (found.value, found.low, found.high) == (20, 0, math.inf)


def test_what_was_seen_is_the_least():
    assert total([0.001, 0.001, 50.0], 100).low == pytest.approx(50.002)


def test_items_tell_large_from_small_ones():
    found = total([1.0, 10.0], 100, [10, 100], 5_500)
    assert found.value == pytest.approx(550)
    assert found.unsure == pytest.approx(0, abs=1e-9)


def test_the_range_holds_nineteen_times_out_of_twenty():
    random.seed(7)
    held = 0
    for _ in range(400):
        whole = [random.gauss(10, 3) for _ in range(200)]
        found = total(random.sample(whole, 5), 200)
        held += found.low <= sum(whole) <= found.high
    assert 0.90 < held / 400 < 0.99


@pytest.mark.parametrize(
    ("processors", "expected"),
    [(1, 101.0), (4, 26.0), (10, 11.0), (1000, 11.0)],
)
def test_more_processors_than_mini_batches_help_no_more(processors, expected):
    assert on_processors(total([10.0] * 10, 10), processors, 10, 1.0, 10.0).value == expected
