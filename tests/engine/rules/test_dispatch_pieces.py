"""Pieces of divided mini-batches go through the dispatcher as mini-batches do: none is lost, none counts twice."""

from __future__ import annotations

import numpy as np
import pytest

from daskpar.engine.rules.blame import LOSSES
from daskpar.engine.rules.block_size import BlockSizer
from daskpar.engine.rules.dispatch import Dispatcher, Piece
from daskpar.processor.last_state import LastState


@pytest.fixture
def made() -> Dispatcher:
    """One mini-batch under way, number 7, and one processor that is free."""
    found = Dispatcher([(8, 9)], BlockSizer())
    found.add_node("a", 1)
    return found


def pieces(orders) -> list[tuple[int, tuple[int, int] | None]]:
    return [(order.start, order.piece) for _, order in orders]


def accepted(made: Dispatcher, order) -> bool:
    return bool(made.settle(order.block, "t", np.array([order.start])).any())


def test_they_come_first_in_order_and_as_nodes_know_them(made):
    made.add_pieces([Piece(7, 0, 5), Piece(7, 5, 10)], tries=2)
    orders = made.orders()
    assert pieces(orders) == [(7, (0, 5)), (7, (5, 10))]
    assert {(order.stop, order.tries, order.is_last_try(2)) for _, order in orders} == {(8, 2, True)}
    assert [made.piece_of(order.block) for _, order in orders] == [Piece(7, 0, 5), Piece(7, 5, 10)]
    assert all(accepted(made, order) for _, order in orders)
    assert not any(accepted(made, order) for _, order in orders), "each once"
    for _, order in orders:
        made.end(order.block, "t")
    assert pieces(made.orders()) == [(8, None)]


def test_a_mini_batch_is_never_taken_for_a_piece():
    made = Dispatcher([(0, 2)], BlockSizer())
    made.add_node("a", 2)
    made.add_pieces([Piece(7, 0, 5), Piece(7, 5, 10)])
    assert pieces(made.orders()) == [(7, (0, 5)), (7, (5, 10)), (0, None), (1, None)]
    assert made.piece_of(1000) is None, "a block that is over"


def test_what_a_node_gives_back_comes_again(made):
    made.add_pieces([Piece(7, 0, 5)])
    (_, order), *_ = made.orders()
    assert made.release(order.block, "t", 7, 8).requeued == 1
    made.end(order.block, "t")
    assert pieces(made.orders())[0] == (7, (0, 5))


def test_a_held_piece_is_let_go_as_itself(made):
    made.add_pieces([Piece(7, 0, 5)], tries=1)
    (_, order), *_ = made.orders()
    key = made.key_of(order.block, 7)
    assert key != 7 and made.index_of(key) == 7 and made.index_of(8) == 8
    assert made.take_out(order.block, "t", 7) == 1
    made.hold(key, 1)
    made.end(order.block, "t")
    assert not made.finished
    made.let_go(key)
    assert (7, (0, 5)) in pieces(made.orders())


def test_a_piece_that_takes_nodes_down_is_named_by_its_key(made):
    made.add_pieces([Piece(7, 0, 5)])
    for loss in range(1, LOSSES + 1):
        orders = made.orders()
        order = next(order for _, order in orders if order.piece)
        assert made.owns(order.block, "t")
        key = made.key_of(order.block, 7)
        running = made.lose_node("a")
        lost = made.requeue_lost_node("a", running=running, last_state=LastState(running=frozenset({7})))
        assert lost.failed == ((key,) if loss == LOSSES else ())
        assert lost.suspects == (7,)
        made.add_node("a", 1)


def test_pieces_that_are_dropped_are_neither_run_nor_heard(made):
    made.add_pieces([Piece(7, 0, 5), Piece(7, 5, 10), Piece(7, 10, 15), Piece(6, 0, 1)])
    under_way = made.orders()
    assert len(under_way) == 2
    made.drop_pieces(7)
    assert not any(accepted(made, order) for _, order in under_way)
    for _, order in under_way:
        made.end(order.block, "t")
    assert pieces(made.orders()) == [(6, (0, 1)), (8, None)]
    assert made.waiting == 0
