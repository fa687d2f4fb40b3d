"""Where everything of a run lies: names and paths alone. Nothing is read, made or written here."""

from __future__ import annotations

import os
import shlex
import time
from pathlib import Path
from typing import ClassVar

from daskpar.value_classes import frozen


def process_name(processor: int) -> str:
    """`process007`."""
    return f"process{processor:03d}"


def shell_path(path: str | Path) -> str:
    """A path for a command that the user can copy: relative where shorter, quoted where needed."""
    text = str(path)
    relative = os.path.relpath(text) if os.path.isabs(text) else text
    shown = relative if not relative.startswith("..") else text
    return shlex.quote(f"./{shown}" if shown.startswith("-") else shown)


def processor_work(work: Path, node: int, processor: int) -> Path:
    """Working directory of one processor, below the `work` folder of its step."""
    return work / str(node) / process_name(processor)


@frozen
class LogPaths:
    """The log tree of one step."""

    root: Path

    @property
    def readme(self) -> Path:
        return self.root / "readme.txt"

    @property
    def job_result(self) -> Path:
        return self.root / "job_result.txt"

    @property
    def job_error(self) -> Path:
        return self.root / "job_error.txt"

    @property
    def failed_mini_batches(self) -> Path:
        """Every item of the mini-batches that failed."""
        return self.root / "failed_mini-batches.csv"

    @property
    def user_error(self) -> Path:
        return self.root / "user" / "error.txt"

    @property
    def master_role(self) -> Path:
        return self.root / "sys" / "master_role.txt"

    @property
    def job_report(self) -> Path:
        return self.root / "sys" / "job_report"

    @property
    def processed(self) -> Path:
        return self.job_report / "processed_mini-batches.csv"

    @property
    def traces(self) -> Path:
        """Folder of full traces of all processors."""
        return self.root / "user" / "error"

    @property
    def all_stdout(self) -> Path:
        """Folder of what all processors' scripts printed."""
        return self.root / "user" / "stdout"

    @property
    def all_stderr(self) -> Path:
        """Folder of what all processors' scripts wrote to stderr."""
        return self.root / "user" / "stderr"

    @property
    def script_logs(self) -> Path:
        """Folder of what `EntryScript().logger` wrote on all nodes."""
        return self.root / "user" / "entry_script_log"

    @property
    def resources(self) -> Path:
        """Folder of the resource tables of all nodes."""
        return self.root / "sys" / "perf"

    ALL_OVERVIEWS: ClassVar = "job_progress_overview.*.txt"
    """Pattern below the root: one file for each start of the step."""

    def overview(self, seconds: float) -> Path:
        """The overview of a start of the step (seconds since the epoch; its name is in UTC)."""
        return self.root / f"job_progress_overview.{time.strftime('%Y%m%d%H', time.gmtime(seconds))}.txt"

    def trace(self, node: int, processor: int) -> Path:
        """Full traces of one processor."""
        return self.traces / str(node) / f"{process_name(processor)}.txt"

    def processor(self, node: int, processor: int) -> Path:
        """What a processor ran."""
        return self.root / "sys" / "node" / str(node) / f"{process_name(processor)}.txt"

    def node(self, node: int) -> Path:
        """The life of a node's processors."""
        return self.root / "sys" / "node" / str(node) / "_main.txt"

    ALL_METRICS: ClassVar = "sys/metrics/*/progress.csv"
    """Pattern below the root: one file for each start of the step."""

    def metrics(self, seconds: float) -> Path:
        """Progress over time of one start of the step."""
        start = time.strftime("%Y%m%d%H%M%S", time.gmtime(seconds))
        return self.root / "sys" / "metrics" / start / "progress.csv"

    def perf(self, node: int) -> Path:
        """Folder of a node's resource tables."""
        return self.resources / str(node)

    @property
    def command_stdout(self) -> Path:
        """What a command step wrote to stdout."""
        return self.root / "user" / "std_out.txt"

    @property
    def command_stderr(self) -> Path:
        """What a command step wrote to stderr."""
        return self.root / "user" / "std_err.txt"

    def stdout(self, node: int, processor: int) -> Path:
        """What a processor's script printed."""
        return self.all_stdout / str(node) / f"{process_name(processor)}.stdout.txt"

    def stderr(self, node: int, processor: int) -> Path:
        """What a processor's script, C code and child processes wrote to stderr."""
        return self.all_stderr / str(node) / f"{process_name(processor)}.stderr.txt"

    def script_log(self, node: int) -> Path:
        """Folder of what `EntryScript().logger` wrote on a node."""
        return self.script_logs / str(node)

    def stacks(self, node: int, processor: int) -> Path:
        """Where a processor's threads were when it was killed."""
        return self.root / "sys" / "node" / str(node) / f"{process_name(processor)}.stacks.txt"

    def profile(self, node: int, processor: int) -> Path:
        """Where a processor's time went (`--profiling_module`)."""
        return self.root / "sys" / "node" / str(node) / f"{process_name(processor)}.profile"

    def fork_server(self, node: int) -> Path:
        """What a node's fork server wrote to stderr."""
        return self.root / "sys" / "node" / str(node) / "forkserver.txt"


@frozen
class StepPaths:
    """The folder of one step in a run directory; what is below it need not exist yet."""

    path: Path

    @property
    def name(self) -> str:
        """The step's."""
        return self.path.name

    @property
    def plan(self) -> Path:
        """The plan of mini-batches."""
        return self.path / "plan"

    @property
    def journal(self) -> Path:
        """What is committed."""
        return self.path / "journal"

    @property
    def progress(self) -> Path:
        """How far the step is while it runs."""
        return self.path / "progress.json"

    @property
    def failed_items(self) -> Path:
        """The items that failed, as JSON lines."""
        return self.path / "failed_items.jsonl"

    @property
    def failed_items_table(self) -> Path:
        """A folder with them as the input of another run: an MLTable, and their rows where they have some."""
        return self.path / "failed_items"

    @property
    def parts(self) -> Path:
        """Rows as processors wrote them."""
        return self.path / "parts"

    @property
    def outputs(self) -> Path:
        """Outputs without a path of their own."""
        return self.path / "outputs"

    @property
    def partial(self) -> Path:
        """The rows of a step of which only some mini-batches were asked for."""
        return self.path / "partial"

    @property
    def inputs(self) -> Path:
        """Listings of the input files as they were when the step started."""
        return self.path / "inputs"

    @property
    def input_copies(self) -> Path:
        """Inputs as scripts see them, where that is a copy or a tree of links."""
        return self.path / "input-copies"

    @property
    def uploads(self) -> Path:
        """Outputs at URLs: what scripts have written and is not uploaded yet, and which files were."""
        return self.path / "uploads"

    @property
    def sent(self) -> Path:
        """Archives for nodes that do not see the run directory, while the step runs."""
        return self.path / "sent"

    @property
    def work(self) -> Path:
        """Working directories of processors, or of a command."""
        return self.path / "work"

    @property
    def logs(self) -> LogPaths:
        """The log tree."""
        return LogPaths(self.path / "logs")

    def processor_work(self, node: int, processor: int) -> Path:
        """Working directory of one processor."""
        return processor_work(self.work, node, processor)


def step_path(run_directory: Path, step: str) -> Path:
    """The folder of a step in a run directory."""
    return run_directory / "steps" / step


class RunPaths:
    """The directory of one run; what is below it need not exist yet."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def step(self, name: str) -> StepPaths:
        """The folder of the step `name`."""
        return StepPaths(step_path(self.path, name))

    @property
    def identity_file(self) -> Path:
        """What the run is and how it ended; a directory that holds it is one of a run."""
        return self.path / "run.json"

    @property
    def kept_spec(self) -> Path:
        """The job where it was given from Python and has no file of its own."""
        return self.path / "job.yml"

    @property
    def started_with(self) -> Path:
        """How the run was started, beside what the spec says."""
        return self.path / "started-with.json"

    @property
    def shown(self) -> Path:
        """What pages and reports show of the run, as far as no other file has it."""
        return self.path / "shown.json"

    @property
    def report(self) -> Path:
        """The report, which stands alone."""
        return self.path / "report.html"

    @property
    def effective_spec(self) -> Path:
        """The whole job with nothing left to resolve."""
        return self.path / "effective-spec.yml"

    @property
    def staged_inputs(self) -> Path:
        """Inputs given from Python, a folder for each."""
        return self.path / "inputs"

    @property
    def datastores(self) -> Path:
        """Datastores that begin empty in each run: the default one in the folder `default`."""
        return self.path / "datastores"

    @property
    def outputs(self) -> Path:
        """Pipeline outputs without a path of their own."""
        return self.path / "outputs"

    @property
    def logs(self) -> Path:
        """Copies of the steps' logs, where `--copy_logs_to_parent` asks for them."""
        return self.path / "logs"
