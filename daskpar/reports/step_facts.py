"""What is known of a run and its steps, kept small: from events or the run directory, drawn by pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daskpar.errors import DaskparError
from daskpar.events import (
    LongCall,
    LongCallsChanged,
    NodeEvent,
    ProcessorEvent,
    ProcessorState,
    Progress,
    ResourceSample,
    StepEnded,
    StepPlanned,
    StepStarted,
    TriesEnded,
)
from daskpar.paths import StepPaths
from daskpar.reports.failure_kinds import FailureKinds
from daskpar.reports.gpu_use import GpuUse
from daskpar.reports.rates import Pace, Samples
from daskpar.reports.try_tally import TryTally
from daskpar.reports.waiting import Quiet, awaited
from daskpar.results import Counts, Status
from daskpar.value_classes import frozen, mutable

if TYPE_CHECKING:
    from daskpar.batches.names import MiniBatchNames

INITS_KEPT = 500
"""Starts of processors that a timeline shows."""
INIT_FAILURES_KEPT = 5


@frozen
class Init:
    """How long a processor took to import the script and to run `init()`."""

    node: int
    processor: int
    start: float
    """Seconds since the epoch."""
    end: float
    well: bool


@mutable
class ProcessorFacts:
    """What became of a processor last."""

    address: str
    pid: int
    state: ProcessorState
    since: float
    """Seconds since the epoch."""
    detail: str = ""


@mutable
class StepFacts:
    """One step, as far as it is known."""

    name: str
    kind: str = ""
    """`parallel` or `command`; empty while it has not started."""
    folder: str = ""
    status: str = "waiting"
    """A `Status`, or `waiting`."""
    reason: str = ""
    started: float = 0.0
    """Seconds since the epoch; 0: it has not."""
    ended: float = 0.0
    seconds: float = 0.0
    """Time spent on it, once it has ended."""
    counts: Counts = field(default_factory=Counts)
    running: int = 0
    doing: str = ""
    settings: Mapping[str, object] = field(default_factory=dict)
    sources: tuple[tuple[str, str, str], ...] = ()
    outputs: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    exit_code: int | None = None
    nodes: int = 0
    processors: int = 0
    tally: TryTally = field(default_factory=TryTally)
    kinds: FailureKinds = field(default_factory=FailureKinds)
    samples: Samples = field(default_factory=Samples)
    inits: list[Init] = field(default_factory=list)
    init_failures: list[tuple[str, str, str]] = field(default_factory=list)
    """Processor, message and traceback of the first ones."""
    processors_now: dict[tuple[int, int], ProcessorFacts] = field(default_factory=dict)
    usage: dict[int, ResourceSample] = field(default_factory=dict)
    gpus: GpuUse = field(default_factory=GpuUse)
    """Node -> its last sample."""
    node_addresses: dict[int, tuple[str, str]] = field(default_factory=dict)
    """Node -> its address, and what became of it."""
    long_calls: dict[int, tuple[LongCall, ...]] = field(default_factory=dict)
    """Node -> what takes long there just now."""
    quiet_since: float = 0.0
    """When the last result came, or the first processor got ready."""
    kept: Mapping[str, Any] = field(default_factory=dict)
    """What the process that ran it has written down for later: parts of the document that are no tables."""
    _names: MiniBatchNames | None = None
    _names_failed: bool = False

    @property
    def paths(self) -> StepPaths:
        """Its folder."""
        return StepPaths(Path(self.folder))

    def pace(self, now: float) -> Pace:
        """How fast it is, and how long it will take."""
        return self.samples.pace(now, self.counts.planned)

    def waits_for(self, now: float) -> LongCall | None:
        """The call that the step waits for, where it is one."""
        if self.status != Status.RUNNING or self.doing or not self.long_calls:
            return None
        quiet = Quiet(
            left=self.counts.planned - self.counts.done,
            running=self.running,
            since_result=now - self.quiet_since,
            per_second=self.pace(now).per_second,
        )
        return awaited((call for calls in self.long_calls.values() for call in calls), quiet)

    def names(self, indices: list[int]) -> list[str]:
        """A name that people know for each mini-batch, its number where the plan can't be read."""
        if self._names is None and not self._names_failed and self.folder:
            try:
                from daskpar.batches.names import MiniBatchNames

                self._names = MiniBatchNames(self.paths.plan)
            except (DaskparError, OSError, KeyError, ValueError, TypeError):
                self._names_failed = bool(self.counts.planned)  # else the plan is still to come
        try:
            if self._names is not None and indices:
                return self._names.names(indices)
        except (DaskparError, OSError, IndexError, KeyError, ValueError, TypeError):
            self._names, self._names_failed = None, True
        return [f"mini-batch {index}" for index in indices]

    # -- events

    def step_started(self, event: StepStarted) -> None:
        """It begins."""
        self.kind, self.folder, self.started = event.kind, event.folder, event.time
        self.status, self.settings = Status.RUNNING, event.settings
        self.sources, self.outputs = event.sources, event.outputs

    def step_planned(self, event: StepPlanned) -> None:
        """Its mini-batches are known."""
        self.counts = Counts(planned=event.mini_batches)
        self.nodes, self.processors = event.nodes, event.processors
        self.samples.add(event.time, event.already_done)

    def progress(self, event: Progress) -> None:
        """How far it is."""
        self.running, self.doing = event.running, event.doing
        if event.doing:
            return  # the counts are those of a pass of our own
        if event.counts.done != self.counts.done:
            self.quiet_since = event.time
        self.counts = event.counts
        self.samples.add(event.time, event.counts.done)

    def tries_ended(self, event: TriesEnded) -> None:
        """Tries were committed."""
        self.tally.add(event.records)
        if event.failures:
            self.kinds.add(event.records, event.failures)

    def long_calls_changed(self, event: LongCallsChanged) -> None:
        """What takes long on a node is others now."""
        self.long_calls[event.node] = event.calls

    def processor_changed(self, event: ProcessorEvent) -> None:
        """A processor has a new state."""
        place = (event.node, event.processor)
        before = self.processors_now.get(place)
        began = before is not None and before.state == ProcessorState.STARTED
        over = event.state in (ProcessorState.READY, ProcessorState.INIT_FAILED)
        if before is not None and began and over and len(self.inits) < INITS_KEPT:
            well = event.state == ProcessorState.READY
            self.inits.append(Init(*place, before.since, event.time, well))
        if event.state == ProcessorState.INIT_FAILED and len(self.init_failures) < INIT_FAILURES_KEPT:
            self.init_failures.append(
                (f"{event.node}/process{event.processor:03d}", event.detail, event.trace)
            )
        if event.state == ProcessorState.READY:
            self.samples.processor_ready(event.time)
            self.quiet_since = self.quiet_since or event.time
        self.processors_now[place] = ProcessorFacts(
            event.address, event.pid, event.state, event.time, event.detail
        )

    def node_changed(self, event: NodeEvent) -> None:
        """A node has joined or is lost."""
        self.node_addresses[event.node] = (event.address, str(event.state))

    def resources_sampled(self, event: ResourceSample) -> None:
        """What a node uses."""
        self.usage[event.node] = event
        self.gpus.add(event)

    def step_ended(self, event: StepEnded) -> None:
        """It has ended."""
        result = event.result
        self.status, self.reason = result.status, result.reason
        self.ended, self.seconds = event.time, result.seconds
        self.running, self.doing = 0, ""
        self.long_calls.clear()
        self.counts = result.counts if result.counts.planned else self.counts
        self.notes, self.exit_code = result.notes, result.exit_code
        self.outputs = result.outputs or self.outputs


@mutable
class RunFacts:
    """One run: its head, and its steps in the order of the job."""

    id: str = ""
    name: str = ""
    spec: str = ""
    directory: str = ""
    status: str = Status.RUNNING
    reason: str = ""
    started: float = 0.0
    ended: float = 0.0
    seconds: float = 0.0
    resumed: bool = False
    notes: tuple[str, ...] = ()
    warnings: list[tuple[str, str]] = field(default_factory=list)
    """Step (empty: the run) and text."""
    needs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    steps: dict[str, StepFacts] = field(default_factory=dict)
