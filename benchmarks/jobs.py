"""Turns a workload into a daskpar job as a user writes one: an MLTable, a pipeline YAML and a command."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.harness import DATA, ROOT, Command, Wrong

SCRIPTS = ROOT / "benchmarks" / "scripts"
STEP = "job"


def mltable(name: str, paths: list[str], reader: str | None) -> Path:
    """A folder with an MLTable over `paths` (`file: ...`, `folder: ...`, `pattern: ...`) read by `reader`;
    None: a file list.
    """
    folder = DATA / "mltables" / name
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["type: mltable", "paths:", *(f"  - {path}" for path in paths)]
    if reader:
        lines += ["transformations:", f"  - {reader}"]
    (folder / "MLTable").write_text("\n".join(lines) + "\n")
    return folder


@dataclass(frozen=True, kw_only=True)
class Job:
    """A pipeline of one parallel step."""

    name: str
    script: str
    """File in `benchmarks/scripts`."""
    data: Path
    url: str = ""
    """A folder of files in a bucket, in the place of `data`."""
    arguments: str = ""
    """Further program arguments."""
    tabular: bool = True
    """An MLTable read as rows; else a list of files."""
    mini_batch_size: str = ""
    partition_keys: tuple[str, ...] = ()
    processors: int = 2
    max_retries: int = 2
    timeout: int = 60
    append_row: bool = True
    row_format: str = "text"
    into_folder: bool = False
    """Whether rows go to a folder of part files."""
    model_folder: bool = False
    """Whether the script gets a folder to write to."""
    arguments: str = ""
    """Further program arguments."""
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where the spec lies."""
        return DATA / "jobs" / self.name

    @property
    def run_directory(self) -> Path:
        """Where the run puts everything."""
        return self.folder / "run"

    @property
    def rows(self) -> Path:
        """The aggregated file, or folder."""
        ending = {"text": ".txt"}.get(self.row_format, f".{self.row_format}")
        return self.folder / ("rows" if self.into_folder else f"rows{ending}")

    @property
    def models(self) -> Path:
        """The output folder."""
        return self.folder / "models"

    def write(self) -> Path:
        """The spec, written."""
        step: dict[str, object] = {
            "type": "parallel",
            "inputs": {"data": self._input()},
            "outputs": {},
            "input_data": "${{inputs.data}}",
            "resources": {"instance_count": 1},
            "max_concurrency_per_instance": self.processors,
            "retry_settings": {"max_retries": self.max_retries, "timeout": self.timeout},
            "environment_variables": dict(self.environment),
            "task": {
                "type": "run_function",
                "code": str(SCRIPTS),
                "entry_script": self.script,
                "environment": "azureml:any:1",
            },
        }
        task, outputs = step["task"], step["outputs"]
        assert isinstance(task, dict) and isinstance(outputs, dict)
        if self.partition_keys:
            step["partition_keys"] = list(self.partition_keys)
        else:
            step["mini_batch_size"] = self.mini_batch_size
        if self.append_row:
            kind = "uri_folder" if self.into_folder else "uri_file"
            outputs["rows"] = {"type": kind, "path": str(self.rows)}
            task["append_row_to"] = "${{outputs.rows}}"
            if self.row_format != "text":
                task["program_arguments"] = f"--append_row_format {self.row_format}"
        if self.model_folder:
            outputs["models"] = {"type": "uri_folder", "path": str(self.models)}
            task["program_arguments"] = "--model_folder ${{outputs.models}}"
        if self.arguments:
            task["program_arguments"] = f"{task.get('program_arguments', '')} {self.arguments}".strip()
        self.folder.mkdir(parents=True, exist_ok=True)
        spec = self.folder / "pipeline.yml"
        # JSON is YAML, and needs no library here.
        spec.write_text(
            json.dumps(
                {"type": "pipeline", "name": self.name, "compute": "local", "jobs": {STEP: step}}, indent=2
            )
        )
        return spec

    def _input(self) -> dict[str, str]:
        if self.url:
            return {"type": "uri_folder", "path": self.url, "mode": "ro_mount"}
        if self.tabular:
            return {"type": "mltable", "path": str(self.data), "mode": "direct"}
        kind = "mltable" if (self.data / "MLTable").exists() else "uri_folder"
        return {"type": kind, "path": str(self.data), "mode": "ro_mount"}

    def clear(self) -> None:
        """Remove what an earlier run left."""
        shutil.rmtree(self.run_directory, ignore_errors=True)
        shutil.rmtree(self.models, ignore_errors=True)
        if self.into_folder:
            shutil.rmtree(self.rows, ignore_errors=True)
        else:
            self.rows.unlink(missing_ok=True)

    def command(
        self,
        *,
        name: str = "daskpar",
        check: Callable[[], None] = lambda: None,
        marks: Callable[[], Mapping[str, float]] = dict,
        options: tuple[str, ...] = (),
        module: str = "daskpar",
        **more: object,
    ) -> Command:
        """`python -m daskpar` on this job, with everything on that it has on by default."""
        spec = self.write()
        argv = (
            sys.executable,
            "-m",
            module,
            str(spec),
            "--run-dir",
            str(self.run_directory),
            "--dashboard",
            "127.0.0.1:0",
            *options,
        )
        return Command(
            name=name,
            argv=argv,
            prepare=self.clear,
            check=check,
            marks=lambda _: {**step_marks(self.run_directory), **marks()},
            **more,  # type: ignore[arg-type]
        )

    def counts(self) -> dict[str, int]:
        """Counts of the step as the run directory has them."""
        return dict(self._state()["counts"])  # type: ignore[call-overload]

    def expect(self, **counts: int) -> None:
        """Raise `Wrong` unless the step counted just this."""
        found = self.counts()
        wrong = {name: found.get(name) for name, value in counts.items() if found.get(name) != value}
        if wrong:
            raise Wrong(f"{self.name}: counted {wrong}, expected {counts}")

    def _state(self) -> dict[str, object]:
        state = json.loads((self.run_directory / "steps" / STEP / "step.json").read_text())
        assert isinstance(state, dict)
        return state


def step_marks(run_directory: Path) -> dict[str, float]:
    """`up`: the step starts, the cluster being there; `done`: its output is complete; `planned`: the
    mini-batches are known.
    """
    folder = run_directory / "steps" / STEP
    state = json.loads((folder / "step.json").read_text())
    marks = {"up": float(state["started"]), "done": float(state["ended"])}
    plan = folder / "plan" / "plan.json"
    if plan.exists():
        marks["planned"] = plan.stat().st_mtime
    return marks
