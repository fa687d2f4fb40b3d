"""Columns of many mini-batches: the same, or their union in the order of the mini-batches."""

from __future__ import annotations

import functools
import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskpar.rows.columns import Columns, ColumnsDiffer


def of(index: int, *names: str) -> Columns:
    return Columns.of(names, index)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            of(7, "a", "c"),
            r"mini-batch 7 returned rows with the columns \['a', 'c'\], mini-batch 2 with \['a', 'b'\]",
        ),
        (of(7, "a"), r"the first lacks \['b'\]"),
        (of(7, "a", "b", "c"), r"the first has \['c'\] besides"),
        (of(7, "b", "a"), "has the same columns in another order"),
    ],
)
def test_columns_that_differ_are_told_with_both_mini_batches(found: Columns, said: str) -> None:
    with pytest.raises(ColumnsDiffer, match=said):
        of(2, "a", "b").joined(found, union=False)


def test_the_same_columns_change_nothing() -> None:
    assert of(2, "a", "b").joined(of(1, "a", "b"), union=False) == of(2, "a", "b")


def test_a_union_is_in_the_order_of_the_mini_batches() -> None:
    joined = of(5, "c", "b").joined(of(2, "a", "b"), union=True)
    assert (joined.names, joined.mini_batch) == (("a", "b", "c"), 2)


def test_many_columns_are_not_all_listed() -> None:
    with pytest.raises(ColumnsDiffer, match=r"… \(100 in all\)"):
        of(0, *map(str, range(100))).joined(of(1), union=False)


@given(st.lists(st.lists(st.sampled_from("abcdefg"), unique=True), min_size=1), st.randoms())
def test_a_union_does_not_depend_on_who_came_first(batches: list[list[str]], chance: random.Random) -> None:
    found = [of(index, *names) for index, names in enumerate(batches)]
    in_order = list(dict.fromkeys(name for names in batches for name in names))
    chance.shuffle(found)
    joined = functools.reduce(lambda one, other: one.joined(other, union=True), found)
    assert list(joined.names) == in_order
    assert Columns.from_text(joined.to_text()) == joined


def test_pieces_of_one_mini_batch_may_end_in_any_order():
    """The columns of a union must not depend on which piece of a divided mini-batch was first."""
    pieces = [Columns.of(names, 4) for names in (("x", "b"), ("x", "c"), ("b", "x", "a"))]
    found = set()
    for order in itertools.permutations(pieces):
        first, *others = order
        for other in others:
            first = first.joined(other, union=True)
        found.add((first.names, first.places))
    assert [names for names, _ in found] == [("b", "x", "c", "a")]
