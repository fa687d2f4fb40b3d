"""What a node and its processors say to each other: plain values, a few bytes each, never rows of data."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from daskpar.paths import LogPaths
from daskpar.results import Failure, InitFailed

Seconds = float


@dataclass(frozen=True, kw_only=True)
class ProcessorSettings:
    """Everything that the processors of one step on one node need; JSON-able, made by the driver, completed
    by the node.
    """

    run_id: str
    step: str
    node: int
    """Index of the node within the step: the `<node_id>` of the log tree."""
    python: str
    """Interpreter of the entry script."""
    processors: int
    entry_script: str
    """Absolute path of a Python file, or a dotted module name (found below `code`, else installed)."""
    code: str | None
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    """Set on top of the node's environment."""
    plan: str
    """Folder of the plan (`batches.plan`)."""
    parts: str
    """Folder of the part files."""
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
    """Whether returns are written to part files."""
    dataframe_header: bool = False
    """Whether column names are reported, for `--append_row_dataframe_header`."""
    returns_measured: bool = True
    """False: returns are neither asked for nor counted (no `append_row_to`, `error_threshold` -1)."""
    tabular: bool = False
    """Whether mini-batches are DataFrames: the fork server then imports pandas and pyarrow beforehand."""
    max_retries: int = 2
    run_timeout: Seconds = 60.0
    overhead_timeout: Seconds = 600.0
    init_timeout: Seconds = 3600.0
    threads: int = 1
    """OMP_NUM_THREADS and its like, where the user did not set them."""
    gpus: tuple[str, ...] = ()
    """CUDA device of each processor slot; empty: no GPUs."""
    memory_limit: int | None = None
    """Hard limit of each processor in bytes (`--processor-memory`)."""
    nice: int = 0
    profiling_module: str = ""
    resource_interval: Seconds = 0.0
    """How often the node samples its resources; 0: never."""
    spare_server: bool = False
    """Whether the node's fork server is left to the step that follows; only where no code of the user's runs
    below it.
    """
    session: str = ""
    """Random text of one process's try at the step: what an earlier one's nodes leave behind is told apart by
    it.
    """

    @property
    def log_paths(self) -> LogPaths:
        """The step's log tree."""
        return LogPaths(Path(self.logs))


@dataclass(frozen=True, kw_only=True)
class BlockOrder:
    """A contiguous range of mini-batches for one processor."""

    block: int
    """Number of the block, unique in the run; drawn anew whenever a range is planned again."""
    token: str
    """Random text drawn when the block starts on a node: two starts of one block can be told apart."""
    start: int
    stop: int
    tries: int = 0
    """Failed tries that its mini-batches have behind them (above 0 only for a block of one)."""


@dataclass(frozen=True, kw_only=True)
class Flushed:
    """Rows written and mini-batches done since the last one: committed once the driver has taken it."""

    block: int
    token: str
    part: str
    """Name of the part file in the step's parts folder; empty when nothing is written."""
    offset: int
    length: int
    crc: int
    """CRC-32 of the bytes [offset, offset + length) of the part file."""
    records: bytes
    """`batches.records.RECORD`s, in mini-batch order."""
    failures: tuple[Failure, ...] = ()
    columns: tuple[str, ...] | None = None
    """Column names of the DataFrames returned, where a header is wanted."""


@dataclass(frozen=True, kw_only=True)
class Released:
    """The rest [start, stop) of a block's range is given back; it will not be run by that block."""

    block: int
    token: str
    start: int
    stop: int
    reason: str
    """`slow`; `stopped`; `unflushed`: run already, but the result was lost with the processor; `unwritten`:
    the same, and the processor died while it wrote their rows; `unbegun`: the processor died with the
    block before its first mini-batch; `died`: behind a death, not begun."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A block is over: every index of its range was reported in a Flushed or a Released."""

    block: int
    token: str


@dataclass(frozen=True, kw_only=True)
class Broken:
    """A node can't go on with the step; its blocks are given back."""

    node: int
    message: str
    disk: bool
    """True: rows can't be written any more, which ends the step; else only this node is out."""


@dataclass(frozen=True, kw_only=True)
class Notice:
    """Something for the logs and, once per text, for the terminal: a warning of `shutdown()`, more returns
    than items, a near-miss.
    """

    level: str
    text: str


@dataclass(frozen=True, kw_only=True)
class ProcessorChanged:
    """A processor started, got ready (init() returned) or ended."""

    node: int
    processor: int
    pid: int
    state: str
    """`started`, `ready`, `ended`."""
    detail: str = ""
    time: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """What the node and its processors use, for `sys/perf`; names as in those files."""

    node: int
    time: float
    node_usage: dict[str, float]
    disk_usage: dict[str, float]
    processes: tuple[dict[str, object], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Left:
    """The last word of a node of a step: all its processors have ended, and everything was said before it."""

    node: int


Message = Flushed | Released | Ended | InitFailed | Broken | Notice | ProcessorChanged | Sampled | Left
