"""The public functions: check a spec, run it in a new run directory, go on with an earlier run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from daskpar.batches.selection import selection
from daskpar.datastores import Written
from daskpar.driver.options import (
    Assets,
    Components,
    Datastores,
    Options,
    all_datastores,
    mounts_inputs,
)
from daskpar.errors import InputError, Problem, RunDirectoryError, SpecError, UsageError
from daskpar.jobspec.given_spec import GivenSpec
from daskpar.jobspec.model import ParallelStep
from daskpar.paths import RunPaths, shell_path

if TYPE_CHECKING:
    from distributed import Client

    from daskpar.driver.result import Run
    from daskpar.environments.environment_choices import WrittenHow
    from daskpar.jobspec.given_spec import KeptSpec
    from daskpar.jobspec.model import PipelineJob

Spec: TypeAlias = str | os.PathLike[str] | Mapping[str, Any] | Any
"""What a job may be given as; `run` says what each means."""


def validate(
    spec: Spec,
    overrides: Mapping[str, str] | None = None,
    datastores: Mapping[str, Written] | None = None,
    components: Mapping[str, str] | None = None,
    assets: Mapping[str, str] | None = None,
    environments: Mapping[str, WrittenHow] | None = None,
) -> tuple[Problem, ...]:
    """Check a spec, and the MLTables that it names, without running anything; its warnings.

    `spec`: as `run` takes it.
    `datastores`: name -> folder, URL or `{"url": ..., "storage_options": {...}}`, `components` and `assets`:
    name of what is registered in a workspace or registry -> its place, `environments`: name of an environment
    or of a step -> how it is had, as of `--environment`; on top of those in Dask's configuration. A component
    that is checked alone needs no values: a warning says which it needs to run.
    Raises SpecError with every mistake at once, each with file, line, path and what to do.
    """
    from daskpar.driver.named_tables import table_problems
    from daskpar.driver.step_pythons import with_pythons
    from daskpar.environments.environment_check import differences
    from daskpar.jobspec.from_objects import spec_of
    from daskpar.jobspec.load import load_job
    from daskpar.jobspec.script_imports import missing_imports

    job = load_job(
        spec_of(spec),
        overrides=overrides,
        datastores=Datastores(datastores or {}),
        components=Components(components or {}),
        assets=Assets(assets or {}),
        bare=True,
    )
    if problems := table_problems(job):
        raise SpecError(problems, job.warnings)
    job = with_pythons(job, environments)
    return (*job.warnings, *missing_imports(job), *differences(job))


def plan(
    spec: Spec,
    overrides: Mapping[str, str] | None = None,
    datastores: Mapping[str, Written] | None = None,
    components: Mapping[str, str] | None = None,
    assets: Mapping[str, str] | None = None,
    environments: Mapping[str, WrittenHow] | None = None,
) -> str:
    """What would run, as text: each effective value and where it came from, and the mini-batches.

    `spec`: as `run` takes it; the others as in `validate`. Runs no user code and leaves nothing behind.
    Raises SpecError for a spec with mistakes, InputError where the mini-batches of a step can't be planned.
    """
    from daskpar.driver.plan_text import plan_text
    from daskpar.jobspec.from_objects import spec_of

    text, troubles = plan_text(
        spec_of(spec),
        overrides=overrides or {},
        datastores=datastores or {},
        components=components,
        assets=assets,
        environments=environments,
    )
    if troubles:
        raise InputError("\n".join(troubles))
    return text


def run(
    spec: Spec,
    *,
    client: Client | None = None,
    scheduler: str | None = None,
    compute: str | None = None,
    inputs: Mapping[str, Any] | None = None,
    overrides: Mapping[str, str] | None = None,
    run_dir: str | os.PathLike[str] | None = None,
    datastores: Mapping[str, Written] | None = None,
    components: Mapping[str, str] | None = None,
    assets: Mapping[str, str] | None = None,
    environments: Mapping[str, WrittenHow] | None = None,
    mini_batches: str | int | Iterable[int] | None = None,
    limit: int | None = None,
    worker_processes: bool = False,
    dashboard: str | None = "127.0.0.1:8787",
    display: bool | None = None,
) -> Run:
    """Run a pipeline job (or a parallel or command component) to its end.

    `spec`: path of the YAML file; YAML text of several lines; a mapping that says what the file would; or a
    job, component or node made with `azure-ai-ml`, or a pipeline function that takes no arguments. Relative
    paths in a mapping or a text start from the working directory, in an object of the SDK from the working
    directory in which it was made.

    `client`, `scheduler` (address) or `compute` (name below `daskpar.computes` in Dask's configuration)
    choose the Dask cluster, a local one in this process by default. `inputs`:
    pipeline input name -> literal, path, Dask or pandas DataFrame, or Dask bag of file paths; collections are
    computed once, into the run directory. `overrides`: as `--set`. `datastores`, `components`, `assets`,
    `environments`: as in `validate`. `run_dir`: default `runs/NAME-TIME` below the working directory.
    `mini_batches` (`"0,5,7-9"`, an index, indices) and `limit` (the first so many): only these of each
    parallel step; the run is then `partial`, and `resume` runs the rest.

    Returns the ended run, whatever its status; `.check()` raises for one that did not complete. Raises
    SpecError, UsageError or InputError when the job can't start.
    """
    options = Options(
        overrides=overrides or {},
        datastores=datastores or {},
        components=components or {},
        assets=assets or {},
        environments=environments or {},
        client=client,
        scheduler=scheduler,
        compute=compute,
        worker_processes=worker_processes,
        dashboard=dashboard,
        display=display,
        selection=selection(mini_batches, limit),
    )
    from daskpar.jobspec.from_objects import spec_of

    return start(spec_of(spec), inputs or {}, run_dir, options)


def resume(
    run: str | os.PathLike[str] | Run,
    *,
    client: Client | None = None,
    scheduler: str | None = None,
    compute: str | None = None,
    overrides: Mapping[str, str] | None = None,
    datastores: Mapping[str, Written] | None = None,
    components: Mapping[str, str] | None = None,
    assets: Mapping[str, str] | None = None,
    environments: Mapping[str, WrittenHow] | None = None,
    retry_failed: bool = False,
    allow_changes: bool = False,
    mini_batches: str | int | Iterable[int] | None = None,
    limit: int | None = None,
    worker_processes: bool = False,
    dashboard: str | None = "127.0.0.1:8787",
    display: bool | None = None,
) -> Run:
    """Go on with a run where it was: only what is not committed is run.

    `run`: a run directory, or what `daskpar.run` returned. `retry_failed`: a completed run's failed
    mini-batches too. `allow_changes`: go on although code, inputs or values that reach the script have
    changed since; the mini-batches of a step that had begun stay those of its plan. Thresholds, timeouts,
    retries, logging and compute settings are those of the spec as it is now. `mini_batches`, `limit`: as
    those of `run`; without them all that is left is run, also of a partial run.

    Raises RunDirectoryError for a directory that is none of ours, in use, of a newer version, or whose inputs
    changed.
    """
    options = Options(
        overrides=overrides or {},
        datastores=datastores or {},
        components=components or {},
        assets=assets or {},
        environments=environments or {},
        client=client,
        scheduler=scheduler,
        compute=compute,
        worker_processes=worker_processes,
        dashboard=dashboard,
        display=display,
        selection=selection(mini_batches, limit),
        retry_failed=retry_failed,
        allow_changes=allow_changes,
    )
    return _resume(Path(run) if isinstance(run, str | os.PathLike) else run.path, options=options)


def go_on(path: Path, options: Options) -> Run:
    """`resume` with its options as one value."""
    return _resume(path, options=options)


def start(
    spec: Path | GivenSpec,
    inputs: Mapping[str, Any],
    run_dir: str | os.PathLike[str] | None,
    options: Options,
) -> Run:
    """`run` with its options as one value."""
    from daskpar.driver.staged_inputs import split_inputs
    from daskpar.rundir.new_path import PathTaken

    literals, collections = split_inputs(inputs)
    overrides = {**options.overrides, **{f"inputs.{name}": value for name, value in literals.items()}}
    options = replace(options, overrides=overrides)
    while True:
        # A job knows where it is going to run, so one whose place was taken meanwhile is read again.
        with suppress(PathTaken):
            return _start(spec, collections, run_dir, options)


def _start(
    spec: Path | GivenSpec,
    collections: Mapping[str, Any],
    run_dir: str | os.PathLike[str] | None,
    options: Options,
) -> Run:
    """Read the job and run it in a new run directory, or in an earlier one where it says so."""
    from daskpar.driver.job_secrets import take_secrets
    from daskpar.driver.startup import started_ahead
    from daskpar.driver.step_pythons import with_pythons
    from daskpar.jobspec.load import read_definition, resolve_job
    from daskpar.rundir.new_path import new_path

    definition = read_definition(
        spec,
        overrides=options.overrides,
        staged=collections,
        run_directory=new_path if run_dir is None else Path(run_dir),
        components=Components(options.components),
    )
    assets = Assets(options.assets)
    if definition.may_resume_from and (
        earlier := _resume_from(job := resolve_job(definition, assets=assets))
    ):
        # Datastores were not looked at: the earlier run has its own.
        if collections:
            raise UsageError(
                "--resume_from goes on with the inputs of the earlier run; "
                f"leave out {', '.join(collections)}"
            )
        _show_warnings(job, options)
        if isinstance(spec, GivenSpec):
            options = replace(options, given_spec=spec)
        return _resume(*_resumed_from(earlier, spec, run_dir), options=options)
    job = resolve_job(
        definition,
        datastores=Datastores(options.datastores),
        assets=assets,
        mounts=mounts_inputs(options),
    )
    job = with_pythons(job, options.environments, here=options.is_here)
    _check_scripts(job, options)
    _show_warnings(job, options)
    take_secrets(job)
    if any(data.is_fetched for step in job.steps for data in step.inputs.values()):
        from daskpar.driver.remote_inputs import check_remote_inputs

        all_datastores(options.datastores)
        check_remote_inputs(job)
    with started_ahead(job, options):
        given = spec if isinstance(spec, GivenSpec) else None
        return _run_new(job, definition.run_directory, collections, run_dir, options, given, definition.kept)


def _check_scripts(job: PipelineJob, options: Options) -> None:
    """SpecError for packages that scripts need and that the Python of their processors does not have, where
    it is this one. MLTables are opened before the job starts in any case.
    """
    from daskpar.jobspec.script_imports import missing_imports

    # Else the nodes have a Python of their own.
    if options.is_here and (problems := missing_imports(job)):
        raise SpecError(problems, job.warnings)


def _resume_from(job: PipelineJob) -> str:
    """What `--resume_from` of the job's steps names; empty where none gives it."""
    names = (step.settings.resume_from for step in job.steps if isinstance(step, ParallelStep))
    return next((name for name in names if name), "")


def _show_warnings(job: PipelineJob, options: Options) -> None:
    for warning in job.warnings if options.show_warning else ():
        assert options.show_warning is not None
        options.show_warning(str(warning))


def _run_new(
    job: PipelineJob,
    place: Path,
    collections: Mapping[str, Any],
    run_dir: str | os.PathLike[str] | None,
    options: Options,
    given: GivenSpec | None = None,
    kept: KeptSpec | None = None,
) -> Run:
    """Run a job in a new run directory at `place`; `collections` are its inputs that have to be staged.

    `given`: the job where it has no file, of which `kept` is written into the run directory.
    """
    from daskpar.driver.pipeline_run import PipelineRun
    from daskpar.driver.resume import keep_spec, write_started_with
    from daskpar.driver.staged_inputs import stage, workers_of
    from daskpar.rundir.run_directory import RunDirectory

    directory = RunDirectory.create(
        place if run_dir is None else os.fspath(run_dir), job.name, job.spec.resolve(), new=run_dir is None
    )
    pipeline: PipelineRun | None = None
    try:
        with directory:
            write_started_with(
                directory,
                overrides=options.overrides,
                staged={name: str(directory.staged_inputs / name) for name in collections},
                datastores=all_datastores(options.datastores),
                components=options.components,
                assets=options.assets,
                environments=options.environments,
                cluster=options.cluster,
                spec=given,
                left_out=kept.left_out if kept else (),
            )
            if given is not None and kept is not None:
                keep_spec(directory, kept, given.files)
            if collections:
                with workers_of(options) as client:
                    stage(collections, directory.staged_inputs, client)
            pipeline = PipelineRun(job, directory, options, warnings=job.warnings)
            return pipeline.run()
    except BaseException:
        if pipeline is None or not pipeline.may_have_run_steps:
            _leave_nothing(directory.path, made_parent=run_dir is None)
        raise


def _resume(path: Path, warnings: Sequence[Problem] = (), *, options: Options) -> Run:
    from daskpar.driver.pipeline_run import PipelineRun
    from daskpar.driver.result import completed_before
    from daskpar.driver.resume import reopen
    from daskpar.driver.startup import started_ahead

    with ExitStack() as ahead:
        opened = reopen(path, options, lambda job, options: ahead.enter_context(started_ahead(job, options)))
        with opened.directory as directory:
            if opened.job is None:
                return completed_before(directory)
            return PipelineRun(
                opened.job, directory, opened.options, resumed=True, warnings=[*warnings, *opened.warnings]
            ).run()


def resume_run(path: Path, options: Options) -> Run:
    """`resume` with its options as one value."""
    return _resume(path, options=options)


def _leave_nothing(run_directory: Path, *, made_parent: bool) -> None:
    """Remove what was made for a run that did not come about, `runs/` too where nothing else is in it."""
    shutil.rmtree(run_directory, ignore_errors=True)
    if made_parent:
        with suppress(OSError):
            run_directory.parent.rmdir()


def _resumed_from(
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


__all__ = ["Options", "plan", "resume", "run", "start", "validate"]
