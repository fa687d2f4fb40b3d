"""The tracker: a Dask scheduler plugin that counts ended mini-batches against the thresholds of its step.

Nodes report over their worker's stream, as lists every 100 ms. The tracker counts, passes the report on to
the driver as it came, and tells the nodes to stop when a threshold is exceeded. It also passes on which nodes
joined and which were lost, in order with the reports.
"""

from __future__ import annotations

import logging
import pickle
from time import time
from typing import TYPE_CHECKING, Any

from distributed.diagnostics.plugin import SchedulerPlugin

from daskpar.batches.records import unpack
from daskpar.engine.plugins.tracker_messages import (
    MessagesArrived,
    TrackerMessage,
    VerdictReached,
    WorkerJoined,
    WorkerLost,
    to_wire,
)
from daskpar.engine.rules.counter import ThresholdCounter, Thresholds
from daskpar.processor.protocol import BlockEnded, Flushed, Message
from daskpar.results import Counts

if TYPE_CHECKING:
    from distributed import Scheduler

logger = logging.getLogger(__name__)


def tracker_name(run_id: str, step: str) -> str:
    """Name of the plugin, of its driver's topic and of the reports' stream; one for each step of a run."""
    return f"daskpar-{run_id}-{step}"


def ignore(**_: Any) -> None:
    """Handler of operations whose plugin has gone."""


def stop_name(run_id: str) -> str:
    """Operation by which a scheduler tells the nodes of a run to stop a step."""
    return f"daskpar-stop-{run_id}"


class Tracker(SchedulerPlugin):
    """Counts one step on the scheduler.

    `driver` is the id of the driver's Dask client, `counts` what the journal holds already. What it sends to
    the driver are the messages of `tracker_messages`, as plain tuples.
    """

    def __init__(
        self, *, run_id: str, step: str, driver: str, thresholds: Thresholds, counts: Counts
    ) -> None:
        self.name = tracker_name(run_id, step)
        self.run_id = run_id
        self.step = step
        self.driver = driver
        self.counter = ThresholdCounter(thresholds, counts)
        self.verdict = ""
        self.scheduler: Scheduler | None = None
        self._nodes: set[str] = set()
        self._gone: set[str] = set()
        self._tokens: dict[int, str] = {}

    async def start(self, scheduler: Scheduler) -> None:
        """Begin to take reports; called by Dask."""
        self.scheduler = scheduler
        scheduler.stream_handlers[self.name] = self.report

    async def close(self) -> None:
        """Take no more reports; called by Dask when the plugin is removed or the scheduler ends."""
        if self.scheduler is not None:
            # A report that is still on its way from a node must find a handler: Dask closes a stream that
            # names an operation without one.
            self.scheduler.stream_handlers[self.name] = ignore
            self.scheduler = None

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
        if counted := b"".join(filter(None, map(self._counted, pickle.loads(messages)))):
            self.counter.add(unpack(counted))
        self._send(MessagesArrived(worker, messages))
        if not self.verdict and (verdict := self.counter.verdict()):
            self.verdict = verdict
            self.stop_nodes("threshold")
            self._send(VerdictReached(verdict))

    def _counted(self, message: Message) -> bytes | None:
        """The records of a message that count."""
        if isinstance(message, Flushed):
            # Dask may run a task again: only the start of a block that reports first counts, here as in the
            # driver.
            if self._tokens.setdefault(message.block, message.token) == message.token:
                return message.records
        elif isinstance(message, BlockEnded):
            self._tokens.pop(message.block, None)
        return None

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:
        """Called by Dask when a worker has connected."""
        self._gone.discard(worker)
        self._send(WorkerJoined(worker))

    def remove_worker(self, scheduler: Scheduler, worker: str, **_: Any) -> None:
        """Called by Dask when a worker has left or is taken to be dead."""
        self._gone.add(worker)
        self._send(WorkerLost(worker))

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


def ask_tracker(dask_scheduler: Scheduler, run_id: str, step: str, reason: str) -> bool:
    """Runs on the scheduler: have the tracker stop its nodes; False when there is no tracker."""
    tracker = dask_scheduler.plugins.get(tracker_name(run_id, step))
    if not isinstance(tracker, Tracker):
        return False
    tracker.stop_nodes(reason)
    return True
