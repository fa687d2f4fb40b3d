"""Makes jobs for whole-run tests: a spec, an entry script and data in a folder, run in this process."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

import warm_servers
from faults import SCRIPT, install, schedule


@dataclass
class Job:
    """One parallel step over invented files, whose script has the faults of `tests/faults`."""

    folder: Path
    faults: dict[int | str, str | list[str]] = field(default_factory=dict)
    """Mini-batch, or another moment of `faults.schedule` -> what happens there."""
    files: int = 20
    per_batch: int = 2
    settings: dict[str, Any] = field(default_factory=dict)
    arguments: str = ""
    retries: int = 1
    timeout: int = 2
    processors: int = 2
    nodes: int = 1
    append: bool = True

    def write(self) -> Path:
        """The spec."""
        (self.folder / "data").mkdir(exist_ok=True)
        for number in range(self.files):
            (self.folder / "data" / f"{number:05d}.txt").write_text(str(number))
        install(self.folder / "code")
        schedule(
            self.folder,
            {f"run {at}" if isinstance(at, int) else at: what for at, what in self.faults.items()},
        )
        task: dict[str, Any] = {
            "type": "run_function",
            "code": "./code",
            "entry_script": SCRIPT,
            "environment": "azureml:any:1",
            "program_arguments": f"--world {self.folder} --resource_monitor_interval 0 {self.arguments}",
        }
        if self.append:
            task["append_row_to"] = "${{outputs.rows}}"
        step = {
            "type": "parallel",
            "inputs": {"files": {"type": "uri_folder", "path": "./data", "mode": "ro_mount"}},
            "outputs": {"rows": {"type": "uri_file", "path": "./rows.txt"}},
            "input_data": "${{inputs.files}}",
            "mini_batch_size": str(self.per_batch),
            "resources": {"instance_count": self.nodes},
            "max_concurrency_per_instance": self.processors,
            "retry_settings": {"max_retries": self.retries, "timeout": self.timeout},
            "task": task,
            **self.settings,
        }
        spec = self.folder / "job.yml"
        spec.write_text(yaml.safe_dump({"type": "pipeline", "jobs": {"work": step}}))
        return spec

    def run(self, **options: Any) -> Any:
        """Run it here; the ended run."""
        import daskpar

        options = {"run_dir": self.folder / "run", "dashboard": None, "display": False, **options}
        return daskpar.run(self.write(), **options)

    def calls(self) -> dict[int, int]:
        """Mini-batch -> how often run() was called for it."""
        lines = (self.folder / "calls").read_text().splitlines()
        return dict(Counter(int(line.split()[0]) for line in lines))

    @property
    def mini_batches(self) -> int:
        return -(-self.files // self.per_batch)

    def rows_of(self, *indices: int) -> list[str]:
        """The rows of well-behaved mini-batches, in order."""
        return [
            f"{index} {number:05d}.txt"
            for index in indices
            for number in range(index * self.per_batch, min(self.files, (index + 1) * self.per_batch))
        ]

    def output(self) -> list[str]:
        """Lines of the aggregated file."""
        return (self.folder / "rows.txt").read_text().splitlines()


@pytest.fixture
def job(tmp_path: Path):
    """Make a job in a folder of its own; afterwards, no process that it started may be left."""
    warm_servers.start()
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    yield lambda **kwargs: Job(folder=tmp_path, **kwargs)
    left = [p for p in descendants_with(str(tmp_path)) if p.pid != os.getpid()]
    children = [
        p
        for p in psutil.Process().children(recursive=True)
        if p.pid not in before and p.status() != psutil.STATUS_ZOMBIE
    ]
    assert left == [], f"processes left behind: {left}"
    assert children == [], f"processes left behind: {children}"


def descendants_with(text: str) -> list[psutil.Process]:
    """Processes whose command line, working directory or environment names `text`."""
    found = []
    for process in psutil.process_iter():
        try:
            if text in " ".join(process.cmdline()) or text in process.cwd():
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found
