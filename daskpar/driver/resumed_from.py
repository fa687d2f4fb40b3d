"""The earlier run that a job names by `--resume_from`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from daskpar.errors import Problem, RunDirectoryError, UsageError
from daskpar.jobspec.given_spec import GivenSpec
from daskpar.jobspec.model import ParallelStep
from daskpar.paths import RunPaths, shell_path

if TYPE_CHECKING:
    from daskpar.jobspec.model import PipelineJob


def named_to_resume(job: PipelineJob) -> str:
    """What `--resume_from` of the job's steps names; empty where none gives it."""
    names = (step.settings.resume_from for step in job.steps if isinstance(step, ParallelStep))
    return next((name for name in names if name), "")


def resumed_from(
    name: str, spec: Path | GivenSpec, run_dir: str | os.PathLike[str] | None
) -> tuple[Path, list[Problem]]:
    """The run directory that `--resume_from` in `spec` names, and what to warn of.

    Raises UsageError where that run is of another spec.
    """
    from daskpar.rundir.run_directory import RunDirectory

    path = _earlier_run(name, run_dir)
    of = RunDirectory.open(path, lock=False).identity.spec
    here = RunPaths(path).kept_spec if isinstance(spec, GivenSpec) else spec
    if os.path.realpath(of) != os.path.realpath(here):
        written = spec.label if isinstance(spec, GivenSpec) else os.path.abspath(spec)
        raise UsageError(
            f"--resume_from {name} is written in {written}, but {path} is a "
            f"run of {of}: write it there, "
            f"or go on with that run by `python -m daskpar resume {shell_path(path)}`."
        )
    if run_dir is None or os.path.realpath(run_dir) == os.path.realpath(path):
        return path, []
    what = f"no run directory is made at {os.fspath(run_dir)}: --resume_from goes on in {path}."
    return path, [Problem(file="run directory", line=None, path="", what=what)]


def _earlier_run(name: str, run_dir: str | os.PathLike[str] | None) -> Path:
    """The run directory that `--resume_from` names: a path, or the name of one where new runs go."""
    for candidate in (
        Path(name),
        Path("runs") / name,
        Path(run_dir).parent / name if run_dir is not None else Path(name),
    ):
        if RunPaths(candidate).identity_file.is_file():
            return candidate
    raise RunDirectoryError(f"--resume_from {name}: no run directory of that name here or below runs/")
