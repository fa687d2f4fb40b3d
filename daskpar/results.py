"""How tries, steps and runs ended, as values that go from the processors to the driver and the reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from enum import IntEnum, StrEnum

from daskpar.errors import (
    DaskparError,
    DataUnreached,
    InfrastructureLost,
    Interrupted,
    JobFailed,
    PartialRun,
)
from daskpar.value_classes import frozen


class Status(StrEnum):
    """How far a run or a step is, or how it ended; the texts stand in `run.json` and `step.json`."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    """Of itself: the script, the command, a threshold, the input."""
    INTERRUPTED = "interrupted"
    """By the user."""
    LOST = "lost"
    """The disk, the cluster or daskpar itself failed; `resume` goes on."""
    PARTIAL = "partial"
    """Only some mini-batches were asked for, and these have run; `resume` runs the others."""
    SKIPPED = "skipped"
    """A step that was never started, for one that it needs did not complete."""

    def __repr__(self) -> str:
        # `run.status` in a notebook is the text that people compare with.
        return repr(self.value)

    @property
    def exit_code(self) -> int:
        """Of the command line, for a run that ended so."""
        error = _ERRORS.get(self)
        return 0 if error is None else error.exit_code


_ERRORS: dict[Status, type[DaskparError]] = {
    Status.FAILED: JobFailed,
    Status.LOST: InfrastructureLost,
    Status.INTERRUPTED: Interrupted,
    Status.PARTIAL: PartialRun,
}
"""The error that stands for a run that ended so; the exit codes are those of the errors."""


def status_of(error: DaskparError) -> Status:
    """How a run or step ends that stops at `error`."""
    if isinstance(error, DataUnreached):  # as in mid-run: the store may answer later, and `resume` goes on
        return Status.LOST
    for status in (Status.LOST, Status.INTERRUPTED):
        if isinstance(error, _ERRORS[status]):
            return status
    return Status.FAILED  # errors of the spec, the input and the run directory too


def error_of(status: Status, text: str) -> DaskparError | None:
    """The error for a run that ended with `status`, with the message `text`; None for a completed one."""
    kind = _ERRORS.get(status)
    return None if kind is None else kind(text)


AZURE_FUNCTIONS = (
    "enqueue",
    "check_all_tasks_processed",
    "get_finished_batch_result",
    "get_processing_batch_number",
)
"""What an entry script has in Azure's async mode, in the place of `run`."""


class TryStatus(IntEnum):
    """How a try ended."""

    SUCCEEDED = 1
    EMPTY = 2  # the mini-batch held no row: committed without a call of run(), counted neither way
    FAILED = 3


class Reason(IntEnum):
    """Why a try failed (`NONE` for one that did not); the report's column "Error Category" shows it."""

    NONE = 0
    EXCEPTION = 1
    TIMEOUT = 2
    DIED = 3  # the processor died under it: signal, os._exit
    MEMORY = 4  # killed for memory, by the node or the kernel
    SHORT = 5  # fewer returns than items
    BAD_RETURN = 6  # None, text, a mapping, a scalar
    LOAD_ERROR = 7
    LOAD_TIMEOUT = 8
    LOST = 9  # running at its third loss of a node
    INPUT_CHANGED = 10  # a file is not what was planned: final at once, for a retry would read the same


@frozen(kw_only=True)
class Counts:
    """How far a step is; all numbers are of final outcomes except `tries_failed`, `repeats`,
    `throttled` and `copies`."""

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
    """Mini-batches run again because an unflushed result was lost with its processor or node: no failed
    tries.
    """
    throttled: int = 0
    """Calls that were put off because their service asked for it (`retry_after`): no failed tries."""
    copies: int = 0
    """Second copies of slow mini-batches that were started: neither tries nor repeats."""
    copies_first: int = 0
    """Those whose result came first, and counts."""

    def counting_on(self, before: Counts) -> Counts:
        """These, and of `before` what no journal holds: repeats, throttled calls and second copies."""
        return replace(
            self,
            repeats=before.repeats,
            throttled=before.throttled,
            copies=before.copies,
            copies_first=before.copies_first,
        )

    @property
    def to_retry(self) -> bool:
        """Whether there is something that `resume --retry-failed` would run again."""
        return bool(self.failed or self.failed_items)

    @property
    def done(self) -> int:
        """Mini-batches with a final outcome."""
        return self.succeeded + self.failed + self.empty


@frozen(kw_only=True)
class Failure:
    """What a user needs to know of a failed try; its figures are in its record."""

    index: int
    reason: int
    """A `Reason`."""
    message: str
    """One sentence for the terminal: what happened and what to do."""
    trace: str = ""
    """The user's traceback, or the stacks at the moment of a kill; cut to 64 kB."""
    items: str = ""
    """The first items of the mini-batch, readable: file names, or columns and number of rows."""
    log: str = ""
    """Path of the log file with more."""
    time: float = 0.0
    """Seconds since the epoch."""
    final: bool = False
    log_sizes: tuple[int, int] | None = None
    """Bytes of the script's logs, of stdout and of stderr, when it failed; None where that is not known."""
    printed: str = ""
    """What the script had printed last, each part below the path of its log."""


@frozen(kw_only=True)
class InitFailed:
    """Import of the entry script or `init()` failed, hung or killed its process; no mini-batch is charged."""

    node: int
    processor: int
    message: str
    trace: str
    log: str
    time: float
    fatal: bool
    """True: 3 × processors such failures in a row on this node, or one that is certain to come again: the
    node is given up.
    """
    printed: str = ""
    """As `Failure.printed`."""


def first_that_cost(*failures: Failure | InitFailed | None) -> Failure | InitFailed | None:
    """The failure to show first: the earliest one that cost a mini-batch or the step; where none did, the
    earliest.
    """
    known = [failure for failure in failures if failure is not None]
    return min(known, key=lambda one: (not _is_final(one), one.time or float("inf")), default=None)


def _is_final(failure: Failure | InitFailed) -> bool:
    return failure.final if isinstance(failure, Failure) else failure.fatal


@frozen(kw_only=True)
class StepResult:
    """How a step ended."""

    step: str
    status: Status
    reason: str = ""
    """One sentence; empty when completed."""
    counts: Counts = field(default_factory=Counts)
    seconds: float = 0.0
    """Time spent by this process, those of earlier ones left out."""
    outputs: Mapping[str, str] = field(default_factory=dict)
    """Output name -> path or URL."""
    partial_rows: str = ""
    """The file with the rows of a partial step; nothing is written at the place of its output."""
    first_failure: Failure | InitFailed | None = None
    """As `first_that_cost` finds it."""
    exit_code: int | None = None
    """Of a command step."""
    notes: tuple[str, ...] = ()
    """What has to be said of it however it ended, a sentence each: its input changed while it ran."""
