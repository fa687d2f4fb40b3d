"""Takes what nodes report of mini-batches: commits it, counts it, and queues again what is to be retried.

Whether a failed try is the last one is decided in the processor (`BlockOrder.is_last_try`) and recorded.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from time import time

import numpy as np

from daskpar.batches.records import unpack
from daskpar.data.notices import LossCounter
from daskpar.engine.execution_result import Commit
from daskpar.engine.message_events import failed_record, given_up_record
from daskpar.engine.rules.counter import ThresholdCounter
from daskpar.engine.rules.dispatch import Dispatcher
from daskpar.engine.rules.gathering import Processor, Tally
from daskpar.engine.rules.node_health import NodeHealth
from daskpar.events import Event, TriesEnded
from daskpar.processor.protocol import Flushed, Released
from daskpar.results import Failure, InitFailed, Reason, TryStatus, first_that_cost

logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class TryResults:
    """The ended tries of one step; or of an `internal` pass over its input: no event is published then."""

    step: str
    dispatcher: Dispatcher
    counter: ThresholdCounter
    commit: Commit
    publish: Callable[[Event], None]
    charged_items: Callable[[int], int]
    """Items of a mini-batch that was lost for good."""
    describe: Callable[[int], str] = lambda _: ""
    """Its items, in words."""
    log: str = ""
    """Path of the log that has a line for each failure."""
    internal: bool = False
    first_failure: Failure | InitFailed | None = None
    """As `first_that_cost` finds it."""
    input_changed: int = 0
    """Mini-batches that failed because a file was not what was planned."""
    losses: LossCounter = field(default_factory=LossCounter)
    """Values that were lost or are doubtful, of all processors."""
    node_health: NodeHealth = field(default_factory=NodeHealth)
    tallies: dict[Processor, Tally] = field(default_factory=dict)
    """Tries of each processor."""

    def flushed(self, flushed: Flushed, address: str = "") -> bool:
        """A processor of the node at `address` has ended some mini-batches; whether any of them counts."""
        records = unpack(flushed.records)
        accepted = self.dispatcher.settle(flushed.block, flushed.token, records["index"])
        if not accepted.any():
            logger.info("refused %d results of block %d: given to another since", len(records), flushed.block)
            return False
        if not accepted.all():
            flushed = replace(flushed, records=records[accepted].tobytes())
        records = self.commit(flushed)
        for record in records[records["final"] == 0]:
            index, tries = int(record["index"]), int(record["tries"])
            charged = index not in flushed.uncharged
            self.dispatcher.retry(index, tries + charged, failed_on=address, charged=charged)
        self._count_by_place(records, address)
        self.counter.add(records)
        self.input_changed += int(np.count_nonzero(records["reason"] == Reason.INPUT_CHANGED))
        self.dispatcher.sizer.measure(len(records), float(records["elapsed"].sum()))
        for failure in flushed.failures:
            self.note_failure(failure)
        self.losses.add_notices(flushed.notices)
        if not self.internal:
            self._publish(records, flushed.failures)
        return True

    def _count_by_place(self, records: np.ndarray, address: str) -> None:
        """Count where tries failed; the records of a flush are all of one processor."""
        if not len(records):
            return
        failed = int(
            np.count_nonzero(
                (records["status"] == TryStatus.FAILED) & (records["reason"] != Reason.INPUT_CHANGED)
            )
        )
        place = (int(records["node"][0]), int(records["processor"][0]))
        self.tallies[place] = self.tallies.get(place, Tally()) + Tally(len(records), failed)
        if failed or self.node_health.failing:
            telling = records[records["reason"] != Reason.INPUT_CHANGED]  # the data's fault, for certain
            tries = zip(telling["index"].tolist(), telling["status"].tolist(), strict=True)
            self.node_health.ended(address, tries)

    def released(self, released: Released, node: int) -> bool:
        """A processor of `node` gives back what it has not done; whether a mini-batch has failed by that."""
        died_with_it = released.reason in ("unwritten", "unbegun")
        loss = self.dispatcher.release(
            released.block, released.token, released.start, released.stop, suspect=died_with_it
        )
        if released.reason in ("unflushed", "unwritten"):
            self.counter.add_repeats(loss.requeued)
        what = "before it began" if released.reason == "unbegun" else "while its rows were written"
        for index in loss.failed:
            self.give_up(
                index,
                node,
                f"its processor died each time {what}",
                "their size, the memory that is left, or descriptors and limits that it has changed",
            )
        return bool(loss.failed)

    def give_up(self, index: int, node: int, what: str, why: str) -> None:
        """Fail a mini-batch that can't report itself: it takes its processor or `node` down each time."""
        self._fail(
            *given_up_record(
                index,
                items=self.charged_items(index),
                node=node,
                what=what,
                why=why,
                described=self.described(index),
                log=self.log,
            )
        )

    def input_gone(self, index: int, node: int, message: str) -> None:
        """Fail a mini-batch whose file is not there any more, as `node` has seen."""
        self.input_changed += 1
        self._fail(
            *failed_record(
                index,
                items=self.charged_items(index),
                node=node,
                reason=Reason.INPUT_CHANGED,
                message=message,
                described=self.described(index),
                log=self.log,
            )
        )

    def described(self, index: int) -> str:
        """The items of a mini-batch in words; empty where they can't be told."""
        try:
            return self.describe(index)
        except Exception:  # a plan that can't be read must not hide the failure
            return ""

    def _fail(self, record: np.ndarray, failure: Failure) -> None:
        self.commit(
            Flushed(
                block=-1,
                token="",
                part="",
                offset=0,
                length=0,
                crc=0,
                records=record.tobytes(),
                failures=(failure,),
            )
        )
        self.counter.add(record)
        self.note_failure(failure)
        self._publish(record, (failure,))

    def note_failure(self, failure: Failure | InitFailed) -> None:
        """Remember the failure that is to be shown first; reports of different nodes come in any order."""
        self.first_failure = first_that_cost(self.first_failure, failure)

    def _publish(self, records: np.ndarray, failures: tuple[Failure, ...]) -> None:
        self.publish(TriesEnded(time=time(), step=self.step, records=records, failures=failures))
