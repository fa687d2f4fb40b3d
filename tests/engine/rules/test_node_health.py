"""A broken node is known by what succeeds elsewhere of what has failed there."""

from __future__ import annotations

import pytest

from daskpar.engine.rules.node_health import NodeHealth
from daskpar.results import TryStatus

GOOD, BAD = TryStatus.SUCCEEDED, TryStatus.FAILED


def told(*events: tuple[str, int, int]) -> NodeHealth:
    health = NodeHealth()
    for node, index, status in events:
        health.ended(node, [(index, status)])
    return health


@pytest.mark.parametrize("proofs", [2, 3])
def test_what_fails_there_and_succeeds_elsewhere_shows_it(proofs):
    health = told(*(("a", i, BAD) for i in range(5)), *(("b", i, GOOD) for i in range(proofs)))
    assert health.is_broken("a", 1) == (proofs == 3)
    assert health.is_broken("b", 1) is False


def test_a_success_of_its_own_ends_the_row():
    health = told(*(("a", i, BAD) for i in range(5)), ("a", 7, GOOD), *(("b", i, GOOD) for i in range(5)))
    assert not health.is_broken("a", 1)
    assert health.failing == []


def test_what_fails_everywhere_is_the_mini_batches_fault():
    health = told(*((node, i, BAD) for i in range(50) for node in ("a", "b")), ("b", 99, GOOD))
    assert not health.is_broken("a", 1)


@pytest.mark.parametrize(
    ("processors", "row", "done", "failed", "broken"),
    [
        (1, 10, 10, 0, True),
        (1, 9, 10, 0, False),
        (1, 10, 9, 0, False),
        (1, 10, 10, 1, False),
        (8, 32, 100, 0, True),
        (8, 31, 100, 0, False),
    ],
)
def test_without_retries_a_long_row_beside_sound_nodes_shows_it(processors, row, done, failed, broken):
    health = told(
        *(("a", i, BAD) for i in range(row)),
        *(("b", 1000 + i, GOOD) for i in range(done)),
        *(("c", 2000 + i, BAD) for i in range(failed)),
    )
    assert health.is_broken("a", processors) == broken


def test_a_node_that_is_left_out_is_forgotten():
    health = told(("a", 1, BAD), ("a", 2, BAD))
    assert (health.failing, health.failing_of("a")) == (["a"], 2)
    health.forget("a")
    assert (health.failing, health.failing_of("a")) == ([], 0)


def test_mini_batches_without_a_row_say_nothing_about_a_node():
    health = told(("a", 1, TryStatus.EMPTY))
    assert health.failing == []
    health = told(*(("a", i, BAD) for i in range(5)), *(("b", i, TryStatus.EMPTY) for i in range(5)))
    assert (health.failing, health.is_broken("a", 1)) == (["a"], False)
