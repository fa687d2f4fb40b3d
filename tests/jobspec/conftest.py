"""A folder with everything that a small job names, and short ways to load jobs from it."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from daskpar.errors import Problem, SpecError
from daskpar.jobspec.load import load_job
from daskpar.jobspec.model import PipelineJob
from spec_schema import TextDates, schema_mistakes

SCRIPT = "def init():\n    pass\n\n\ndef run(mini_batch):\n    return mini_batch\n"


def fits_the_schema(path: Path, job: PipelineJob) -> PipelineJob:
    """What is accepted without a warning is accepted by the JSON schema too: said of every spec of these tests."""
    if not job.warnings:
        tree = yaml.load(
            path.read_text(encoding="utf-8"), yaml.BaseLoader if "!!" in path.read_text() else TextDates
        )
        assert not (wrong := schema_mistakes(tree)), wrong
    return job


@dataclass(frozen=True)
class Folder:
    """A folder of specs: every method writes or reads there."""

    path: Path

    def write(self, name: str, text: str = "") -> Path:
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(textwrap.dedent(text), encoding="utf-8")
        return target

    def load(
        self, text: str, *, overrides: Mapping[str, str] | None = None, staged: Collection[str] = ()
    ) -> PipelineJob:
        """Write `text` as pipeline.yml and check it, with no run directory; any datastore may be named."""
        path = self.write("pipeline.yml", text)
        return fits_the_schema(path, load_job(path, overrides=overrides, staged=staged))

    def job(self, text: str, **changes: str) -> PipelineJob:
        """The job with `RUN` (below this folder) as its run directory; `changes` are overrides with `__` for dots."""
        overrides = {key.replace("__", "."): value for key, value in changes.items()}
        return self.run_job(self.write("pipeline.yml", text), overrides=overrides)

    def run_job(self, path: Path, **how: Any) -> PipelineJob:
        """The job of a file as it would run in `RUN`, with no datastore but the default one."""
        how = {"run_directory": self.path / "RUN", "datastores": {}, **how}
        return fits_the_schema(path, load_job(path, **how))

    def problems(self, text: str) -> tuple[Problem, ...]:
        """The mistakes in `text`, which has to have some."""
        with pytest.raises(SpecError) as caught:
            self.load(text)
        return caught.value.problems

    def warnings(self, text: str) -> list[str]:
        return [str(problem) for problem in self.load(text).warnings]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """A folder (the working directory too) with `data/`, `table/MLTable`, `file.csv` and `code/script.py`."""
    monkeypatch.chdir(tmp_path)
    here = Folder(tmp_path)
    here.write("data/a.png")
    here.write("table/MLTable", "paths: []\n")
    here.write("file.csv", "a\n1\n")
    here.write("code/script.py", SCRIPT)
    return here


def parallel(extra: str = "", *, task: str = "", inputs: str = "", head: str = "", outputs: str = "") -> str:
    """A pipeline of one parallel step `score` over `./data`; the texts go into the step, its task, inputs, outputs, and the top."""
    return "\n".join(
        [
            "type: pipeline",
            textwrap.dedent(head),
            "jobs:",
            "  score:",
            "    type: parallel",
            "    inputs:",
            "      images: {type: uri_folder, path: ./data}",
            textwrap.indent(textwrap.dedent(inputs), "      "),
            "    outputs:",
            "      result: {type: uri_file}",
            textwrap.indent(textwrap.dedent(outputs), "      "),
            "    input_data: ${{inputs.images}}",
            textwrap.indent(textwrap.dedent(extra), "    "),
            "    task:",
            "      type: run_function",
            "      code: ./code",
            "      entry_script: script.py",
            textwrap.indent(textwrap.dedent(task), "      "),
            "",
        ]
    )


def command(text: str, *, inputs: str = "", outputs: str = "", head: str = "", extra: str = "") -> str:
    """A pipeline of one command step `work`."""
    return "\n".join(
        [
            "type: pipeline",
            textwrap.dedent(head),
            "jobs:",
            "  work:",
            "    type: command",
            "    inputs:" if inputs else "",
            textwrap.indent(textwrap.dedent(inputs), "      "),
            "    outputs:" if outputs else "",
            textwrap.indent(textwrap.dedent(outputs), "      "),
            textwrap.indent(textwrap.dedent(extra), "    "),
            "    command: |",
            textwrap.indent(textwrap.dedent(text), "      "),
            "",
        ]
    )


@pytest.fixture
def parallel_job():
    """The function `parallel`, for tests."""
    return parallel


@pytest.fixture
def command_job():
    """The function `command`, for tests."""
    return command
