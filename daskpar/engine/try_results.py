"""Takes what nodes report of mini-batches: commits it, counts it, and queues again what is to be retried.

Whether a failed try is the last one is decided in the processor (`BlockOrder.is_last_try`) and recorded.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import field, replace
from time import time

import numpy as np

from daskpar.batches.records import unpack
from daskpar.data.notices import LossCounter
from daskpar.engine.dividing import Dividing
from daskpar.engine.execution_result import Commit
from daskpar.engine.message_events import failed_record, given_up_record
from daskpar.engine.rules.counter import ThresholdCounter
from daskpar.engine.rules.dispatch import Dispatcher, Piece
from daskpar.engine.rules.gathering import Processor, Tally
from daskpar.engine.rules.in_flight_dispatch import InFlightDispatcher
from daskpar.engine.rules.node_health import NodeHealth
from daskpar.events import Event, TriesEnded
from daskpar.processor.protocol import FIRST_COPY, Flushed, Released
from daskpar.results import Failure, InitFailed, Reason, TryStatus, first_that_cost
from daskpar.value_classes import mutable

logger = logging.getLogger(__name__)


@mutable(kw_only=True)
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
    dividing: Dividing | None = None
    """Tells the items of failed mini-batches apart, where that is asked for."""
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
        if flushed.block >= FIRST_COPY:
            flushed, records = without_failures(flushed, records)
        piece = self.dispatcher.piece_of(flushed.block) if self.dividing is not None else None
        self.counter.add_throttled(flushed.throttled)
        accepted = self.dispatcher.settle(flushed.block, flushed.token, records["index"])
        if not accepted.any():
            logger.info("refused %d results of block %d: given to another since", len(records), flushed.block)
            return False
        if not accepted.all():
            flushed = replace(flushed, records=records[accepted].tobytes())
        if piece is not None:
            self._piece_ended(piece, flushed, records, address)
            return True
        divided: np.ndarray | tuple[()] = ()
        if self.dividing is not None:
            flushed, divided = self.dividing.taken_out(flushed)
        records = self.commit(flushed)
        for record in records[records["final"] == 0]:
            index, tries = int(record["index"]), int(record["tries"])
            charged = index not in flushed.uncharged
            self.dispatcher.retry(index, tries + charged, failed_on=address, charged=charged)
        self.input_changed += int(np.count_nonzero(records["reason"] == Reason.INPUT_CHANGED))
        if len(divided):
            records = np.concatenate((records, divided))
        self._count_by_place(records, address)
        self.counter.add(records)
        if flushed.block >= FIRST_COPY:
            self.counter.copies_were_first(len(records))
        self.dispatcher.sizer.measure(len(records), float(records["elapsed"].sum()))
        if self.dispatcher.sizer.breaks:
            longest = float((records["elapsed"] - records["run"]).max())
            running, first = float(records["run"].sum()), int(records["index"][0])
            self.dispatcher.sizer.measure_units(len(records), running, longest, first=first)
        for failure in flushed.failures:
            self.note_failure(failure)
        self.losses.add_notices(flushed.notices)
        if not self.internal:
            self._publish(records, flushed.failures)
        return True

    def _piece_ended(self, piece: Piece, flushed: Flushed, records: np.ndarray, address: str) -> None:
        """A piece of a divided mini-batch has been tried."""
        assert self.dividing is not None
        key = self.dispatcher.key_of(flushed.block, piece.index)
        commits: list[Flushed] = []
        if records["final"][0]:
            self.dispatcher.pieces.pop(key, None)
            commits = self.dividing.piece_ended(piece, flushed, records[0])
        else:
            charged = piece.index not in flushed.uncharged
            tries = int(records["tries"][0]) + charged
            self.dispatcher.retry(key, tries, failed_on=address, charged=charged)
        self._count_by_place(records, address)
        if records["status"][0] == TryStatus.FAILED:
            self.counter.add_piece(piece.stop - piece.start if records["final"][0] else 2)
            records = records.copy()
            records["final"] = 0  # the outcome of the mini-batch is still to come
            failures = tuple(replace(failure, final=False) for failure in flushed.failures)
            for failure in failures:
                self.note_failure(failure)
            self._publish(records, failures)
        self._commit_divided(commits)
        self.losses.add_notices(flushed.notices)

    def go_on(self) -> None:
        """Go on with what an earlier process of the run has begun to divide."""
        if self.dividing is not None:
            self._commit_divided(self.dividing.go_on())

    def _commit_divided(self, commits: Iterable[Flushed]) -> None:
        """Commit mini-batches whose divisions have ended."""
        for flushed in commits:
            records = self.commit(flushed)
            if len(records):
                self.counter.add_divided(records)
                self.input_changed += int(np.count_nonzero(records["reason"] == Reason.INPUT_CHANGED))
                if (
                    records["status"][0] != TryStatus.FAILED
                ):  # else its failed try was told when it was divided
                    self._publish(records, ())

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
            released.block,
            released.token,
            released.start,
            released.stop,
            suspect=died_with_it,
            by_itself=not released.server_died,
        )
        if released.reason in ("unflushed", "unwritten", "beside", "in flight"):
            self.counter.add_repeats(loss.requeued)
        if (
            released.reason == "in flight"
            and loss.requeued
            and isinstance(self.dispatcher, InFlightDispatcher)
        ):
            key = self.dispatcher.key_of(released.block, released.start)
            self.dispatcher.run_alone(key, key + released.stop - released.start, released.among)
        what = "before it began" if released.reason == "unbegun" else "while its rows were written"
        for key in loss.failed:
            self.give_up(
                key,
                node,
                f"its processor died each time {what}",
                "their size, the memory that is left, or descriptors and limits that it has changed",
            )
        return bool(loss.failed)

    def give_up(self, index: int, node: int, what: str, why: str) -> None:
        """Fail a mini-batch that can't report itself: it takes its processor or `node` down each time.

        Where that is a piece of a divided one, `index` is its key; the mini-batch is not divided further.
        """
        piece = self.dispatcher.pieces.get(index)
        if piece is not None and self.dividing is not None:
            self._commit_divided(self.dividing.give_up(piece.index, f"{what}, when a part of it ran"))
            return
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
        """Fail a mini-batch, or the piece whose key `index` is, whose file is not there any more.

        `node` has seen that.
        """
        piece = self.dispatcher.pieces.get(index)
        items = self.charged_items(index) if piece is None else piece.stop - piece.start
        record, failure = failed_record(
            index if piece is None else piece.index,
            items=items,
            node=node,
            reason=Reason.INPUT_CHANGED,
            message=message,
            described=self.described(index if piece is None else piece.index),
            log=self.log,
        )
        if piece is not None and self.dividing is not None:
            self.dispatcher.pieces.pop(index, None)
            commits = self.dividing.piece_ended(piece, _driver_flush(record, failure), record[0])
            self.counter.add_piece(items)
            record["final"] = 0
            self._publish(record, (replace(failure, final=False),))
            self._commit_divided(commits)
            return
        divided = record[:0]
        if self.dividing is not None:
            _, divided = self.dividing.taken_out(_driver_flush(record, failure))
        if len(divided):
            self.counter.add(divided)
            self.note_failure(failure)
            self._publish(divided, (replace(failure, final=False),))
            return
        self.input_changed += 1
        self._fail(record, failure)

    def described(self, index: int) -> str:
        """The items of a mini-batch in words; empty where they can't be told."""
        try:
            return self.describe(index)
        except Exception:  # a plan that can't be read must not hide the failure
            return ""

    def _fail(self, record: np.ndarray, failure: Failure) -> None:
        self.commit(_driver_flush(record, failure))
        self.counter.add(record)
        self.note_failure(failure)
        self._publish(record, (failure,))

    def note_failure(self, failure: Failure | InitFailed) -> None:
        """Remember the failure that is to be shown first; reports of different nodes come in any order."""
        self.first_failure = first_that_cost(self.first_failure, failure)

    def _publish(self, records: np.ndarray, failures: tuple[Failure, ...]) -> None:
        self.publish(TriesEnded(time=time(), step=self.step, records=records, failures=failures))


def without_failures(flushed: Flushed, records: np.ndarray) -> tuple[Flushed, np.ndarray]:
    """What a second copy brings: its failures change nothing, for its mini-batch runs elsewhere too."""
    well = records[records["status"] != TryStatus.FAILED]
    for failure in flushed.failures:
        logger.info("the second copy of mini-batch %d has failed: %s", failure.index, failure.message)
    return replace(flushed, records=well.tobytes(), failures=(), uncharged=()), well


def _driver_flush(record: np.ndarray, failure: Failure) -> Flushed:
    """A failure that the driver reports itself."""
    return Flushed(
        block=-1,
        token="",
        part="",
        offset=0,
        length=0,
        crc=0,
        records=record.tobytes(),
        failures=(failure,),
    )
