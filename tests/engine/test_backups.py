"""Second copies as the driver starts them: when nothing waits, by what nodes tell, and also where one says nothing."""

from __future__ import annotations

import numpy as np
import pytest

from daskpar.engine.backups import Backups
from daskpar.engine.rules.backup_dispatch import BackupDispatcher
from daskpar.engine.rules.backup_rule import BackupRule
from daskpar.engine.rules.block_size import BlockSizer
from daskpar.engine.rules.counter import ThresholdCounter, Thresholds
from daskpar.events import LongCall
from daskpar.processor.protocol import LongCalls
from daskpar.results import Counts


class Step:
    """20 mini-batches of a second, of which `left` are under way, one block of one each; all else is done."""

    def __init__(self, left: int, nodes: dict[str, int]) -> None:
        self.dispatcher = BackupDispatcher([(20 - left, 20)], BlockSizer())
        for node, processors in nodes.items():
            self.dispatcher.add_node(node, processors)
        self.dispatcher.sizer.recent.extend([(1, 1.0)] * (20 - left))
        self.counter = ThresholdCounter(Thresholds(), Counts(planned=20, succeeded=20 - left))
        self.sent: list[tuple[str, int]] = []
        self.stopped: list[tuple[str, int]] = []
        self.gave_back: list[str] = []
        self.dropped: list[int] = []
        self.backups = Backups(
            dispatcher=self.dispatcher,
            counter=self.counter,
            send=lambda node, order: self.sent.append((node, order.start)),
            drop=self.dropped.append,
            stop=lambda node, found: self.stopped.extend((node, one.start) for one in found),
            give_back=self.gave_back.append,
            rule=BackupRule(),
        )
        self.given = {order.start: (node, order.block) for node, order in self.dispatcher.orders()}

    def tell(
        self, node: str, *running: int, at: float, doing: str = "run", limit: float | None = None
    ) -> None:
        """The node's clock is far from ours."""
        calls = [
            LongCall(processor=0, doing=doing, index=index, since=1_000_000.0, limit=limit)
            for index in running
        ]
        self.backups.long_calls(node, LongCalls(node=0, time=1_000_002.0, calls=tuple(calls)), at)


def test_a_straggler_gets_one_copy_elsewhere_and_the_loser_is_stopped():
    step = Step(1, {"a": 1, "b": 1})
    node, block = step.given[19]
    other = {"a": "b", "b": "a"}[node]
    step.tell(node, 19, at=100.0)  # it ran for 2 s then
    step.backups.look(102.5)
    assert step.sent == []
    for now in (103.0, 104.0, 105.0):
        step.backups.look(now)
    assert step.sent == [(other, 19)]
    [copy] = step.dispatcher.copies
    assert step.dispatcher.settle(copy, "t", np.array([19])).all()
    step.backups.look(105.1)
    assert step.stopped == [(node, 19)] and step.dropped == [block] and step.dispatcher.finished
    assert (step.counter.counts.copies, step.counter.counts.tries_failed) == (1, 0)


@pytest.mark.parametrize(
    ("doing", "limit", "more"),
    [("init", None, 0), ("run", 6.0, 0), ("run", None, 2)],
    ids=["init", "its timeout is near", "others wait"],
)
def test_no_copy_is_started_where_it_would_be_of_no_use(doing, limit, more):
    step = Step(1, {"a": 1, "b": 1})
    step.tell(step.given[19][0], 19, at=100.0, doing=doing, limit=limit)
    step.dispatcher.waiting = more
    step.backups.look(103.5)
    assert step.sent == []


def test_what_waits_behind_stragglers_is_given_back_where_others_idle():
    step = Step(2, {"a": 1})  # one runs, one waits
    step.dispatcher.add_node("b", 1)
    step.tell("a", 18, at=100.0)
    step.backups.look(100.0)
    step.backups.look(101.0)
    assert step.gave_back == ["a"] and step.sent == []


def test_blocks_of_a_node_that_says_nothing_are_copied_to_others_alone():
    step = Step(2, {"a": 2})
    step.backups.look(100.0)
    for now in (110.0, 130.0, 140.0):
        step.backups.look(now)
    assert step.sent == []  # nobody else is there
    step.dispatcher.add_node("b", 2)
    for now in (141.0, 150.0, 157.0):
        step.backups.look(now)
    assert step.sent == []
    step.backups.look(158.0)
    assert sorted(step.sent) == [("b", 18), ("b", 19)]
