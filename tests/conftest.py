"""How to work on daskpar; then the settings of every test, and the folder in which tests write and run jobs.

Set up         python3.11 -m venv .venv && .venv/bin/pip install -e '.[test,lint,bench]' && . .venv/bin/activate
Lint, types    ruff check . && ruff format . && mypy
Fast tests     python -m pytest -q tests/jobspec tests/data tests/batches tests/rows tests/outputs tests/rundir tests/reports
All tests      python -m pytest -q -n 3 --dist loadfile       (.ci/run: everything in a fresh environment)
Benchmarks     python -m benchmarks --only start-up --repeats 3
Floors         `tests/test_layers.py` lists the folders of daskpar/ from the ground to the door; imports point down only
Tests          tests/FOLDER/test_MODULE.py tests daskpar/FOLDER/MODULE.py; whole jobs: tests/jobs, tests/chaos, tests/notebooks
Processes      of tests: tests/warm_python.py, which forks them from one that has imported Dask (a second less for each);
               a test of how Python itself starts takes `work.cli(..., fresh=True)` or subprocess;
               fork servers of jobs in the process of the test: tests/warm_servers.py, with the mark that a test
               of how they start has (`fresh_servers`)
Faults         tests/faults: a new way in which a script can fail is one more function in `fault_table.py`
Settings       a program argument: `jobspec/program_arguments.py`, `step_settings.py`, `model.py`, shown by `driver/plan_text.py`;
               a key of the YAML: also `jobspec/known_fields.py`
Events         a new one: `events.py`, and where it is published; on the terminal: `reports/progress_view.py`;
               in a log or report: one of the watchers that `reports/log_tree.py` lists
Messages       from processors: `processor/processor_messages.py`; from nodes: `processor/protocol.py`; from the scheduler:
               `engine/plugins/tracker_messages.py`; `engine/inbox.py` names all that reach the driver, `engine/execution.py` acts
Commands       a new one: its line in `cli.VERBS`, its function in `commands/`, its row in the table of README.md
Output         a row format or a part store: one file in `rows/` and its line in `rows/registry.py`; journal, joining: `outputs/`
Environments   of steps: `environments/`; what processors lack in Python 3.9 and 3.10: `older_python.py`; tests/other_pythons.py
Containers     `processor/containers/`, `environments/container_*.py`; tests/container_stub.py stands for podman or docker
Decisions      timeouts, retries: `processor/timeouts.py`, `processor/protocol.py`; nodes, blocks, thresholds: `engine/rules/`
Pages          what they draw: `reports/facts.py` (with `timeline`, `looks`, `mini_batch_rows`); how: `page/page.js`,
               the same for the dashboard and `report.html`;
               who answers a browser: `engine/plugins/run_page.py`; tests drive Chromium: `tests/browser.py`
Debugging      one mini-batch apart from a run: `driver/debug.py`; what is as in a processor: `driver/script_surroundings.py`
Exit codes     `errors.py`, one for each error; `results.py` has the status that belongs to it
Warnings       are errors, but for those that pyproject.toml names with the reason
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from hypothesis import settings

import quick_disk
import warm_python
import warm_servers
from daskpar import atomic

# A process that is started in the background may ignore signals, and so would all that it starts: the tests send them.
signal.signal(signal.SIGINT, signal.default_int_handler)
for _ignored in (signal.SIGHUP, signal.SIGQUIT):
    signal.signal(_ignored, signal.SIG_DFL)


quick_disk.install()

# Machines that run this suite may be small and shared: a slow example is no failure. The blob lets one run it again.
settings.register_profile("daskpar", deadline=None, print_blob=True)
settings.load_profile("daskpar")

SLOW = ("chaos", "notebooks", "page", "jobs", "engine", "processor", "mapped")
"""Folders whose files are run first, so that pytest-xdist's processes end at about the same time."""


def pytest_configure(config: pytest.Config) -> None:
    """pytest-xdist gives out files in the order below, not those with most tests first."""
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In those: whole jobs first, then what lies in no folder: the rest are many quick files, with which the end is even."""

    def rank(item: pytest.Item) -> int:
        folder, _, rest = item.path.relative_to(Path(__file__).parent).as_posix().partition("/")
        return SLOW.index(folder) if folder in SLOW else len(SLOW) + (rest != "")

    if hasattr(config, "workerinput"):
        items.sort(key=rank)


ECHO = """
import os
def init():
    pass
def run(mini_batch):
    return [os.path.basename(str(item)) for item in mini_batch]
"""

MEETING = """
import json, os, pathlib, time
count, folder = os.environ["MEETING"].split(" ", 1)
def run(mini_batch):
    pathlib.Path(folder, str(os.getpid())).touch()
    while len(os.listdir(folder)) < int(count):
        time.sleep(0.005)
    return [json.dumps([os.path.basename(mini_batch[0]), os.getpid(), os.getppid()])]
"""


@dataclass
class Work:
    """A folder with a job in it."""

    folder: Path
    _started: list[subprocess.Popen[str] | warm_python.WarmProcess] = field(default_factory=list)

    def write(self, name: str, text: str) -> Path:
        """Write a text file below the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    def files(self, count: int, folder: str = "data") -> Path:
        """`count` small files to split."""
        (self.folder / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            (self.folder / folder / f"{number:04}.txt").write_text(f"{number}\n")
        return self.folder / folder

    def parallel(
        self,
        script: str = ECHO,
        *,
        name: str = "score.py",
        arguments: str = "",
        append: bool = True,
        **more: Any,
    ) -> dict[str, Any]:
        """A parallel step over the files in `data` whose script is `script`; `more` replaces its keys."""
        code = more.pop("code", "./code")
        self.write(f"{code}/{name}", script)
        step: dict[str, Any] = {
            "type": "parallel",
            "inputs": {"files": {"type": "uri_folder", "path": "./data"}},
            "outputs": {"rows": {"type": "uri_file", "path": "./rows.txt"}},
            "input_data": "${{inputs.files}}",
            "mini_batch_size": "1",
            "max_concurrency_per_instance": 1,
            "retry_settings": {"max_retries": 0, "timeout": 10},
            "task": {
                "type": "run_function",
                "code": code,
                "entry_script": name,
                "environment": "azureml:any:1",
                "program_arguments": f"--resource_monitor_interval 0 {arguments}".strip(),
                **({"append_row_to": "${{outputs.rows}}"} if append else {}),
            },
        }
        return {key: value for key, value in {**step, **more}.items() if value is not None}

    def meeting(self, count: int, name: str = "meeting", **more: Any) -> dict[str, Any]:
        """A parallel step in which no call of run() returns before `count` processors have been given a mini-batch.

        A row is the JSON of [file, process, its fork server].
        """
        (self.folder / name).mkdir()
        return self.parallel(
            MEETING,
            environment_variables={"MEETING": f"{count} {self.folder / name}"},
            retry_settings={"max_retries": 0, "timeout": 60},
            **more,
        )

    def command(self, text: str, **more: Any) -> dict[str, Any]:
        """A command step."""
        return {"type": "command", "command": text, "environment": "azureml:any:1", **more}

    def spec(self, jobs: dict[str, Any], *, name: str = "job.yml", **top: Any) -> Path:
        """A pipeline of these steps."""
        return self.write(name, yaml.safe_dump({"type": "pipeline", **top, "jobs": jobs}, sort_keys=False))

    def run(self, jobs: dict[str, Any], *, top: dict[str, Any] | None = None, **options: Any) -> Any:
        """Run a pipeline of these steps in this process; the ended run."""
        import daskpar

        options = {"run_dir": self.folder / "run", "dashboard": None, "display": False, **options}
        return daskpar.run(self.spec(jobs, **(top or {})), **options)

    def rows(self, name: str = "rows.txt") -> list[str]:
        """Lines of an aggregated file."""
        return (self.folder / name).read_text().splitlines()

    def arguments(self, *argv: str) -> list[str]:
        """The command line of `daskpar argv`; progress and dashboard are left out where a job runs."""
        return [sys.executable, "-m", "daskpar", *argv]

    def cli(self, *argv: str, fresh: bool = False, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run the command line in a process of its own.

        `fresh`: in a Python that has imported nothing yet; only so are all `options` of `subprocess.run` possible.
        """
        if not fresh:
            return warm_python.run("daskpar", *argv, **{"cwd": self.folder, **options})
        options = {"cwd": self.folder, "capture_output": True, "text": True, "timeout": 60, **options}
        return subprocess.run(self.arguments(*argv), **options)

    def start(
        self, *argv: str, fresh: bool = False, **options: Any
    ) -> subprocess.Popen[str] | warm_python.WarmProcess:
        """Start the command line in a process of its own; its pipe is closed with the folder. `fresh` as of `cli`."""
        if not fresh:
            options = {"cwd": self.folder, "text": True, **options}
            self._started.append(warm_python.start("daskpar", *argv, **options))
            return self._started[-1]
        options = {
            "cwd": self.folder,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.STDOUT,
            "text": True,
            **options,
        }
        self._started.append(subprocess.Popen(self.arguments(*argv), **options))
        return self._started[-1]

    def close_pipes(self) -> None:
        """Close what the output of started processes was read from."""
        for process in self._started:
            if process.stdout:
                process.stdout.close()

    def processes(self) -> list[psutil.Process]:
        """Processes whose command line or working directory names the folder; this one left out."""
        found = []
        for process in psutil.process_iter():
            try:
                if (
                    process.pid != os.getpid()
                    and str(self.folder) in f"{' '.join(process.cmdline())} {process.cwd()}"
                ):
                    found.append(process)
            except psutil.Error:
                continue
        return found


@pytest.fixture(autouse=True)
def _warm_servers(request: pytest.FixtureRequest) -> Iterator[None]:
    """Jobs find a fork server that has done its imports, but for tests that are marked `fresh_servers`."""
    mark = request.node.get_closest_marker
    pandas = mark("servers_with_pandas") is not None
    with nullcontext() if mark("fresh_servers") else warm_servers.warm(pandas=pandas):
        yield


@pytest.fixture
def work(tmp_path: Path):
    """A folder for a job; afterwards, no process that it started may be left."""
    warm_servers.start()
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    made = Work(tmp_path)
    yield made
    made.close_pipes()
    # The guardian of a fork server that was killed ends a moment after it.
    _, left = psutil.wait_procs(made.processes(), timeout=5)
    assert [process for process in left if process in made.processes()] == [], "processes left behind"
    children = [
        p
        for p in psutil.Process().children(recursive=True)
        if p.pid not in before and p.status() != psutil.STATUS_ZOMBIE
    ]
    assert [child for child in children if not _of_python(child)] == [], "processes left behind"


def _of_python(process: psutil.Process) -> bool:
    """Whether it belongs to Python's multiprocessing, which keeps it until this process ends once Dask's nannies have used it."""
    return "multiprocessing.resource_tracker" in " ".join(process.cmdline())


@pytest.fixture
def failing_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """After `failing_disk(n, errno.ENOSPC)` n more bytes can be written, then every write fails with that error."""

    def fail_after(room: int, number: int) -> None:
        def write(fd: int, data: bytes | bytearray | memoryview) -> None:
            nonlocal room
            taken = bytes(data)[: max(room, 0)]
            os.write(fd, taken)
            room -= len(taken)
            if len(taken) < len(data):
                raise OSError(number, os.strerror(number))

        monkeypatch.setattr(atomic, "write_all", write)

    return fail_after
