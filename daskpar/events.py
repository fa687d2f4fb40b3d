"""Every fact of a run as an event, and the base class of watchers with one hook for each event.

Nothing flows back: who publishes an event does not know its watchers. Events are frozen values. Facts about
single mini-batches come in bulk, as record arrays (`batches.records.RECORD`), never one by one.

A new event is added here in four places: its class, its name in `RunEvent` or `StepEvent`, its hook in
`Watcher`, and its line in `HOOKS`. Watchers that have no use for it stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from typing import TYPE_CHECKING

from daskpar.results import Counts, Failure, Status, StepResult
from daskpar.value_classes import frozen

if TYPE_CHECKING:
    import numpy as np


class StepKind(StrEnum):
    """What a step runs."""

    PARALLEL = "parallel"
    COMMAND = "command"


class ProcessorState(StrEnum):
    """What became of a processor."""

    STARTED = "started"
    """Its process was started."""
    READY = "ready"
    """`init()` has returned."""
    ENDED = "ended"
    """Its process is gone."""
    INIT_FAILED = "init_failed"
    """Import of the entry script or `init()` failed, or took too long."""


class NodeState(StrEnum):
    """What became of a node."""

    JOINED = "joined"
    LOST = "lost"


@frozen(kw_only=True)
class RunStarted:
    """The run begins, or goes on where an earlier process of it ended."""

    time: float
    """Seconds since the epoch."""
    name: str
    """Name of the job."""
    spec: str
    """Path of its YAML file."""
    run_directory: str
    """Absolute path."""
    steps: tuple[str, ...]
    """Names, in the order of the job."""
    dashboard: str
    """Address of the Dask dashboard, empty where there is none."""
    resumed: bool = False
    """Whether an earlier process of this run began it."""
    notes: tuple[str, ...] = ()
    """What the job's spec holds that has no effect here, one sentence each."""
    needs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Step -> the steps that it waits for."""


@frozen(kw_only=True)
class StepStarted:
    """A step begins; its folder is there."""

    time: float
    """Seconds since the epoch."""
    step: str
    """Name of the step."""
    kind: StepKind
    """What it runs."""
    folder: str
    """The step's folder in the run directory; its log tree is below `logs/`."""
    settings: Mapping[str, object] = field(default_factory=dict)
    """Effective settings for display: name -> value."""
    sources: tuple[tuple[str, str, str], ...] = ()
    """Name, value and source of all that `plan` shows of the step, in its order; no secrets."""
    outputs: Mapping[str, str] = field(default_factory=dict)
    """Output name -> path or URL."""


@frozen(kw_only=True)
class StepPlanned:
    """The mini-batches of a parallel step are known."""

    time: float
    """Seconds since the epoch."""
    step: str
    """Name of the step."""
    mini_batches: int
    """How many the plan has."""
    items: int | None
    """Known for file lists and Parquet, None where rows are counted as they are read."""
    size_bytes: int | None
    """Bytes of all items, None where they are not known."""
    already_done: int = 0
    """Mini-batches committed by an earlier process of this run."""
    asked: int | None = None
    """How many are to be done when this process ends, where that is not all; `Progress` counts to there."""
    nodes: int = 1
    """Nodes that the step may use."""
    processors: int = 1
    """Processors on all of them together."""


@frozen(kw_only=True)
class TriesEnded:
    """A bulk of tries, as committed by the driver, in the order in which they came."""

    time: float
    """Seconds since the epoch, of the commit."""
    step: str
    """Name of the step."""
    records: np.ndarray
    """One row of `batches.records.RECORD` for each try; not to be written to."""
    failures: tuple[Failure, ...] = ()
    """The failed tries among them in words."""


@frozen(kw_only=True)
class Progress:
    """How far a step is: at most a few times a second, and once at the end."""

    time: float
    """Seconds since the epoch."""
    step: str
    """Name of the step."""
    counts: Counts
    """Of the whole step, what earlier processes of the run did included."""
    running: int
    """Processors busy."""
    doing: str = ""
    """A phase other than running mini-batches: `listing`, `grouping 40 %`, `assembling 12 %`; empty while
    running.
    """


@frozen(kw_only=True)
class LongCall:
    """Something that a processor has been doing for a while: a mini-batch, or import and `init()`."""

    processor: int
    """Number of the processor on its node."""
    doing: str
    """`init`, `loading` or `run`."""
    index: int
    """The mini-batch; -1 for `init`."""
    since: float
    """When it began, seconds since the epoch."""
    limit: float | None
    """Seconds that it may take; None: without limit."""
    tries: int = 0
    """Failed tries that the mini-batch has behind it."""
    name: str = ""
    """What the mini-batch holds, in a few words."""


@frozen(kw_only=True)
class LongCallsChanged:
    """What processors of a node have been doing for more than a few seconds now: all of it, each time."""

    time: float
    """Seconds since the epoch."""
    step: str
    """Name of the step."""
    node: int
    """Index of the node in the step."""
    calls: tuple[LongCall, ...]
    """Empty when the last one has ended."""


@frozen(kw_only=True)
class ProcessorEvent:
    """A processor has a new state."""

    time: float
    """Seconds since the epoch, measured on the node."""
    step: str
    """Name of the step."""
    node: int
    """Index of its node in the step; -1 where the node is no member (yet)."""
    address: str
    """Dask address of the node."""
    processor: int
    """Number of the processor on its node."""
    pid: int
    """Of its process; 0 where it is not known."""
    state: ProcessorState
    """The new state."""
    detail: str = ""
    """More about it, for people: how it ended, why `init()` failed."""
    trace: str = ""
    """The traceback or the stacks of a failed `init()`, where there are any."""
    peak_bytes: int = 0
    """Of one that has ended: its largest resident memory; 0 where it is not known."""


@frozen(kw_only=True)
class NodeEvent:
    """A node has joined the step, or is lost to it."""

    time: float
    """Seconds since the epoch."""
    step: str
    """Name of the step."""
    node: int
    """Index of the node in the step."""
    address: str
    """Dask address of the node."""
    state: NodeState
    """The new state."""
    detail: str = ""
    """More about it, for people: why it is lost."""


@frozen(kw_only=True)
class ResourceSample:
    """One row of `sys/perf`; measured on the node every `resource_monitor_interval` seconds."""

    time: float
    """Seconds since the epoch, measured on the node."""
    step: str
    """Name of the step."""
    node: int
    """Index of the node in the step."""
    node_usage: Mapping[str, float]
    """Column of `node_resource_usage.csv` -> value; the column's name says the unit."""
    disk_usage: Mapping[str, float]
    """Column of `node_disk_usage.csv` -> value; empty where no disk could be measured."""
    processes: tuple[Mapping[str, object], ...] = ()
    """For each processor: column of `processes_resource_usage.csv` -> value."""
    gpus: tuple[Mapping[str, object], ...] = ()
    """For each GPU: column of `node_gpu_usage.csv` -> value."""


@frozen(kw_only=True)
class Warned:
    """Something that a user should know, and that stops nothing."""

    time: float
    """Seconds since the epoch."""
    step: str
    """Name of the step; empty for a warning about the run, which is of all its steps."""
    text: str
    """One sentence."""


@frozen(kw_only=True)
class StepEnded:
    """A step has ended, and what it wrote is where it belongs."""

    time: float
    """Seconds since the epoch."""
    result: StepResult
    """How it ended."""

    @property
    def step(self) -> str:
        """Name of the step."""
        return self.result.step


@frozen(kw_only=True)
class RunEnded:
    """The last event of a run."""

    time: float
    """Seconds since the epoch."""
    status: Status
    """How the run ended."""
    reason: str
    """One sentence; empty when completed."""
    seconds: float
    """Time since this process began the run."""
    exit_code: int
    """Of the command line."""


RunEvent = RunStarted | RunEnded
"""Events of the run itself."""

StepEvent = (
    StepStarted
    | StepPlanned
    | TriesEnded
    | Progress
    | LongCallsChanged
    | ProcessorEvent
    | NodeEvent
    | ResourceSample
    | Warned
    | StepEnded
)
"""Events of one step: all have `step`."""

Event = RunEvent | StepEvent


class Watcher:
    """Base of all watchers: a hook for each event, each of which does nothing here.

    All are called on one thread, in the order of the events; `close` comes last. An exception drops the
    watcher with one warning and never reaches the job.
    """

    def run_started(self, event: RunStarted) -> None:
        """Called once, before any step starts."""

    def step_started(self, event: StepStarted) -> None:
        """Called before anything else of a step."""

    def step_planned(self, event: StepPlanned) -> None:
        """Called once for a parallel step, before its first try."""

    def tries_ended(self, event: TriesEnded) -> None:
        """Called for each bulk of committed tries; bulks that had to wait come as one."""

    def progress(self, event: Progress) -> None:
        """Called a few times a second at most; only the newest one of a step, where several had to wait."""

    def long_calls_changed(self, event: LongCallsChanged) -> None:
        """Called when a call begins to take long on a node, and when it has ended."""

    def processor_changed(self, event: ProcessorEvent) -> None:
        """Called when a processor has a new state."""

    def node_changed(self, event: NodeEvent) -> None:
        """Called when a node has joined or is lost."""

    def resources_sampled(self, event: ResourceSample) -> None:
        """Called for each sample of each node."""

    def warned(self, event: Warned) -> None:
        """Called for each warning; the same text may come again."""

    def step_ended(self, event: StepEnded) -> None:
        """Called after everything else of a step."""

    def run_ended(self, event: RunEnded) -> None:
        """Called once, after all steps have ended."""

    def close(self) -> None:
        """Write what is left: nothing is called any more."""

    def handle(self, event: Event) -> None:
        """Call the hook of this event; those who pass events on to others override it."""
        getattr(self, HOOKS[type(event)])(event)


HOOKS: Mapping[type[Event], str] = {
    RunStarted: "run_started",
    StepStarted: "step_started",
    StepPlanned: "step_planned",
    TriesEnded: "tries_ended",
    Progress: "progress",
    LongCallsChanged: "long_calls_changed",
    ProcessorEvent: "processor_changed",
    NodeEvent: "node_changed",
    ResourceSample: "resources_sampled",
    Warned: "warned",
    StepEnded: "step_ended",
    RunEnded: "run_ended",
}
"""Event -> its hook in `Watcher`."""
