"""Every fact that a watcher can hear. Watchers subscribe; nothing flows back from them.

Events are plain frozen values; per-mini-batch facts come in bulk as record arrays (`batches.records.RECORD`),
never one by one. Times are seconds since the epoch.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from daskpar.results import Counts, StepResult

if TYPE_CHECKING:
    import numpy as np

logger = logging.getLogger(__name__)


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
    """A phase other than running mini-batches: `listing`, `grouping 40 %`, `assembling 12 %`; empty while
    running.
    """


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
    result: StepResult

    @property
    def step(self) -> str:
        """Name of the step."""
        return self.result.step


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
    """Base of all watchers: `hear` gets every event in order, on a thread of the watchers' own; `close` comes
    last.
    """

    def hear(self, event: Event) -> None:
        """React to one event; an exception drops this watcher with one warning and never reaches the job."""

    def close(self) -> None:
        """Write what is left."""


class Group(Watcher):
    """Several watchers as one: a watcher that fails is closed off with one warning, and the others go on."""

    def __init__(self, watchers: Iterable[Watcher]) -> None:
        self._watchers = list(watchers)

    def hear(self, event: Event) -> None:
        """Hand the event to each watcher that still works."""
        self._each(lambda watcher: watcher.hear(event))

    def close(self) -> None:
        """Close each watcher that still works."""
        self._each(lambda watcher: watcher.close())

    def _each(self, call: Callable[[Watcher], None]) -> None:
        for watcher in tuple(self._watchers):
            try:
                call(watcher)
            except Exception as error:
                self._watchers.remove(watcher)
                name = type(watcher).__name__
                logger.warning("%s failed and is switched off; the job goes on: %r", name, error)
                logger.debug("%s failed", name, exc_info=True)


class Bus:
    """Hands events to watchers on one thread, so that a slow or failing watcher holds up no job.

    `publish` never blocks. While watchers lag behind, only the newest `Progress` of each step is kept (in the
    place of the one that waits), and bulks of tries are joined when they are heard; no other event is ever
    dropped. `close` waits until all that was published has been heard (at most `patience` seconds).
    """

    def __init__(self, watchers: Iterable[Watcher]) -> None:
        self._group = Group(watchers)
        self._events: deque[Event] = deque()
        self._waiting_progress: dict[str, Progress] = {}
        self._changed = (
            threading.Condition()
        )  # reentrant: a signal handler may publish in the middle of `publish`
        self._closed = False
        self._thread = threading.Thread(target=self._deliver, name="daskpar-watchers", daemon=True)
        self._thread.start()

    def publish(self, event: Event) -> None:
        """Queue an event for all watchers; after `close` it is ignored."""
        with self._changed:
            if self._closed:
                return
            if isinstance(event, Progress):
                waits = event.step in self._waiting_progress
                self._waiting_progress[event.step] = event
                if waits:
                    return
            self._events.append(event)
            self._changed.notify()

    def close(self, patience: float = 60.0) -> None:
        """Deliver what is queued, close the watchers, stop the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(patience)
        if self._thread.is_alive():
            logger.warning(
                "watchers were still busy after %g s: the last lines of logs and reports may be missing",
                patience,
            )

    def _deliver(self) -> None:
        while (event := self._next()) is not None:
            self._group.hear(event)
        self._group.close()

    def _next(self) -> Event | None:
        with self._changed:
            while not self._events:
                if self._closed:
                    return None
                self._changed.wait()
            event = self._events.popleft()
            if isinstance(event, Progress):
                return self._waiting_progress.pop(event.step)
            if not isinstance(event, TriesEnded):
                return event
            bulk = [event]
            size = len(event.records)
            while self._events and size < JOINED_TRIES:
                following = self._events[0]
                if not isinstance(following, TriesEnded) or following.step != event.step:
                    break
                self._events.popleft()
                bulk.append(following)
                size += len(following.records)
        return join_tries(bulk)


JOINED_TRIES = 100_000
"""Bulks of tries that wait are joined up to about this many."""


def join_tries(bulk: Sequence[TriesEnded]) -> TriesEnded:
    """Consecutive bulks of one step as one, in the same order, with the time of the last."""
    if len(bulk) == 1:
        return bulk[0]
    import numpy as np

    return TriesEnded(
        time=bulk[-1].time,
        step=bulk[0].step,
        records=np.concatenate([part.records for part in bulk]),
        failures=tuple(failure for part in bulk for failure in part.failures),
    )
