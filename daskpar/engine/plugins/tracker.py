"""The tracker: a Dask scheduler plugin that counts ended mini-batches against the thresholds of its step.

Nodes report over their worker's stream, as lists every 100 ms. The tracker counts, passes the report on to
the driver as it came, and tells the nodes to stop when a threshold is exceeded. It also passes on which nodes
joined and which were lost, in order with the reports.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterable
from dataclasses import replace
from time import time
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from distributed import SchedulerPlugin

from daskpar.batches.records import unpack
from daskpar.engine.plugins.step_metrics import StepMetrics, step_metrics
from daskpar.engine.plugins.tracker_messages import (
    MessagesArrived,
    TrackerClosed,
    TrackerMessage,
    VerdictReached,
    WorkerJoined,
    WorkerLost,
    to_wire,
)
from daskpar.engine.rules.counter import ThresholdCounter, Thresholds
from daskpar.engine.rules.division import to_divide
from daskpar.engine.rules.rate_shares import Rate, RateShares
from daskpar.processor.protocol import (
    FIRST_COPY,
    BlockEnded,
    Flushed,
    Message,
    NodeClosed,
    RateAsked,
    carried_bytes,
)
from daskpar.results import Counts, TryStatus

if TYPE_CHECKING:
    from distributed import Scheduler

logger = logging.getLogger(__name__)


def tracker_name(run_id: str, step: str) -> str:
    """Name of the plugin, of its driver's topic and of the reports' stream; one for each step of a run."""
    return f"daskpar-{run_id}-{step}"


LATE_SECONDS = 30.0
"""How long a message may be on its way to somebody who has gone."""


def ignore(**_: Any) -> None:
    """Handler of operations whose plugin has gone."""


def taken_name(tracker: str) -> str:
    """Operation by which a driver says what it has taken of the rows and files that nodes have sent it."""
    return f"{tracker}-taken"


def stop_name(run_id: str) -> str:
    """Operation by which a scheduler tells the nodes of a run to stop a step, or their shares of its rate."""
    return f"daskpar-stop-{run_id}"


class Tracker(SchedulerPlugin):
    """Counts one step on the scheduler.

    `driver` is the id of the driver's Dask client, `counts` what the journal holds already, `label` the name
    among the metrics, empty for a pass of our own. What it sends to the driver are the messages of
    `tracker_messages`, as plain tuples.
    """

    def __init__(
        self,
        *,
        run_id: str,
        step: str,
        driver: str,
        thresholds: Thresholds,
        counts: Counts,
        label: str = "",
        divides: bool = False,
        files: bool = False,
        rate_limit: float | None = None,
    ) -> None:
        self.name = tracker_name(run_id, step)
        self.run_id = run_id
        self.step = step
        self.driver = driver
        self.counter = ThresholdCounter(thresholds, counts)
        self.label = label
        self._metrics: StepMetrics | None = None
        self.divides = divides
        self.files = files
        self._rates = RateShares(rate_limit) if rate_limit is not None else None
        self.verdict = ""
        self.scheduler: Scheduler | None = None
        self._nodes: set[str] = set()
        self._closed: set[str] = set()
        self._gone: set[str] = set()
        self._tokens: dict[int, str] = {}
        self._of_copies: set[int] = set()
        """Mini-batches of which a second copy has succeeded."""

    async def start(self, scheduler: Scheduler) -> None:
        """Begin to take reports; called by Dask."""
        self.scheduler = scheduler
        scheduler.stream_handlers[self.name] = self.report
        self._metrics = step_metrics(scheduler, self.run_id, self.label, self.counter)

    async def close(self, asked: Iterable[str] | None = None) -> None:
        """Take no more reports; called by Dask when the plugin is removed or the scheduler ends.

        `asked`: addresses of the workers that were asked to open the step, None where nobody knows.
        """
        scheduler = self.scheduler
        if scheduler is None:
            return
        if self._metrics is not None:
            self._metrics.over = True
        self._send(TrackerClosed())
        self.scheduler = None
        if taken_name(self.name) in scheduler.stream_handlers:
            # One that is still on its way must find a handler.
            scheduler.stream_handlers[taken_name(self.name)] = ignore
            scheduler.loop.call_later(LATE_SECONDS, _forget_taken, scheduler, self.name)
        awaited = (self._nodes | set(asked or ())) - self._closed
        LateReports(scheduler, self.name, awaited, hold=asked is None).listen()

    def report(self, worker: str, messages: bytes, **_: Any) -> None:
        """Take a node's report: count it, pass it on, stop the step when a threshold is exceeded.

        A report that comes after its node was declared lost is dropped: its mini-batches have been given to
        others.
        """
        if worker in self._gone:
            return
        self._nodes.add(worker)
        # One addition for each report, not for each flush in it: on a large cluster that is what the
        # scheduler's time goes into.
        reports = pickle.loads(messages)
        taken = [message for message in reports if self._takes(message)]
        if counted := b"".join(map(self._counted, taken)):
            self.counter.add(unpack(counted))
        if taken and self._metrics is not None:
            self._metrics.add(b"".join(message.records for message in taken))
        if is_last(reports):
            self._closed.add(worker)
        if any(map(carried_bytes, reports)) and self.scheduler is not None:
            self.scheduler.stream_handlers[taken_name(self.name)] = self.taken
        self._send(MessagesArrived(worker, messages))
        if self._rates is not None:
            for message in reports:
                if isinstance(message, RateAsked):
                    self._grant(self._rates.asks(worker, message.processors))
        if not self.verdict and (verdict := self.counter.verdict()):
            self.verdict = verdict
            self.stop_nodes("threshold")
            self._send(VerdictReached(verdict))

    def taken(self, address: str, size: int, **_: Any) -> None:
        """Tell a node that the driver has taken so many bytes of what it has sent."""
        if self.scheduler is not None and address in self.scheduler.workers:
            message = {"op": stop_name(self.run_id), "step": self.step, "reason": "", "taken": size}
            self.scheduler.worker_send(address, message)

    def _takes(self, message: Message) -> TypeGuard[Flushed]:
        """Whether these are the results of a block as the driver takes them, too."""
        if isinstance(message, Flushed):
            if message.block >= FIRST_COPY:
                self._copy_ended(message)
                return False
            # Dask may run a task again: only the start of a block that reports first counts, here as in the
            # driver.
            return self._tokens.setdefault(message.block, message.token) == message.token
        if isinstance(message, BlockEnded):
            self._tokens.pop(message.block, None)
        return False

    def _copy_ended(self, message: Flushed) -> None:
        """Only the driver counts what second copies bring: it knows whether their mini-batch has ended."""
        records = unpack(message.records)
        self._of_copies.update(records["index"][records["status"] != TryStatus.FAILED].tolist())

    def _counted(self, message: Flushed) -> bytes:
        """The records without those of divided mini-batches and their pieces: the driver will say how these
        end.
        """
        if self._of_copies:
            records = unpack(message.records)
            # The first commit wins, here as in the driver: what the other copy does now is no failure.
            overtaken = np.isin(records["index"], list(self._of_copies))
            message = replace(message, records=records[~overtaken].tobytes())
        if not self.divides:
            return message.records
        if message.piece is not None:
            return b""
        records = unpack(message.records)
        kept: bytes = records[~to_divide(records, files=self.files)].tobytes()
        return kept

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:
        """Called by Dask when a worker has connected."""
        self._gone.discard(worker)
        self._nodes.discard(worker)
        self._closed.discard(worker)
        self._send(WorkerJoined(worker))

    def remove_worker(self, scheduler: Scheduler, worker: str, **_: Any) -> None:
        """Called by Dask when a worker has left or is taken to be dead."""
        self._gone.add(worker)
        self._send(WorkerLost(worker))
        if self._rates is not None:
            self._grant(self._rates.lost(worker))

    def _grant(self, shares: dict[str, Rate]) -> None:
        """Tell nodes what they may do of the step's rate."""
        scheduler = self.scheduler
        if scheduler is None:
            return
        for address, rate in shares.items():
            if address in scheduler.workers:
                scheduler.worker_send(
                    address, {"op": stop_name(self.run_id), "step": self.step, "reason": "", "rate": rate}
                )

    def stop_nodes(self, reason: str) -> None:
        """Have every node start no further call of `run()`, and kill what still runs after two seconds."""
        scheduler = self.scheduler
        if scheduler is None:
            return
        # Over the worker stream, for cancelling leaves a running Dask task running. Only workers that have
        # reported are sure to know the operation (see `close`).
        for address in self._nodes & set(scheduler.workers):
            scheduler.worker_send(
                address, {"op": stop_name(self.run_id), "step": self.step, "reason": reason}
            )

    def _send(self, message: TrackerMessage) -> None:
        if self.scheduler is not None:
            # The form of Dask's own topic events, but not kept in the scheduler's memory as those are.
            event = (time(), to_wire(message))
            self.scheduler.client_send(self.driver, {"op": "event", "topic": self.name, "event": event})


def _forget_taken(scheduler: Scheduler, tracker: str) -> None:
    if scheduler.stream_handlers.get(taken_name(tracker)) is ignore:
        del scheduler.stream_handlers[taken_name(tracker)]


class LateReports:
    """Takes the reports of nodes that come after their tracker has gone, and is gone itself after the last
    one.

    Dask closes the stream of a worker that names an operation without a handler. `awaited`: addresses of the
    nodes whose last report has not come; `hold`: there may be others, of which one hears soon.
    """

    def __init__(self, scheduler: Scheduler, name: str, awaited: set[str], *, hold: bool) -> None:
        self._scheduler = scheduler
        self._name = name
        self._awaited = awaited
        self._hold = hold

    def listen(self) -> None:
        """Take the place of the tracker's handler, for as long as anything may come."""
        self._scheduler.stream_handlers[self._name] = self
        self._leave_or_wait()

    def __call__(self, worker: str, messages: bytes, **_: Any) -> None:
        if is_last(pickle.loads(messages)):
            self._awaited.discard(worker)
            self._leave_if_done()

    def _leave_or_wait(self) -> None:
        self._awaited &= set(self._scheduler.workers)
        if not self._leave_if_done():
            self._scheduler.loop.call_later(LATE_SECONDS, self._look_again)

    def _look_again(self) -> None:
        self._hold = False
        if self._in_place:
            self._leave_or_wait()

    @property
    def _in_place(self) -> bool:
        """Whether this is the handler; a resumed run may have put a tracker of the same name here
        meanwhile.
        """
        return self._scheduler.stream_handlers.get(self._name) is self

    def _leave_if_done(self) -> bool:
        done = not self._awaited and not self._hold
        if done and self._in_place:
            del self._scheduler.stream_handlers[self._name]
        return done


def is_last(reports: list[Message]) -> bool:
    """Whether nothing more comes from the node that sent `reports`."""
    return bool(reports) and isinstance(reports[-1], NodeClosed)


def ask_tracker(dask_scheduler: Scheduler, run_id: str, step: str, reason: str) -> bool:
    """Runs on the scheduler: have the tracker stop its nodes; False when there is no tracker."""
    tracker = dask_scheduler.plugins.get(tracker_name(run_id, step))
    if not isinstance(tracker, Tracker):
        return False
    tracker.stop_nodes(reason)
    return True
