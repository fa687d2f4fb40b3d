"""Blocks for processors with many calls in flight: enough for all calls, stragglers hold nothing up, suspects are alone."""

from __future__ import annotations

import numpy as np
import pytest

from daskpar.engine.rules.blame import NARROWING
from daskpar.engine.rules.dispatch import Dispatcher
from daskpar.engine.rules.in_flight_dispatch import (
    InFlightBlame,
    InFlightDispatcher,
    InFlightSizer,
    dispatcher_of,
)


def dispatcher(count=1000, in_flight=10, processors=2, nodes=("n",)):
    made = dispatcher_of([(0, count)], in_flight, 1.0, [])
    assert isinstance(made, InFlightDispatcher)
    for node in nodes:
        made.add_node(node, processors)
    return made


def settled(made, order, indices):
    return made.settle(order.block, "t", np.array(indices))


def test_without_calls_in_flight_nothing_is_different():
    assert type(dispatcher_of([(0, 5)], 0, 1.0, [])) is Dispatcher


@pytest.mark.parametrize(
    ("measured", "remaining", "processors", "expected"),
    [
        (None, 10_000, 2, 200),  # the first blocks fill all calls
        (None, 100, 2, 50),  # or share what there is
        ((200, 10.0), 10_000, 1, 3200),  # 50 ms each, 200 at a time; no more than 16 times what was measured
        ((200, 2000.0), 10_000, 1, 200),  # slow calls
        ((200, 10.0), 300, 2, 150),  # towards the end
        ((200, 10.0), 1, 2, 1),
    ],
)
def test_a_block_keeps_all_calls_of_a_processor_in_flight(measured, remaining, processors, expected):
    sizer = InFlightSizer(target=1.0)
    sizer.in_flight = 200
    if measured:
        sizer.measure(*measured)
    assert sizer.size(remaining=remaining, processors=processors) == expected


def test_a_straggler_keeps_no_other_blocks_from_its_node():
    made = dispatcher()
    orders = [order for _, order in made.orders()]
    assert sum(order.stop - order.start for order in orders) == 40  # two rounds for each processor
    for order in orders:
        assert settled(made, order, range(order.start + 1, order.stop)).all()  # one call of each hangs
    again = [order for _, order in made.orders()]
    assert sum(order.stop - order.start for order in again) >= 36
    assert set(made.blocks) >= {order.block for order in orders}


def test_the_load_of_a_node_is_what_is_due_from_it():
    made = dispatcher(nodes=("n", "m"))
    made.orders()
    first = next(number for number, block in made.blocks.items() if block.node == "n")
    due = made.blocks[first].due[0]
    made.release(first, "t", *due)
    made.end(first, "t")
    assert made._load["n"] < made._load["m"]
    assert made.lose_node("m") == 2
    made.requeue_lost_node("m", running=2)
    made.add_node("m", 2)
    assert made._load["m"] == 0


def test_suspects_run_in_smaller_and_smaller_groups_until_one_is_alone():
    made = dispatcher(count=64, in_flight=64, processors=1)
    guilty, rounds = 21, []
    while not made.finished:
        orders = [order for _, order in made.orders()]
        assert orders
        for order in orders:
            span = range(order.start, order.stop)
            if guilty not in span:
                assert settled(made, order, span).all()
                made.end(order.block, "t")
                continue
            rounds.append(len(span))
            if order.alone and len(span) == 1:  # it is charged
                settled(made, order, span)
                guilty = -1
            else:
                made.release(order.block, "t", order.start, order.stop)
                made.run_alone(order.start, order.stop, len(span))
            made.end(order.block, "t")
    assert rounds == [64, 4, 1]


def test_a_suspect_that_was_charged_is_alone_when_it_is_tried_again():
    made = dispatcher(count=4, in_flight=4, processors=1)
    ((_, order),) = made.orders()
    made.release(order.block, "t", 0, 4)
    made.run_alone(0, 4, 4)
    made.end(order.block, "t")
    alone = [one for _, one in made.orders()]
    assert [(one.start, one.stop, one.alone) for one in alone] == [(at, at + 1, True) for at in range(4)]
    settled(made, alone[2], [2])
    made.retry(2, 1)
    made.end(alone[2].block, "t")
    ((_, again),) = made.orders()
    assert (again.start, again.tries, again.alone) == (2, 1, True)


def test_short_calls_are_given_for_as_long_as_a_block_takes():
    made = dispatcher(count=100_000)
    made.sizer.measure(10_000, 10.0)  # a millisecond each
    assert sum(order.stop - order.start for _, order in made.orders()) >= 1000


def test_what_is_taken_out_is_no_load_any_more_and_keeps_its_tries():
    made = dispatcher(count=20)
    made.retry(30, 2)
    order = next(order for _, order in made.orders() if order.start == 30)
    before = made._load["n"]
    assert made.take_out(order.block, "t", 30) == 2
    assert made._load["n"] == before - 1
    assert made.take_out(order.block, "t", 30) is None
    assert made.take_out(12345, "t", 0) is None
    assert made._load["n"] == before - 1


def test_where_a_group_of_suspects_ends():
    blame = InFlightBlame()
    blame.suspect(10, 15, NARROWING * 3)
    assert [blame.end_of_piece(10, stop) for stop in (11, 12, 13, 14, 40)] == [11, 12, 13, 13, 13]
    assert blame.end_of_piece(13, 40) == 15  # no more of them lie there
    assert [blame.end_of_piece(5, stop) for stop in (10, 11, 40)] == [10, 10, 10]
    assert blame.end_of_piece(20, 40) == 40


def test_what_is_given_back_is_told_and_no_load_any_more():
    made = dispatcher(count=20)
    order = made.orders()[0][1]
    before = made._load["n"]
    assert made.release(order.block, "t", order.start, order.start + 2).requeued == 2
    assert made._load["n"] == before - 2
