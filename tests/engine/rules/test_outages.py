"""How long nodes and mini-batches wait for data that is not reached, and when it has lasted."""

from __future__ import annotations

import pytest

from daskpar.engine.rules.outages import FIRST_PAUSE, LONGEST_PAUSE, Outages, pause


@pytest.mark.parametrize(
    ("failures", "seconds"),
    [
        (1, FIRST_PAUSE),
        (2, 2 * FIRST_PAUSE),
        (3, 4 * FIRST_PAUSE),
        (5, 16 * FIRST_PAUSE),
        (6, LONGEST_PAUSE),
        (5000, LONGEST_PAUSE),
    ],
)
def test_pauses_double_up_to_a_limit(failures: int, seconds: float) -> None:
    assert pause(failures) == seconds


def test_a_mini_batch_waits_and_is_said_to_be_due_once() -> None:
    outages = Outages()
    outages.failed("a", 7, "down", 100.0)
    assert outages.due(100.0 + FIRST_PAUSE / 2) == []
    assert outages.due(100.0 + FIRST_PAUSE) == [7]
    assert outages.due(200.0) == []


def test_a_node_waits_longer_each_time_until_it_reaches_data() -> None:
    outages = Outages()
    outages.failed("a", 1, "down", 0.0)
    assert outages.paused(FIRST_PAUSE / 2) == {"a"} and outages.paused(FIRST_PAUSE) == set()
    outages.failed("a", 2, "down", 10.0)
    assert outages.paused(10.0 + 1.5 * FIRST_PAUSE) == {"a"}
    assert outages.reached("a") and not outages.reached("a")
    outages.failed("a", 3, "down", 20.0)
    assert outages.paused(20.0 + FIRST_PAUSE) == set()


def test_processors_that_fail_at_one_time_count_once() -> None:
    outages = Outages()
    for index in range(8):
        outages.failed("a", index, "down", 0.0)
    assert outages.paused(FIRST_PAUSE) == set()


def test_a_failure_just_when_the_pause_is_over_is_a_new_one() -> None:
    outages = Outages()
    outages.failed("a", 1, "down", 0.0)
    outages.failed("a", 2, "down", FIRST_PAUSE)
    assert outages.paused(2 * FIRST_PAUSE) == {"a"} and outages.paused(3 * FIRST_PAUSE) == set()


def test_only_the_first_failure_of_a_node_is_new() -> None:
    outages = Outages()
    assert outages.failed("a", 1, "down", 0.0) and not outages.failed("a", 2, "down", 1.0)
    assert outages.failed("b", 1, "down", 2.0)
    outages.reached("a")
    assert outages.failed("a", 1, "down", 3.0)


def test_it_lasts_from_the_first_failure_after_the_last_success() -> None:
    outages = Outages()
    assert not outages.lasts(1e9, 300.0)
    outages.failed("a", 1, "down", 100.0)
    outages.failed("b", 2, "still down", 350.0)
    assert not outages.lasts(399.9, 300.0) and outages.lasts(400.0, 300.0)
    assert outages.trouble == "still down"
    outages.reached("b")
    assert not outages.lasts(1e9, 300.0)
    outages.failed("a", 1, "down", 500.0)
    assert not outages.lasts(799.9, 300.0) and outages.lasts(800.0, 300.0)


def test_any_tells_whether_there_is_something_to_do() -> None:
    outages = Outages()
    assert not outages.any
    outages.failed("a", 1, "down", 0.0)
    outages.reached("a")
    assert outages.any  # the mini-batch still waits
    outages.due(10.0)
    assert not outages.any
