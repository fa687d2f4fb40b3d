"""Nodes that come and go for nothing end the step; nodes that are lost while work is done, or that end in order, do not."""

from __future__ import annotations

import pytest

from daskpar.engine.rules.blame import LOSSES_AT_MOST
from daskpar.engine.rules.members import Member
from daskpar.engine.rules.node_losses import Losses
from daskpar.processor.last_state import LastState


def member(number: int) -> Member:
    return Member(
        address=f"tcp://{number}", host="h", number=number, python="p", processors=1, gpus=(), threads=1
    )


def come_and_go(losses: Losses, number: int, words: LastState | None = None) -> None:
    losses.joined(number, 1)
    losses.lost(f"tcp://{number}", member(number), 0)
    assert losses.known(f"tcp://{number}", number, words) is not None


def test_nodes_that_come_and_go_without_a_mini_batch_done_end_the_step():
    losses = Losses()
    for number in range(LOSSES_AT_MOST):
        assert losses.verdict() == ""
        come_and_go(losses, number, LastState())
    assert losses.verdict().startswith(f"{LOSSES_AT_MOST} nodes were lost one after the other")


@pytest.mark.parametrize(
    "words", [LastState(running=frozenset({1})), LastState(writing=frozenset({1})), LastState(orderly=True)]
)
def test_a_node_that_ran_something_or_ended_in_order_did_not_come_for_nothing(words):
    losses = Losses()
    for number in range(5 * LOSSES_AT_MOST):
        come_and_go(losses, number, words)
    assert losses.verdict() == ""


@pytest.mark.parametrize("words", [None, LastState()])
def test_a_mini_batch_done_between_begins_the_count_anew(words):
    losses = Losses()
    for number in range(5 * LOSSES_AT_MOST):
        come_and_go(losses, number, words)
        if number % 2:
            losses.done()
    assert losses.verdict() == ""


def test_nodes_that_had_done_something_do_not_count_when_all_are_lost_at_once():
    losses = Losses()
    for number in range(100):
        losses.joined(number, number + 1)
    losses.done()
    for number in range(100):
        losses.lost(f"tcp://{number}", member(number), 1)
        losses.known(f"tcp://{number}", None, None)
    assert losses.verdict() == ""


def test_all_nodes_of_a_large_cluster_may_die_once_before_it_is_hopeless():
    losses = Losses()
    for number in range(50):
        losses.joined(number, number + 1)
    for number in range(50):
        losses.lost(f"tcp://{number}", member(number), 0)
        losses.known(f"tcp://{number}", number, LastState())
    assert losses.verdict() == ""


def test_words_of_an_earlier_node_at_an_address_are_not_those_of_the_next():
    losses = Losses()
    losses.lost("tcp://1", member(1), 2)
    assert losses.known("tcp://1", 7, None) is None
    assert losses.known("tcp://2", None, None) is None
    found = losses.known("tcp://1", 1, None)
    assert found is not None and (found.node.number, found.running) == (1, 2)
    assert losses.known("tcp://1", 1, None) is None
