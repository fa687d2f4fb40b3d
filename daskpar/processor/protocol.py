"""Settings of a node's processors, orders to them, and the messages in which a node reports to the driver.

All are plain values of a few bytes each; rows go to the store, and travel here only where it asks for that.
"""

from __future__ import annotations

from dataclasses import field
from enum import StrEnum
from pathlib import Path
from typing import Any

from daskpar.chosen_container import ChosenContainer
from daskpar.data.notices import Notice
from daskpar.datastores import StorageOptions
from daskpar.events import LongCall, ProcessorState
from daskpar.paths import LogPaths, processor_work
from daskpar.processor.containers.container_mounts import Mount
from daskpar.processor.fetching.fetched_inputs import Fetching
from daskpar.processor.node_places import NodePlaces
from daskpar.processor.output_sweep import Uploads
from daskpar.processor.private_mounts import NO_GUARD, Guard
from daskpar.results import Failure, InitFailed
from daskpar.rows.part_store import PartStore
from daskpar.rows.row_format import RowFormat, Schema
from daskpar.rows.text_format import PLAIN_TEXT
from daskpar.value_classes import frozen

Seconds = float

FIRST_COPY = 1 << 40
"""Blocks are numbered from 0 on, second copies of slow mini-batches from here on: who meets a report of one
sees that it is no block's.
"""
PIECE_BYTES = 4 * 1000 * 1000
"""What a report carries at most of rows or logs, from nodes that do not see the run directory."""

LookRow = tuple[Any, ...]
"""What a processor does just now, for people who watch: step, node, number, pid, phase (`Phase`), mini-batch
(-1: none), seconds since that began, resident bytes, and processor seconds used (as a node tells it) or the
cores in use (as the driver shows it; -1: not known). Where calls are in flight side by side, these are those
of the oldest one, and how many there are comes last.
"""


@frozen(kw_only=True)
class SeenInput:
    """An input that scripts see as a copy or a tree of links."""

    path: str
    seen: str
    copied: bool


@frozen(kw_only=True)
class ProcessorSettings:
    """Everything that the processors of one step on one node need; pickled on its way."""

    run_id: str
    step: str
    node: int
    """Index of the node within the step: the `<node_id>` of the log tree."""
    python: str
    """That of the node."""
    own_python: str = ""
    """Interpreter of the entry script, where that is another one than the node's."""
    container: ChosenContainer | None = None
    """In which the script runs; `own_python` is empty then, and `guard` has no effect: `mounts` have."""
    mounts: tuple[Mount, ...] = ()
    """What is seen in that container; nodes add what they alone know."""
    processors: int
    entry_script: str
    """Absolute path of a Python file, or a dotted module name (found below `code`, else installed)."""
    code: str | None
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    """Set on top of the node's environment."""
    plan: str
    """Folder of the plan (`batches.plan`)."""
    store: PartStore
    """Where rows go."""
    shared: str
    """A folder that nodes and driver see, for small files that go with the rows when the step is complete."""
    logs: str
    """Root of the step's log tree; files go below `user/` and `sys/`."""
    work: str
    """Processors get `<work>/<node>/processNNN` as working directory."""
    working_dir: str
    """`EntryScript().working_dir`."""
    output_dir: str
    """`EntryScript().output_dir`, exists."""
    logging_level: str = "INFO"
    append_row: bool = False
    """Whether returns are written to the store."""
    row_format: RowFormat = PLAIN_TEXT
    """How they become bytes."""
    returns_measured: bool = True
    """False: returns are neither asked for nor counted (no `append_row_to`, `error_threshold` -1)."""
    any_number_of_rows: bool = False
    """Whether returns are taken without being counted against the items."""
    tabular: bool = False
    """Whether mini-batches are DataFrames: the fork server then imports pandas and pyarrow beforehand."""
    max_retries: int = 2
    run_timeout: Seconds = 60.0
    overhead_timeout: Seconds = 600.0
    init_timeout: Seconds = 3600.0
    threads: int = 1
    """OMP_NUM_THREADS and its like, where the user did not set them."""
    gpus: tuple[str, ...] = ()
    """CUDA_VISIBLE_DEVICES of each processor slot; empty: no GPUs."""
    gpus_each: float = 1.0
    """GPUs for each processor, a part of one included."""
    guard: Guard = NO_GUARD
    """What scripts can't change."""
    storage: StorageOptions = field(default_factory=StorageOptions)
    """How URLs are opened that lie in datastores."""
    fetching: Fetching | None = None
    """What nodes fetch from URLs; None: nothing."""
    seen: tuple[SeenInput, ...] = ()
    """Inputs whose files scripts see elsewhere."""
    memory_limit: int | None = None
    """Hard limit of each processor in bytes (`--processor-memory`)."""
    node_memory: int | None = None
    """What the processors of the node may take together, in bytes; None: what its machine has."""
    most_mini_batches: int | None = None
    """A processor is replaced after so many (`--max_mini_batches_per_processor`)."""
    most_growth: int | None = None
    """A processor is replaced when its resident memory has grown by so many bytes since `init()` had returned
    (`--max_processor_growth`).
    """
    nice: int = 0
    profiling_module: str = ""
    resource_interval: Seconds = 0.0
    """How often the node samples its resources; 0: never."""
    spare_server: bool = False
    """Whether the next step may reuse the node's fork server; only where no user code runs below it."""
    in_flight: int = 0
    """Calls in flight in each processor; 0: they follow each other (`block_runner`)."""
    azure_async: bool = False
    """Whether the script has Azure's functions for that (`azure_contract`) in the place of `run`."""
    rate_limit: float | None = None
    """Calls a second that all processors of the step may make together; None: any number."""
    rate_patience: Seconds = 600.0
    """How long a mini-batch whose calls raise with `retry_after` is tried again without charge."""
    internal: bool = False
    """Whether the entry script is one of ours that reads the step's input (a pass of a grouping)."""
    session: str = ""
    """Random text of one driver process's run of the step: it marks the files that its nodes leave behind."""
    uploads: Uploads | None = None
    """The outputs at URLs that the script fills; None: there are none."""
    places: NodePlaces | None = None
    """Of a node that does not see the run directory: where it has what lies there; None of all others."""
    repair: int = 0
    """How often damaged rows of the step were run again before, in the same run."""

    @property
    def opened_as(self) -> str:
        """The name under which nodes and scheduler know these processors: what has ended stays so."""
        return f"{self.step}.repair-{self.repair}" if self.repair else self.step

    @property
    def log_paths(self) -> LogPaths:
        """The step's log tree."""
        return LogPaths(Path(self.logs))

    def working_directory(self, processor: int) -> Path:
        """Working directory of a processor of this node."""
        return processor_work(Path(self.work), self.node, processor)


class ReleaseReason(StrEnum):
    """Why the rest of a block's range is given back."""

    SLOW = "slow"
    """Its current mini-batch takes long; other processors can do the rest."""
    STOPPED = "stopped"
    """The step was told to stop."""
    UNFLUSHED = "unflushed"
    """Run already, but the result was lost with the processor."""
    UNWRITTEN = "unwritten"
    """The same, and the processor died while it wrote their rows."""
    UNBEGUN = "unbegun"
    """The processor died with the block before its first mini-batch."""
    DIED = "died"
    """The processor died at an earlier mini-batch of the block; these were not begun."""
    UNREACHED = "unreached"
    """The data of the first one could not be reached from this node; these were not begun."""
    REPLACED = "replaced"
    """A fresh process is to take the processor's place; these were not begun."""
    BESIDE = "beside"
    """In flight when the processor was killed for another mini-batch."""
    IN_FLIGHT = "in flight"
    """In flight when the processor died: one of them may be the reason."""


@frozen(kw_only=True)
class BlockOrder:
    """A contiguous range of mini-batches for one processor."""

    block: int
    """Number of the block, unique in the run; a range that is planned again gets a new one."""
    token: str
    """Random text, new for each start of the block on a node, so that two starts differ."""
    start: int
    stop: int
    tries: int = 0
    """Failed tries that its mini-batches have behind them (above 0 only for a block of one)."""
    repeated: bool = False
    """Whether a failed try of its one mini-batch was not charged: the next one is."""
    piece: tuple[int, int] | None = None
    """Of a divided mini-batch: the items [start, stop) that are run; None: all."""
    alone: bool = False
    """Whether its processor runs nothing else meanwhile, where many calls are in flight else."""
    apart: bool = False
    """Whether each file is read by itself, however small."""
    units: tuple[int, ...] | None = None
    """First mini-batches of the units that it touches which are costly to read twice (Parquet row groups): of
    that in which it begins, then those inside. None where it does not matter."""

    def end_of_unit(self, index: int) -> int:
        """First mini-batch behind `index` with which another processor can begin, reading nothing twice."""
        if self.units is None:
            return index + 1
        return next((unit for unit in self.units if unit > index), self.stop)

    @property
    def is_retry(self) -> bool:
        """Whether its mini-batch has failed before, and what happens now decides about it.

        A piece of several items that fails is divided further, so it may be given to any process.
        """
        if self.piece is not None:
            return self.is_one_item or self.repeated
        return self.tries > 0 or self.repeated

    @property
    def is_one_item(self) -> bool:
        """Whether it is one item of a divided mini-batch."""
        return self.piece is not None and self.piece[1] - self.piece[0] == 1

    def is_last_try(self, max_retries: int) -> bool:
        """Whether a mini-batch of the block that fails now is not tried again."""
        return self.tries >= max_retries


@frozen(kw_only=True)
class Flushed:
    """Rows written and mini-batches done since the last one: committed once the driver has taken it."""

    block: int
    token: str
    part: str
    """Name of the part in the step's store; empty when nothing is written."""
    offset: int
    length: int
    crc: int
    """CRC-32 of the bytes [offset, offset + length) of the part."""
    records: bytes
    """`batches.records.RECORD`s, in mini-batch order."""
    failures: tuple[Failure, ...] = ()
    uncharged: tuple[int, ...] = ()
    """Mini-batches whose failed tries here use up none of their tries: their processor may be broken."""
    schema: Schema | None = None
    """Of all rows that the processor returned so far, where the row format has one."""
    carried: bytes = b""
    """The rows themselves, where the store lets them travel with the commit."""
    notices: tuple[Notice, ...] = ()
    """Values that were lost or are doubtful in these mini-batches, and in what `run()` returned for them."""
    throttled: int = 0
    """Calls of these mini-batches that were put off, as `retry_after` asked."""
    piece: tuple[int, int] | None = None
    """As that of the order."""
    sealed: tuple[tuple[int, str], ...] = ()
    """Mini-batches that have written files for outputs at URLs, each with the name of the folder below
    `Uploads.sealed` that holds these. Nodes pass it on once the files lie in the store."""


@frozen(kw_only=True)
class Released:
    """The rest [start, stop) of a block's range is given back; it will not be run by that block."""

    block: int
    token: str
    start: int
    stop: int
    reason: ReleaseReason
    trouble: str = ""
    """Of what was not reached: what stood in the way."""
    missing: str = ""
    """Of what was not reached: the file that this node does not see, where that is the trouble."""
    among: int = 0
    """Of what was in flight when its processor died: how many that were, in all of its blocks."""
    server_died: bool = False
    """The fork server had died, and its processors die with it: probably none of these is to blame."""


@frozen(kw_only=True)
class RateAsked:
    """How many processors of a node ask for calls of the step's rate limit now; sent when that changes."""

    node: int
    processors: int


@frozen(kw_only=True)
class BlockEnded:
    """A block is over: every index of its range was reported in a Flushed or a Released."""

    block: int
    token: str


@frozen(kw_only=True)
class NodeFailed:
    """A node can't go on with the step; its blocks are given back."""

    node: int
    message: str
    disk: bool
    """True: rows can't be written any more, which ends the step; else only this node is out."""


@frozen(kw_only=True)
class NotUploaded:
    """Files of finished mini-batches are not uploaded yet; the node is at it, or goes on trying."""

    node: int
    trouble: str
    """Why they can't be for now; empty while nothing stands in the way."""


@frozen(kw_only=True)
class LogMessage:
    """A text for the logs and, once per text, for the terminal: `shutdown()` raised, for example."""

    level: str
    text: str
    at_the_end: bool = False
    """Whether it is said once more when the step has ended."""


@frozen(kw_only=True)
class ProcessorChanged:
    """A processor started, got ready (init() returned) or ended."""

    node: int
    processor: int
    pid: int
    state: ProcessorState
    detail: str = ""
    time: float = 0.0
    peak_bytes: int = 0
    """Of one that has ended: its largest resident memory."""


@frozen(kw_only=True)
class LongCalls:
    """What the node's processors have been doing for a while; sent when that changes, times by its clock."""

    node: int
    time: float
    calls: tuple[LongCall, ...]


@frozen(kw_only=True)
class Sampled:
    """What the node and its processors use, for `sys/perf`; names as in those files."""

    node: int
    time: float
    node_usage: dict[str, float]
    disk_usage: dict[str, float]
    processes: tuple[dict[str, object], ...] = ()
    gpus: tuple[dict[str, object], ...] = ()


@frozen(kw_only=True)
class CarriedRows:
    """Rows that the driver keeps in the step's store, ahead of the `Flushed` that they belong to.

    From nodes that do not see the store, of a flush that is too large for one report.
    """

    part: str
    offset: int
    """Where they lie in the part."""
    data: bytes


@frozen(kw_only=True)
class ReturnedFile:
    """A piece of a file that belongs in the run directory, from a node that does not see that."""

    tree: int
    """Which of `NodePlaces.trees` it lies in; those below 0: `grown_files`, `settled_files`."""
    name: str
    """Its path there; empty when all of the tree was sent."""
    offset: int
    """Where the piece lies in it; 0: the file begins, or begins again."""
    data: bytes
    """Empty where the trees of `settled_files` have a file whole."""


@frozen(kw_only=True)
class NodeClosed:
    """The last message of a node of a step: all its processors have ended, and no other message follows."""

    node: int


Message = (
    Flushed
    | Released
    | RateAsked
    | BlockEnded
    | InitFailed
    | NodeFailed
    | NotUploaded
    | LogMessage
    | ProcessorChanged
    | LongCalls
    | Sampled
    | CarriedRows
    | ReturnedFile
    | NodeClosed
)
"""What a node reports, in the order in which it happened."""


def carried_bytes(message: Message) -> int:
    """Bytes of rows or files that travel with a report; 0 of nodes that see the run directory."""
    if isinstance(message, Flushed):
        return len(message.carried)
    return len(message.data) if isinstance(message, CarriedRows | ReturnedFile) else 0
