"""Every fact that a watcher can hear. Watchers subscribe; nothing flows back from them.

Events are plain frozen values; per-mini-batch facts come in bulk as record arrays (`batches.records.RECORD`), never one by one.
Times are seconds since the epoch.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How far a step is; all numbers are of final outcomes except `tries_failed` and `repeats`."""

    planned: int = 0
    """Mini-batches of the plan."""
    succeeded: int = 0
    failed: int = 0
    empty: int = 0
    items: int = 0
    """Items of mini-batches with a final outcome."""
    failed_items: int = 0
    tries_failed: int = 0
    """Failed tries, final ones included."""
    retried: int = 0
    """Failed tries after which the mini-batch was tried again."""
    repeats: int = 0
    """Mini-batches run again because an unflushed result was lost with its processor or node: no failed tries."""

    @property
    def done(self) -> int:
        """Mini-batches with a final outcome."""
        return self.succeeded + self.failed + self.empty


@dataclass(frozen=True, kw_only=True)
class RunStarted:
    time: float
    name: str
    spec: str
    run_directory: str
    steps: tuple[str, ...]
    dashboard: str
    """Address of the Dask dashboard, empty where there is none."""
    resumed: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StepStarted:
    time: float
    step: str
    kind: str
    """`parallel` or `command`."""
    folder: str
    """The step's folder in the run directory; its log tree is below `logs/`."""
    settings: Mapping[str, object] = field(default_factory=dict)
    """Effective settings for display: name -> value."""


@dataclass(frozen=True, kw_only=True)
class StepPlanned:
    time: float
    step: str
    mini_batches: int
    items: int | None
    """Known for file lists and Parquet, None where rows are counted as they are read."""
    size_bytes: int | None
    already_done: int = 0
    """Mini-batches committed by an earlier process of this run."""
    nodes: int = 1
    processors: int = 1


@dataclass(frozen=True, kw_only=True)
class TriesEnded:
    """A bulk of tries, as committed by the driver, in the order in which they came."""

    time: float
    step: str
    records: np.ndarray
    failures: tuple[object, ...] = ()
    """`processor.protocol.Failure`s of the failed ones among them."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """At most a few times a second, and once at the end."""

    time: float
    step: str
    counts: Counts
    running: int
    """Processors busy."""
    doing: str = ""
    """A phase other than running mini-batches: `listing`, `grouping 40 %`, `assembling 12 %`; empty while running."""


@dataclass(frozen=True, kw_only=True)
class ProcessorEvent:
    time: float
    step: str
    node: int
    address: str
    processor: int
    pid: int
    state: str
    """`started`, `ready`, `ended`, `init_failed`."""
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class NodeEvent:
    time: float
    step: str
    node: int
    address: str
    state: str
    """`joined`, `lost`."""
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class ResourceSample:
    """One row of `sys/perf`; measured on the node every `resource_monitor_interval` seconds."""

    time: float
    step: str
    node: int
    node_usage: Mapping[str, float]
    disk_usage: Mapping[str, float]
    processes: tuple[Mapping[str, object], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Warned:
    time: float
    step: str
    text: str


@dataclass(frozen=True, kw_only=True)
class StepEnded:
    time: float
    step: str
    status: str
    """`completed`, `failed`, `interrupted`, `skipped`, `lost`."""
    reason: str
    """One sentence; empty when completed."""
    counts: Counts
    seconds: float
    outputs: Mapping[str, str] = field(default_factory=dict)
    """Output name -> path."""
    first_failure: object | None = None
    """`processor.protocol.Failure` or `InitFailed`: the first in time."""
    exit_code: int | None = None
    """Of a command step."""


@dataclass(frozen=True, kw_only=True)
class RunEnded:
    time: float
    status: str
    reason: str
    seconds: float
    exit_code: int


Event = (
    RunStarted
    | StepStarted
    | StepPlanned
    | TriesEnded
    | Progress
    | ProcessorEvent
    | NodeEvent
    | ResourceSample
    | Warned
    | StepEnded
    | RunEnded
)


class Watcher:
    """Base of all watchers: `hear` gets every event in order, on a thread of the watchers' own; `close` comes last."""

    def hear(self, event: Event) -> None:
        """React to one event; an exception drops this watcher with one warning and never reaches the job."""

    def close(self) -> None:
        """Write what is left."""


class Bus:
    """Hands events to watchers on one thread, so that a slow or failing watcher holds up no job.

    `publish` never blocks. `close` waits until all that was published has been heard (at most `patience` seconds).
    """

    def __init__(self, watchers: list[Watcher]) -> None:
        self._watchers = list(watchers)
        self._queue: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._deliver, name="daskpar-watchers", daemon=True)
        self._thread.start()

    def publish(self, event: Event) -> None:
        """Queue an event for all watchers."""
        self._queue.put(event)

    def close(self, patience: float = 60.0) -> None:
        """Deliver what is queued, close the watchers, stop the thread."""
        self._queue.put(None)
        self._thread.join(patience)

    def _deliver(self) -> None:
        while (event := self._queue.get()) is not None:
            for watcher in list(self._watchers):
                self._guard(watcher, lambda w=watcher, e=event: w.hear(e))  # type: ignore[misc]
        for watcher in list(self._watchers):
            self._guard(watcher, watcher.close)

    def _guard(self, watcher: Watcher, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception:
            logger.exception("%s failed and is switched off; the job goes on", type(watcher).__name__)
            self._watchers.remove(watcher)
