"""The rate of a step is shared among its nodes by the processors that ask, and never given out twice."""

from __future__ import annotations

import pytest

from daskpar.engine.rules.rate_shares import RateShares, shares


@pytest.mark.parametrize(
    ("asking", "expected"),
    [
        ({}, {}),
        ({"a": 0}, {"a": 0.0}),
        ({"a": 3}, {"a": 12.0}),
        ({"a": 1, "b": 1}, {"a": 6.0, "b": 6.0}),
        ({"a": 3, "b": 1}, {"a": 9.0, "b": 3.0}),
        ({"a": 2, "b": 0}, {"a": 12.0, "b": 0.0}),  # what is left at the end has the whole rate
    ],
)
def test_each_node_gets_its_share_by_the_processors_that_ask(asking, expected):
    assert shares(12.0, asking) == expected


def test_changes_are_told_and_what_gets_smaller_comes_first():
    rates = RateShares(12.0)
    assert rates.asks("a", 2) == {"a": 12.0}
    assert rates.asks("a", 2) == {}
    told = rates.asks("b", 1)
    assert list(told.items()) == [("a", 8.0), ("b", 4.0)]
    assert list(rates.asks("a", 1).items()) == [("a", 6.0), ("b", 6.0)]
    assert rates.lost("b") == {"a": 12.0}
    assert rates.lost("b") == {}
    assert rates.asks("a", 0) == {"a": 0.0}


def test_a_node_that_asks_for_nothing_is_told_nothing():
    of = RateShares(10.0)
    assert of.asks("a", 0) == {}
    assert of.asks("b", 2) == {"b": 10.0}
    assert of.asks("a", 3) == {"b": 4.0, "a": 6.0}  # what gets smaller first
    assert list(of.asks("a", 3)) == [] and list(of.asks("c", 5)) == ["a", "b", "c"]
