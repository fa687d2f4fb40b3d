"""What a node knows of a processor with many calls in flight: what is due, and what has not begun."""

from __future__ import annotations

import pytest

from daskpar.processor.in_flight.in_flight_given import InFlightState, ranges
from daskpar.processor.protocol import BlockOrder


def order(block, start, stop, **more):
    return BlockOrder(block=block, token="t", start=start, stop=stop, **more)


def test_mini_batches_begin_in_the_order_in_which_they_were_given():
    state = InFlightState()
    state.add(order(1, 10, 15), 15)
    state.add(order(2, 50, 60), 55)
    assert (state.total, state.due, state.waiting) == (10, 10, 10)
    assert state.begun(7) and not state.begun(7) and not state.begun(3)
    assert (state.not_begun(1), state.not_begun(2)) == (range(0, 0), range(52, 55))
    assert state.take(1, [10, 11, 99]) == [10, 11]
    assert state.handed_back(2, 52, 55) == [52, 53, 54]
    assert (state.waiting, state.due) == (0, 5)
    state.add(order(3, 70, 72), 72)
    assert state.begun(8)
    assert state.not_begun(3) == range(71, 72)


def test_one_that_had_begun_and_could_not_reach_its_data_is_given_back_alone():
    state = InFlightState()
    state.add(order(1, 0, 5), 5)
    state.begun(2)
    assert state.handed_back(1, 1, 2) == [1]
    assert (state.not_begun(1), sorted(state.blocks[1].due)) == (range(2, 5), [0, 2, 3, 4])
    assert state.handed_back(9, 0, 1) == []
    assert not state.is_alone
    state.add(order(2, 7, 8, alone=True), 8)
    assert state.is_alone


@pytest.mark.parametrize(
    ("indices", "expected"),
    [([], []), ([3], [(3, 4)]), ([1, 2, 3, 7, 9, 10], [(1, 4), (7, 8), (9, 11)])],
)
def test_indices_as_ranges(indices, expected):
    assert list(ranges(indices)) == expected
