"""The job as frozen values: what the reader of specs hands to the rest.

Knows nothing of Dask, of files' contents or of the machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from daskpar.chosen_python import ChosenPython
from daskpar.errors import Problem
from daskpar.jobspec import row_formats
from daskpar.jobspec.named_environment import Environment
from daskpar.sizes import UNITS, written_size
from daskpar.value_classes import frozen

Seconds = float
FILE_LIST_MODES = frozenset({"ro_mount", "download", "eval_mount", "eval_download"})
"""Modes of an MLTable that is read as the list of its files."""


@frozen(kw_only=True)
class Input:
    """One input of a step, resolved."""

    name: str
    type: str
    """`uri_file`, `uri_folder`, `mltable`, `mlflow_model`, `custom_model`, `triton_model`, or `literal`."""
    mode: str = ""
    """`direct`, `ro_mount`, `download`, `eval_mount`, `eval_download`; empty for literals."""
    path: str = ""
    """Absolute local path or URL; empty for literals."""
    value: object = None
    """The literal, typed as YAML or the component says; None for an optional input without a value."""
    made_by: str | None = None
    """Name of the earlier step that writes it, or None when it exists before the run."""
    access: str = ""
    """How scripts reach it, an `input_access.Access`."""
    seen: str = ""
    """Where scripts see it in the run directory, as a copy or links; of what nodes fetch, the text that each
    replaces by a place of its own. Empty: at `path`.
    """
    where: str = ""
    """`file:line` of its definition, for messages."""

    @property
    def is_data(self) -> bool:
        """Whether this is data at `path` rather than a literal."""
        return self.type != "literal"

    @property
    def is_laid_out(self) -> bool:
        """Whether the run directory holds a copy of it, or a tree of links, for the scripts of the step."""
        return bool(self.seen) and self.access in ("links", "copy")

    @property
    def is_fetched(self) -> bool:
        """Whether each node fetches it from its URL."""
        return self.access == "fetched"

    @property
    def is_file_list(self) -> bool:
        """Whether its mini-batches are lists of files, whatever the files hold: not those of a table.

        An MLTable is a list of files where its mode says so.
        """
        return self.is_data and (self.type != "mltable" or self.mode in FILE_LIST_MODES)


@frozen(kw_only=True)
class Output:
    """One output of a step, resolved: the script gets `path`, later steps read it."""

    name: str
    type: str
    """`uri_file`, `uri_folder`, `mltable`, `mlflow_model`, `custom_model`, `triton_model`."""
    mode: str
    """`rw_mount`, `upload`, `direct`."""
    path: str
    """Absolute local path or URL."""
    chosen_by_user: bool
    """True where the spec names the path, False where it is daskpar's own choice."""
    where: str = ""
    seen: str = ""
    """Where scripts write it in the run directory, from where it is uploaded to `path`; empty: at `path`."""


@frozen(kw_only=True)
class BySize:
    """Split by size: `number` files for file lists, `size_bytes` for tables.

    Which of them applies is known when the input is opened.
    """

    number: int
    """The number as written, 0 for none given (defaults: 1 file, 1 MB)."""
    unit: int
    """1, or 1024, 1024**2, 1024**3 for kb, mb, gb."""

    @property
    def size_bytes(self) -> int:
        """Bytes of a table mini-batch."""
        return self.number * self.unit if self.number else UNITS["mb"]

    @property
    def written(self) -> str:
        """As a spec has it: `10`, `10kb`."""
        return written_size(self.number, self.unit)


@frozen(kw_only=True)
class DriverSettings:
    """Settings that Azure's driver takes as program arguments, with the defaults of Azure's documentation."""

    error_threshold: int = -1
    mini_batch_error_threshold: int = -1
    allowed_failed_percent: float = 100.0
    max_retries: int = 2
    timeout: Seconds = 60.0
    task_overhead_timeout: Seconds = 600.0
    progress_update_timeout: Seconds | None = None
    """None: 3 × (timeout + task_overhead_timeout)."""
    first_task_creation_timeout: Seconds = 600.0
    init_timeout: Seconds = 3600.0
    logging_level: str = "INFO"
    copy_logs_to_parent: bool = False
    resource_monitor_interval: Seconds = 600.0
    append_row_dataframe_header: bool = False
    append_row_format: str = row_formats.TEXT
    """Ours: one of `row_formats.FORMATS`."""
    append_row_columns: str = row_formats.SAME
    """Ours: whether mini-batches may return different columns; one of `row_formats.COLUMN_RULES`."""
    append_row_part_size: int = row_formats.PART_BYTES
    """Ours: about how many bytes a part file has where rows go to a folder."""
    append_row_join: tuple[str, ...] = ()
    """Ours: what stands before each returned row: columns of the table or of the keys, `row_formats.ALL` of
    them, or `row_formats.PATH` of the file."""
    append_row_index: bool = False
    """Ours: whether the index of its mini-batch stands before each row."""
    isolate_failed_items: str = ""
    """Ours: which mini-batches are divided when they fail, until the bad items are known: none (empty), those
    by size (`items`), or groups by keys too (`groups`).
    """
    isolate_at_most: int = 16
    """Ours: bad items of a mini-batch; with more it fails as a whole."""
    failed_items_to: str | None = None
    """Ours: absolute path where the failed items go as data: a folder, or a file of JSON lines."""
    job_timeout: Seconds | None = None
    """Ours: the step ends after so many seconds; None: never for that."""
    allow_empty: bool = False
    """Ours: an input without items is no failure."""
    any_number_of_rows: bool = False
    """Ours: what run() returns is not counted against the items: sums, or several rows for an item."""
    profiling_module: str = ""
    nice: int = 0
    processor_memory: int | None = None
    """Ours: hard memory limit of each processor in bytes."""
    max_mini_batches_per_processor: int | None = None
    """Ours: a processor is replaced by a fresh process after so many; None: never for that."""
    max_processor_growth: int | None = None
    """Ours: a processor is replaced when its memory has grown by so many bytes since init(); None: never."""
    concurrent_mini_batches: int | None = None
    """Ours: calls of `async def run` in flight in one processor; None: 1, or 10 in Azure's async mode."""
    amlbi_async_mode: bool = False
    """Whether the script has Azure's functions for many mini-batches at a time (`enqueue` and so on)."""
    rate_limit: str | None = None
    """Ours: calls that all processors of the step may make together, as `300/min`; None: any number."""
    rate_limit_patience: Seconds = 600.0
    """Ours: how long a mini-batch whose calls raise with `retry_after` is tried again without charge."""
    gpus_per_processor: float = 1.0
    """Ours: GPUs for each processor on nodes with GPUs: a whole number, or a part of one."""
    fetch_cache: int | None = None
    """Ours: bytes that the fetched files of mini-batches may take on a node; None: 10 GB."""
    backup: bool | None = None
    """Ours: whether slow mini-batches are started a second time; None: `second_copies.backs_up` decides."""
    resume_from: str | None = None
    rank_mini_batch_count: int = 0


@frozen(kw_only=True)
class ParallelStep:
    """One parallel step, resolved: every binding filled in, every setting with its effective value."""

    name: str
    display_name: str = ""
    code: Path | None
    """Absolute folder put on `sys.path`; None without `code:`."""
    entry_script: str
    """Absolute path of the script, or a dotted module name below `code`."""
    arguments: tuple[str, ...]
    """`sys.argv[1:]` of the script: driver flags and the user's own, bindings filled in."""
    environment_variables: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, Input]
    outputs: Mapping[str, Output]
    input_data: tuple[str, ...]
    """Names of the inputs that are split into mini-batches, in order (normally one)."""
    by_size: BySize
    partition_keys: tuple[str, ...] = ()
    append_row_to: str | None = None
    """Absolute path or URL of the aggregated file, or folder; None: nothing is aggregated."""
    append_row_folder: bool = False
    """Whether `append_row_to` is a folder, for part files."""
    instance_count: int = 1
    """-1: all nodes there are."""
    max_concurrency_per_instance: int | None = None
    """None: cores ÷ instance_count on one machine, at least 1."""
    compute: str = ""
    """Name as written, without `azureml:`."""
    settings: DriverSettings
    in_flight: int = 0
    """Calls in flight in one processor; 0: the script is an ordinary one, whose calls follow each other."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Setting name -> where its value came from: `pipeline.yml:31`, `program argument`, `default`."""
    needs: tuple[str, ...] = ()
    """Names of the steps that must complete first."""
    where: str = ""
    """`file:line` of the step."""
    environment: Environment | None = None
    """As the spec describes it."""
    python: ChosenPython | None = None
    """Where the script runs; None: in this Python."""
    original: Mapping[str, object] = field(default_factory=dict)
    """The step's YAML after merging component and node, for the effective spec."""


@frozen(kw_only=True)
class CommandStep:
    """One command step, resolved: a shell text that runs once on a node."""

    name: str
    display_name: str = ""
    code: Path | None
    command: str
    """Shell text with bindings filled in (paths quoted for the shell where needed, literals as they are)."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Environment variables that `command` refers to: paths that can't be quoted there, and `${env:NAME}`."""
    environment_variables: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, Input]
    outputs: Mapping[str, Output]
    compute: str = ""
    timeout: Seconds | None = None
    """`limits.timeout` of the command, None for no limit."""
    includes: tuple[Path, ...] = ()
    """Files and folders that lie beside the code while the command runs (`additional_includes`)."""
    sources: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    where: str = ""
    environment: Environment | None = None
    """As the spec describes it."""
    python: ChosenPython | None = None
    """The Python of its command; None: this one."""
    original: Mapping[str, object] = field(default_factory=dict)


Step = ParallelStep | CommandStep


@frozen(kw_only=True)
class PipelineJob:
    """A pipeline job, resolved against one run directory; each of `steps` comes after those it needs."""

    name: str
    """`name`, else `display_name`, else the file's stem; used in the run directory's name."""
    display_name: str = ""
    description: str = ""
    spec: Path
    """Absolute path of the YAML file."""
    inputs: Mapping[str, Input]
    outputs: Mapping[str, Output]
    steps: tuple[Step, ...]
    continue_on_step_failure: bool = False
    notes: tuple[str, ...] = ()
    """What was read and has no effect here (compute names, environments, registries), one sentence each."""
    effective: Mapping[str, object] = field(default_factory=dict)
    """The whole job as plain YAML values with nothing left to resolve, for `effective-spec.yml`."""
    warnings: tuple[Problem, ...] = ()
    """Unknown keys, near misses and the like: the job runs, but perhaps not as its author thinks."""
