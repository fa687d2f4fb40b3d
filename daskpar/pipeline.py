"""The public door of a run: load the spec, make or reopen its run directory, run, give back what became of
it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daskpar.driver.options import Options, all_datastores
from daskpar.errors import Problem, RunDirectoryError, UsageError
from daskpar.jobspec.model import ParallelStep

if TYPE_CHECKING:
    from distributed import Client

    from daskpar.driver.result import Run
    from daskpar.jobspec.load import JobDefinition

NO_COLLECTION = "/given"
"""Stands for the folder of inputs given from Python before they are staged."""


def validate(
    spec: str | os.PathLike[str],
    overrides: Mapping[str, str] | None = None,
    datastores: Mapping[str, str] | None = None,
) -> tuple[Problem, ...]:
    """Check a spec without running anything; its warnings.

    `datastores`: name -> folder or URL, on top of those in Dask's configuration; without them any name is
    taken for one. Raises SpecError with every mistake at once, each with file, line, path and what to do.
    """
    from daskpar.jobspec.load import load_job

    known = all_datastores(datastores) if datastores else None
    return tuple(load_job(Path(spec), overrides=overrides or {}, datastores=known).warnings)


def run(
    spec: str | os.PathLike[str],
    *,
    client: Client | None = None,
    scheduler: str | None = None,
    compute: str | None = None,
    inputs: Mapping[str, Any] | None = None,
    overrides: Mapping[str, str] | None = None,
    run_dir: str | os.PathLike[str] | None = None,
    datastores: Mapping[str, str] | None = None,
    worker_processes: bool = False,
    dashboard: str | None = "127.0.0.1:8787",
    display: bool | None = None,
) -> Run:
    """Run a pipeline job (or a parallel or command component) to its end.

    `spec`: path of the YAML file. `client`, `scheduler` (address) or `compute` (name below `daskpar.computes`
    in Dask's configuration) choose the Dask cluster, a local one in this process by default. `inputs`:
    pipeline input name -> literal, path, Dask or pandas DataFrame, or Dask bag of file paths; collections are
    computed once, into the run directory. `overrides`: as `--set`. `run_dir`: default `runs/NAME-TIME` below
    the working directory.

    Returns the ended run, whatever its status; `.check()` raises for one that did not complete. Raises
    SpecError, UsageError or InputError when the job can't start.
    """
    options = Options(
        overrides=overrides or {},
        datastores=datastores or {},
        client=client,
        scheduler=scheduler,
        compute=compute,
        worker_processes=worker_processes,
        dashboard=dashboard,
        display=display,
    )
    return _start(Path(spec), inputs or {}, run_dir, options)


def resume(
    run: str | os.PathLike[str] | Run,
    *,
    client: Client | None = None,
    scheduler: str | None = None,
    compute: str | None = None,
    overrides: Mapping[str, str] | None = None,
    datastores: Mapping[str, str] | None = None,
    retry_failed: bool = False,
    allow_changes: bool = False,
    worker_processes: bool = False,
    dashboard: str | None = "127.0.0.1:8787",
    display: bool | None = None,
) -> Run:
    """Go on with a run where it was: only what is not committed is run.

    `run`: a run directory, or what `daskpar.run` returned. `retry_failed`: a completed run's failed
    mini-batches too. `allow_changes`: go on although code, inputs or values that reach the script have
    changed since; the mini-batches of a step that had begun stay those of its plan. Thresholds, timeouts,
    retries, logging and compute settings are those of the spec as it is now.

    Raises RunDirectoryError for a directory that is none of ours, in use, of a newer version, or whose inputs
    changed.
    """
    options = Options(
        overrides=overrides or {},
        datastores=datastores or {},
        client=client,
        scheduler=scheduler,
        compute=compute,
        worker_processes=worker_processes,
        dashboard=dashboard,
        display=display,
        retry_failed=retry_failed,
        allow_changes=allow_changes,
    )
    return _resume(Path(run) if isinstance(run, str | os.PathLike) else run.path, options=options)


def _resume(path: Path, warnings: Sequence[Problem] = (), *, options: Options) -> Run:
    from daskpar.driver.pipeline_run import PipelineRun
    from daskpar.driver.result import completed_before
    from daskpar.driver.resume import reopen
    from daskpar.driver.startup import started_ahead

    opened = reopen(path, options)
    with opened.directory as directory:
        if opened.job is None:
            return completed_before(directory)
        with started_ahead(opened.job, opened.options):
            return PipelineRun(
                opened.job, directory, opened.options, resumed=True, warnings=[*warnings, *opened.warnings]
            ).run()


def _start(
    spec: Path, inputs: Mapping[str, Any], run_dir: str | os.PathLike[str] | None, options: Options
) -> Run:
    from daskpar.driver.staged_inputs import split_inputs
    from daskpar.driver.startup import started_ahead
    from daskpar.jobspec.load import NO_RUN, load_job

    literals, collections = split_inputs(inputs)
    overrides = {**options.overrides, **{f"inputs.{name}": value for name, value in literals.items()}}
    definition = load_job(
        spec, overrides=overrides, given={name: f"{NO_COLLECTION}/{name}" for name in collections}
    )
    if earlier := next(
        (
            s.settings.resume_from
            for s in definition.preview.steps
            if isinstance(s, ParallelStep) and s.settings.resume_from
        ),
        "",
    ):
        if collections:
            raise UsageError(
                f"--resume_from goes on with the inputs of the earlier run; leave out {', '.join(collections)}"
            )
        return _resume(*_resumed_from(earlier, spec, run_dir), options=replace(options, overrides=overrides))
    with started_ahead(definition.preview, options, placeholders=(f"{NO_RUN}/", f"{NO_COLLECTION}/")):
        return _run_new(definition, collections, run_dir, options, overrides)


def _run_new(
    definition: JobDefinition,
    collections: Mapping[str, Any],
    run_dir: str | os.PathLike[str] | None,
    options: Options,
    overrides: Mapping[str, str],
) -> Run:
    """Run a job that was read and checked; `collections` are its inputs that have to be staged."""
    from daskpar.driver.pipeline_run import PipelineRun
    from daskpar.driver.resume import remember
    from daskpar.driver.staged_inputs import stage
    from daskpar.jobspec.load import load_job, resolve_job
    from daskpar.rundir.run_directory import RunDirectory

    directory = RunDirectory.create(
        os.fspath(run_dir) if run_dir is not None else None, definition.name, definition.spec.resolve()
    )
    pipeline: PipelineRun | None = None
    try:
        with directory:
            given = {name: str(directory.path / "inputs" / name) for name in collections}
            datastores = all_datastores(options.datastores)
            remember(
                directory, overrides=overrides, given=given, datastores=datastores, cluster=options.cluster
            )
            stage(collections, directory.path / "inputs", options.client)
            if given:
                definition = load_job(definition.spec, overrides=overrides, given=given)
            job = resolve_job(definition, run_directory=directory.path, datastores=datastores)
            pipeline = PipelineRun(job, directory, options, warnings=definition.warnings)
            return pipeline.run()
    except BaseException:
        if pipeline is None or not pipeline.begun:
            _leave_nothing(directory.path, made_parent=run_dir is None)
        raise


def _leave_nothing(run_directory: Path, *, made_parent: bool) -> None:
    """Remove what was made for a run that did not come about, `runs/` too where nothing else is in it."""
    shutil.rmtree(run_directory, ignore_errors=True)
    if made_parent:
        with suppress(OSError):
            run_directory.parent.rmdir()


def _resumed_from(
    name: str, spec: Path, run_dir: str | os.PathLike[str] | None
) -> tuple[Path, list[Problem]]:
    """The run directory that `--resume_from` in `spec` names, and what to warn of. UsageError where that run
    is of another spec.
    """
    from daskpar.rundir.run_directory import RunDirectory

    path = _earlier_run(name, run_dir)
    of = RunDirectory.open(path, lock=False).identity.spec
    if os.path.realpath(of) != os.path.realpath(spec):
        raise UsageError(
            f"--resume_from {name} is written in {os.path.abspath(spec)}, but {path} is a run of {of}: write it there, "
            f"or go on with that run by `python -m daskpar resume {path}`."
        )
    if run_dir is None or os.path.realpath(run_dir) == os.path.realpath(path):
        return path, []
    what = f"no run directory is made at {os.fspath(run_dir)}: --resume_from goes on in {path}."
    return path, [Problem(file="run directory", line=None, path="", what=what)]


def _earlier_run(name: str, run_dir: str | os.PathLike[str] | None) -> Path:
    """The run directory that `--resume_from` names: a path, or the name of one beside the directory of new
    runs.
    """
    for candidate in (
        Path(name),
        Path("runs") / name,
        Path(run_dir).parent / name if run_dir is not None else Path(name),
    ):
        if (candidate / "run.json").is_file():
            return candidate
    raise RunDirectoryError(f"--resume_from {name}: no run directory of that name here or below runs/")


__all__ = ["Options", "resume", "run", "validate"]
