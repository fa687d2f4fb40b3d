"""What the processors of a node will want next, for those who fetch it."""

from __future__ import annotations

import pytest

from daskpar.processor.fetching.look_ahead import HANDED_SECONDS, LookAhead, upcoming


@pytest.mark.parametrize(
    ("running", "waiting", "order"),
    [
        ([], [], []),
        ([(1, 4)], [], [1, 2, 3]),
        ([(1, 3), (10, 12)], [], [1, 10, 2, 11]),
        ([(1, 1), (10, 13)], [(20, 22)], [10, 20, 11, 21, 12]),
        ([], [(5, 6), (7, 9)], [5, 7, 8]),
        ([(1, 2)], [(5, 7)], [1, 5, 6]),
    ],
)
def test_the_order_in_which_mini_batches_come(
    running: list[tuple[int, int]], waiting: list[tuple[int, int]], order: list[int]
) -> None:
    assert list(upcoming(running, waiting)) == order


def test_blocks_wait_are_handed_over_and_run() -> None:
    now = [100.0]
    ahead = LookAhead(lambda: now[0])

    def follows() -> list[int]:
        return list(ahead.following())

    ahead.waits([(0, 3), (3, 5), (5, 7)])
    assert follows() == [0, 1, 2, 3, 4, 5, 6]
    ahead.waits([(5, 7)])  # two went to processors, which have not asked yet: they come first
    assert follows() == [0, 1, 2, 3, 4, 5, 6]
    assert not ahead.runs("a", (1, 3))
    assert follows() == [1, 2, 3, 4, 5, 6]
    assert ahead.runs("a", (2, 3)), "one further"
    now[0] += HANDED_SECONDS  # nobody has asked for the other one: it was given back
    assert follows() == [2, 5, 6]
    assert not ahead.runs("a", (6, 7)), "another block"
    assert not ahead.runs("a", None)
    ahead.waits([])
    assert follows() == [5, 6]
    now[0] += HANDED_SECONDS
    assert follows() == [] and not ahead._handed
