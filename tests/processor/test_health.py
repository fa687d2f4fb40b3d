"""A broken process is told from bad mini-batches by what the next calls show."""

from __future__ import annotations

from dataclasses import replace

import pytest

from daskpar.processor import health as module
from daskpar.processor.health import FRUITLESS, LONGEST_ROW, ROW, Health, row_by_chance
from daskpar.processor.protocol import BlockOrder
from daskpar.results import TryStatus

GOOD, BAD, EMPTY = TryStatus.SUCCEEDED, TryStatus.FAILED, TryStatus.EMPTY
ONE, OTHER = 1, 2


def order(index: int, *, tries: int = 0, repeated: bool = False) -> BlockOrder:
    return BlockOrder(block=0, token="", start=index, stop=index + 1, tries=tries, repeated=repeated)


def fail(health: Health, key: int, *indices: int) -> set[int]:
    return health.ended(key, [(index, BAD) for index in indices])


def succeed(health: Health, key: int, *indices: int) -> None:
    health.ended(key, [(index, GOOD) for index in indices])


@pytest.mark.parametrize(
    ("tries", "in_doubt"),
    [
        ([(0, GOOD), (1, BAD)], set()),
        ([(0, GOOD), (1, BAD), (2, BAD)], {2}),
        ([(0, GOOD), (1, BAD), (2, BAD), (3, BAD)], {2, 3}),
        ([(0, GOOD), (1, BAD), (2, GOOD), (3, BAD)], set()),
        ([(0, GOOD), (1, BAD), (1, BAD)], set()),
        ([(0, GOOD), (1, BAD), (2, EMPTY), (3, BAD)], {3}),
        ([(0, BAD), (1, BAD)], {1}),
    ],
    ids=[
        "first of a row",
        "second",
        "third too",
        "success between",
        "the same",
        "empty between",
        "never worked",
    ],
)
def test_only_what_fails_behind_another_is_in_doubt(tries, in_doubt):
    assert Health().ended(ONE, tries) == in_doubt


@pytest.mark.parametrize("row", [1, ROW - 1, ROW, ROW + 1])
def test_a_row_of_different_mini_batches_looks_broken(row):
    health = Health()
    succeed(health, ONE, 100)
    fail(health, ONE, *range(row))
    assert health.looks_broken(ONE) == (row >= ROW)


def test_one_mini_batch_that_fails_again_and_again_does_not():
    health = Health()
    fail(health, ONE, *[0] * 10)
    assert not health.looks_broken(ONE)


def test_replacing_in_vain_doubles_the_row_and_help_halves_it_again():
    health = Health()
    fail(health, ONE, 0, 1, 2)
    health.replaced(ONE)
    fail(health, OTHER, 3, 4, 5)
    assert not health.looks_broken(OTHER)
    fail(health, OTHER, 6, 7, 8)
    assert health.looks_broken(OTHER)
    succeed(health, 3, 1)
    fail(health, 3, 10, 11, 12)
    assert health.looks_broken(3)


def test_a_script_that_always_fails_is_soon_believed():
    health = Health()
    for key in range(FRUITLESS):
        assert fail(health, key, 1000 * key, 1000 * key + 1)
        health.replaced(key)
        health.forget(key)
    assert fail(health, 99, 1, 2, 3) == set()
    succeed(health, 98, 7)
    assert fail(health, 99, 4) == {4}, "others succeed meanwhile"


@pytest.mark.parametrize(
    ("failed", "tries", "row"),
    [(0, 0, ROW), (0, 1000, ROW), (100, 1000, ROW), (101, 1000, 4), (300, 1000, 6), (500, 998, 10), (1000, 1000, LONGEST_ROW)],
)  # fmt: skip
def test_what_fails_often_anyway_needs_a_longer_row(failed, tries, row):
    assert row_by_chance(failed, tries) == row


def test_failures_of_replaced_processes_are_not_usual_ones():
    health = Health()
    for turn in range(10):
        succeed(health, turn, 100 * turn)
        fail(health, turn, *range(100 * turn + 1, 100 * turn + 90))
        assert health.looks_broken(turn)
        health.replaced(turn)
        succeed(health, 50 + turn, 100 * turn + 1)


def test_a_retry_runs_where_the_last_call_succeeded_or_none_was():
    health = Health()
    retry, fresh = order(1, tries=1), order(2)
    assert health.fits(ONE, retry)
    fail(health, ONE, 1)
    assert not health.fits(ONE, retry)
    assert not health.fits(ONE, order(3, repeated=True))
    assert health.fits(ONE, fresh)
    succeed(health, ONE, 2)
    assert health.fits(ONE, retry)


def breaks_after_a_while(health: Health, key: int, first: int, *behind: int) -> None:
    """A process fails at `first` and all behind it, is replaced, and a fresh one succeeds with the last of them."""
    succeed(health, key, first - 1)
    fail(health, key, first, *behind)
    health.replaced(key)
    succeed(health, key + 1000, behind[-1])


@pytest.mark.parametrize("broke", [True, False], ids=["it was replaced", "it may be breaking"])
def test_a_last_try_of_what_a_breaking_process_began_its_row_with_is_for_a_fresh_process(broke):
    health, retry = Health(), order(20, tries=2)
    breaks_after_a_while(health, ONE, 10, 11, 12)
    succeed(health, OTHER, 19)
    fail(health, OTHER, 20)
    if broke:
        fail(health, OTHER, 21, 22)
        health.replaced(OTHER)
    succeed(health, 3, 30)
    assert health.fits(3, retry), "a try that is not the last one may be spent"
    assert not health.fits(3, retry, last=True)
    assert health.is_worth_a_fresh_process(3, retry, last=True, alone=True)
    assert health.fits(4, retry, last=True)
    assert health.fits(3, order(40, tries=2), last=True), "nothing speaks for this one"


def test_it_is_not_where_the_process_went_on_well_or_fresh_ones_have_never_helped():
    health, retry = Health(), order(20, tries=2)
    succeed(health, OTHER, 19)
    fail(health, OTHER, 20)
    succeed(health, 3, 30)
    assert health.fits(3, retry, last=True), "no process has broken yet"
    breaks_after_a_while(health, ONE, 10, 11, 12)
    assert not health.fits(3, retry, last=True)
    succeed(health, OTHER, 21)
    assert health.fits(3, retry, last=True), "its process is sound"


@pytest.mark.parametrize(
    ("failed", "worked", "alone", "last", "replaced"),
    [
        ((1,), True, True, False, False),
        ((1,), True, True, True, True),
        ((1,), False, True, True, False),
        ((2, 1), True, True, False, True),
        ((2,), True, True, False, True),
        ((1,), True, False, False, True),
    ],
    ids=[
        "alone, tries left",
        "alone, the last try",
        "alone, never worked",
        "alone, another failed too",
        "alone, another failed",
        "others are busy",
    ],
)
def test_where_only_a_retry_is_left_to_do(failed, worked, alone, last, replaced):
    health = Health()
    if worked:
        succeed(health, ONE, 0)
    fail(health, ONE, *failed)
    assert health.is_worth_a_fresh_process(ONE, order(1, tries=1), last=last, alone=alone) == replaced


def test_a_fresh_process_gets_first_what_is_least_to_blame():
    health = Health()
    succeed(health, ONE, 9)
    fail(health, ONE, 0, 1, 2)
    health.replaced(ONE)
    assert health.on_trial(OTHER) == [2, 1, 0]
    fail(health, OTHER, 2)
    assert health.on_trial(OTHER) == [], "it is fresh no more"
    health.replaced(OTHER)
    assert 2 not in health.on_trial(3)[:2]
    succeed(health, 3, 1)
    assert health.on_trial(4) == [0, 2]


def test_what_fails_on_the_way_to_its_end_is_on_trial_too():
    health = Health()
    fail(health, ONE, 0, 1, 2)
    health.replaced(ONE)
    fail(health, ONE, 3)
    assert health.on_trial(OTHER)[0] == 3
    succeed(health, OTHER, 3)
    for key in range(10, 10 + 2 * FRUITLESS):
        health.replaced(key)
    assert fail(health, 99, 7, 8) == {8}, "replacing has helped before"


def test_successes_in_bulk_count_where_nothing_is_in_a_row():
    health = Health()
    assert health.succeeded(ONE, 1000)
    fail(health, ONE, 1)
    assert not health.succeeded(ONE, 5), "which they were matters now"


def test_pieces_of_a_divided_mini_batch_are_given_to_sound_processes() -> None:
    """An item only where the last call has succeeded, a larger piece where not all of the last few have failed."""
    health = Health()
    item, larger = replace(order(5), piece=(3, 4)), replace(order(5), piece=(0, 4))
    assert health.fits(1, item) and health.fits(1, larger)
    for failures in range(1, ROW + 1):
        health.ended(1, [(5, TryStatus.FAILED)])
        assert not health.fits(1, item)
        assert health.fits(1, larger) == (failures < ROW)
    assert health.is_worth_a_fresh_process(1, item, last=True, alone=True)
    health.ended(1, [(5, TryStatus.SUCCEEDED)])
    assert health.fits(1, item) and health.fits(1, larger)


@pytest.mark.parametrize(
    ("clocks", "broken"),
    [
        ([(0.0, 1.0), (0.1, 1.1), (0.2, 1.2), (0.3, 1.2), (0.9, 1.3)], False),
        ([(0.9, 1.3), (0.0, 1.0), (0.1, 1.1), (0.2, 1.2), (0.3, 1.2)], False),
        ([(0.0, 1.0), (0.1, 1.1), (1.0, 1.2), (1.1, 1.3)], False),
        ([(0.0, 1.0), (0.1, 1.1), (1.0, 1.2), (1.1, 1.3), (1.3, 1.4)], True),
        ([(0.0, 1.0), (1.0, 1.1), (1.1, 1.2)], True),
    ],
    ids=["an outage", "an outage, in another order", "two moments", "three moments", "one by one"],
)
def test_calls_that_fail_in_flight_together_are_one_sign(clocks, broken):
    health = Health()
    succeed(health, OTHER, *range(100, 103))
    succeed(health, ONE, 99)
    tries = [(index, BAD) for index in range(len(clocks))]
    in_doubt = health.ended(ONE, tries, clocks)
    assert in_doubt == set(range(1, len(clocks)))  # any of them may be a victim all the same
    assert health.looks_broken(ONE) is broken


def test_a_success_begins_a_new_count_of_signs():
    health = Health()
    succeed(health, ONE, 99)
    for first in (0, 10, 20, 30):
        health.ended(ONE, [(first, BAD), (first + 1, GOOD)], [(0.0, 1.0), (0.0, 1.0)])
        assert not health.looks_broken(ONE)


def test_where_many_fail_by_themselves_a_row_has_to_be_longer():
    health = Health()
    for index in range(0, 200, 2):
        fail(health, ONE, index)
        succeed(health, ONE, index + 1)
    fail(health, ONE, *range(1000, 1000 + ROW))
    assert not health.looks_broken(ONE)
    fail(health, ONE, *range(2000, 2000 + row_by_chance(100, 200)))
    assert health.looks_broken(ONE)


def test_what_fails_in_a_sound_process_too_is_on_trial_no_more():
    health = Health()
    succeed(health, ONE, 100)
    fail(health, ONE, 0, 1)
    health.replaced(ONE)
    health.forget(ONE)
    assert health.row(ONE) == 0
    for index in (0, 1):
        assert not health.succeeded(OTHER, 1)
        succeed(health, OTHER, 50 + index)
        fail(health, OTHER, index)
        succeed(health, OTHER, 60 + index)
    assert health.succeeded(OTHER, 1)


def test_a_process_may_be_broken_where_others_have_succeeded_since_its_row_began():
    health = Health()
    succeed(health, OTHER, 100)
    fail(health, ONE, 0)
    succeed(health, OTHER, 101)
    for key in range(10, 10 + FRUITLESS):
        health.replaced(key)
    assert fail(health, ONE, 1) == {1}
    assert fail(health, 3, 0, 1) == set(), "nothing has succeeded since that row began"


def test_no_more_is_kept_on_trial_than_fits(monkeypatch):
    monkeypatch.setattr(module, "MOST_KEPT", 3)
    health = Health()
    for key in range(3):
        fail(health, key, 2 * key, 2 * key + 1)
        health.replaced(key)
    assert sorted(health.on_trial(99)) == [4, 5]
    fail(health, 50, *range(10, 20))
    assert health.row(50) == 3


def test_what_failed_in_as_many_processes_is_tried_the_later_first():
    health = Health()
    fail(health, ONE, 0)
    health.replaced(ONE)
    fail(health, ONE, 3)  # it was in the middle of its block
    fail(health, OTHER, 5)
    health.replaced(OTHER)
    assert health.on_trial(99) == [5, 3, 0]
