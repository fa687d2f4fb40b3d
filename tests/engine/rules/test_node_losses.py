"""Nodes that come and go for nothing end the step; nodes that are lost while work is done, or that end in order, do not."""

from __future__ import annotations

import pytest

from daskpar.engine.rules.blame import LOSSES_AT_MOST
from daskpar.engine.rules.members import Member
from daskpar.engine.rules.node_losses import NodeLosses
from daskpar.processor.last_state import LastState


def member(number: int) -> Member:
    return Member(
        address=f"tcp://{number}", host="h", number=number, python="p", processors=1, gpus=(), threads=1
    )


def come_and_go(losses: NodeLosses, number: int, last_state: LastState | None = None) -> None:
    losses.node_joined(number, 1)
    losses.node_lost(f"tcp://{number}", member(number), 0)
    assert losses.last_state_known(f"tcp://{number}", number, last_state) is not None


def test_nodes_that_come_and_go_without_a_mini_batch_done_end_the_step():
    losses = NodeLosses()
    for number in range(LOSSES_AT_MOST):
        assert losses.verdict() == ""
        come_and_go(losses, number, LastState())
    assert losses.verdict().startswith(f"{LOSSES_AT_MOST} nodes were lost one after the other")


@pytest.mark.parametrize(
    "last_state",
    [LastState(running=frozenset({1})), LastState(writing=frozenset({1})), LastState(orderly=True)],
)
def test_a_node_that_ran_something_or_ended_in_order_did_not_come_for_nothing(last_state):
    losses = NodeLosses()
    for number in range(5 * LOSSES_AT_MOST):
        come_and_go(losses, number, last_state)
    assert losses.verdict() == ""


@pytest.mark.parametrize("last_state", [None, LastState()])
def test_a_mini_batch_done_between_begins_the_count_anew(last_state):
    losses = NodeLosses()
    for number in range(5 * LOSSES_AT_MOST):
        come_and_go(losses, number, last_state)
        if number % 2:
            losses.mini_batch_done()
    assert losses.verdict() == ""


def test_nodes_that_had_done_something_do_not_count_when_all_are_lost_at_once():
    losses = NodeLosses()
    for number in range(100):
        losses.node_joined(number, number + 1)
    losses.mini_batch_done()
    for number in range(100):
        losses.node_lost(f"tcp://{number}", member(number), 1)
        losses.last_state_known(f"tcp://{number}", None, None)
    assert losses.verdict() == ""


def test_all_nodes_of_a_large_cluster_may_die_once_before_it_is_hopeless():
    losses = NodeLosses()
    for number in range(50):
        losses.node_joined(number, number + 1)
    for number in range(50):
        losses.node_lost(f"tcp://{number}", member(number), 0)
        losses.last_state_known(f"tcp://{number}", number, LastState())
    assert losses.verdict() == ""


def test_the_last_state_of_an_earlier_node_at_an_address_is_not_that_of_the_next():
    losses = NodeLosses()
    losses.node_lost("tcp://1", member(1), 2)
    assert losses.last_state_known("tcp://1", 7, None) is None
    assert losses.last_state_known("tcp://2", None, None) is None
    found = losses.last_state_known("tcp://1", 1, None)
    assert found is not None and (found.node.number, found.ready) == (1, 2)
    assert losses.last_state_known("tcp://1", 1, None) is None


def test_a_large_cluster_that_dies_twice_for_nothing_is_hopeless():
    losses = NodeLosses()
    for number in range(100):
        losses.node_joined(number, min(number + 1, 50))
    for number in range(99):
        losses.node_lost(f"tcp://{number}", member(number), 0)
        losses.last_state_known(f"tcp://{number}", number, LastState())
    assert losses.verdict() == ""
    losses.node_lost("tcp://99", member(99), 0)
    losses.last_state_known("tcp://99", 99, None)
    assert losses.verdict().startswith("100 nodes were lost")


def test_nodes_that_had_done_something_do_not_count_when_they_are_lost_one_by_one():
    losses = NodeLosses()
    for number in range(100):
        losses.node_joined(number, 1)
    losses.mini_batch_done()
    for number in range(100):
        losses.node_lost(f"tcp://{number}", member(number), 1)
        losses.last_state_known(f"tcp://{number}", number, LastState())
    assert losses.verdict() == ""


def test_after_a_mini_batch_it_takes_as_many_again():
    losses = NodeLosses()
    for number in range(LOSSES_AT_MOST - 1):
        come_and_go(losses, number)
    losses.mini_batch_done()
    for number in range(LOSSES_AT_MOST, 2 * LOSSES_AT_MOST):
        assert losses.verdict() == ""
        come_and_go(losses, number)
    assert losses.verdict()
