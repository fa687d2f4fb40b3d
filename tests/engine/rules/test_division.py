"""Dividing a mini-batch: what is called, what is found, and how many calls that takes."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskpar.batches.records import RECORD
from daskpar.engine.rules.division import (
    Division,
    Span,
    Stage,
    halves,
    most_calls,
    tells_nothing_of_items,
    to_divide,
)
from daskpar.results import Reason, TryStatus


def run(division: Division, waiting: list[Span], bad: set[int], draw: random.Random) -> dict[Span, bool]:
    """Call pieces in any order until the division ends; the outcomes."""
    outcomes = {}
    while waiting and division.stage is Stage.OPEN:
        span = waiting.pop(draw.randrange(len(waiting)))
        good = not any(span[0] <= item < span[1] for item in bad)
        outcomes[span] = good
        waiting += division.ended(span, good=good)
    return outcomes


@st.composite
def mini_batches(draw):
    items = draw(st.integers(2, 700))
    bad = draw(st.sets(st.integers(0, items - 1), min_size=1, max_size=20))
    return items, bad, draw(st.integers(1, 20)), draw(st.randoms(use_true_random=False))


@given(mini_batches())
def test_exactly_the_bad_items_are_found_with_few_calls(case):
    items, bad, at_most, draw = case
    division = Division(items, at_most)
    run(division, division.begin(), bad, draw)
    assert division.calls <= most_calls(items, at_most) + 1
    if len(bad) > at_most:
        assert division.stage is Stage.GIVEN_UP
        return
    assert division.stage is Stage.DONE
    assert division.bad == bad
    assert division.calls <= most_calls(items, len(bad))
    covered = sorted([*division.good, *((item, item + 1) for item in bad)])
    assert [start for start, _ in covered] == [0, *(stop for _, stop in covered[:-1])]
    assert covered[-1][1] == items, "each item is in one piece"


@given(mini_batches(), st.integers(0, 200))
def test_a_division_goes_on_where_it_was_left(case, calls):
    items, bad, _, draw = case
    whole = Division(items, 20)
    outcomes = run(whole, whole.begin(), bad, draw)
    known = dict(list(outcomes.items())[:calls])
    restored = Division.restored(items, 20, known)
    assert not restored.open & known.keys()
    again = run(restored, sorted(restored.open), bad, draw)
    assert not again.keys() & known.keys(), "what is known is not called again"
    assert (restored.bad, restored.good, restored.calls) == (whole.bad, whole.good, whole.calls)


def test_only_what_failed_alone_is_called_again_once_it_is_mended():
    first = Division(50, 16)
    outcomes = run(first, first.begin(), {3, 4, 49}, random.Random(1))
    division = Division.restored(50, 16, outcomes, again=True)
    assert division.open == {(3, 4), (4, 5), (49, 50)}
    assert not run(division, sorted(division.open), {4}, random.Random(1))[4, 5]
    assert (division.stage, division.bad) == (Stage.DONE, {4})


def test_what_fails_only_together_is_given_up_in_the_end():
    division = Division(1024, 2)
    waiting = division.begin()
    while waiting and division.stage is Stage.OPEN:
        span = waiting.pop()
        waiting += division.ended(span, good=span[1] - span[0] == 1)
    assert division.stage is Stage.GIVEN_UP
    assert not division.bad
    assert division.calls == most_calls(1024, 2) + 1


def test_a_piece_whose_rows_are_lost_is_called_again():
    division = Division(4, 16)
    run(division, division.begin(), {0}, random.Random(1))
    assert division.lost((2, 4)) == [(2, 4)]
    assert division.stage is Stage.OPEN
    assert division.ended((2, 4), good=True) == []
    assert division.stage is Stage.DONE


def test_halves_cover_the_whole():
    assert halves((0, 2)) == ((0, 1), (1, 2))
    assert halves((3, 8)) == ((3, 5), (5, 8))


@pytest.mark.parametrize(
    ("status", "final", "reason", "items", "of_files", "of_rows"),
    [
        (TryStatus.FAILED, 1, Reason.EXCEPTION, 2, True, True),
        (TryStatus.FAILED, 1, Reason.TIMEOUT, 500, True, True),
        (TryStatus.FAILED, 1, Reason.DIED, 500, True, True),
        (TryStatus.FAILED, 1, Reason.MEMORY, 500, True, True),
        (TryStatus.FAILED, 1, Reason.SHORT, 500, True, True),
        (TryStatus.FAILED, 1, Reason.BAD_RETURN, 500, True, True),
        (TryStatus.FAILED, 1, Reason.INPUT_CHANGED, 500, True, False),
        (TryStatus.FAILED, 1, Reason.LOAD_ERROR, 500, False, False),
        (TryStatus.FAILED, 1, Reason.LOAD_TIMEOUT, 500, False, False),
        (TryStatus.FAILED, 1, Reason.LOST, 500, False, False),
        (TryStatus.FAILED, 0, Reason.EXCEPTION, 500, False, False),
        (TryStatus.FAILED, 1, Reason.EXCEPTION, 1, False, False),
        (TryStatus.SUCCEEDED, 1, Reason.NONE, 500, False, False),
        (TryStatus.EMPTY, 1, Reason.NONE, 0, False, False),
    ],
)
def test_which_tries_are_divided(status, final, reason, items, of_files, of_rows):
    record = np.zeros(1, RECORD)
    record["status"], record["final"], record["reason"], record["items"] = status, final, reason, items
    assert to_divide(record, files=True).tolist() == [of_files]
    assert to_divide(record, files=False).tolist() == [of_rows]


def test_a_good_piece_whose_rows_are_gone_is_called_again():
    division = Division(4, 20)
    first, second = division.begin()
    assert division.ended(first, good=True) == [] and division.calls == 1
    assert division.lost(first) == [first]
    assert (division.good, division.open, division.calls) == (set(), {first, second}, 0)


@pytest.mark.parametrize(
    ("items", "bad", "calls"),
    [(1, 1, 2), (2, 1, 2), (3, 1, 4), (5, 1, 6), (8, 1, 6), (9, 1, 8), (1025, 2, 44)],
)
def test_how_many_calls_it_may_cost(items, bad, calls):
    assert most_calls(items, bad) == calls


@pytest.mark.parametrize("reason", list(Reason))
def test_only_loading_rows_fails_for_all_of_a_mini_batch(reason):
    of_all = reason in (Reason.LOAD_ERROR, Reason.LOAD_TIMEOUT, Reason.INPUT_CHANGED)
    assert tells_nothing_of_items(reason, files=False) is of_all
    assert tells_nothing_of_items(reason, files=True) is False
