"""From a spec to the end of its run, in a new run directory or in an earlier one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daskpar.datastores import own_options
from daskpar.driver.options import Options, mounts_inputs
from daskpar.driver.resumed_from import named_to_resume, resumed_from
from daskpar.errors import DaskparError, Problem, SpecError, UsageError
from daskpar.jobspec.given_spec import GivenSpec
from daskpar.named_places import Assets, Components, Datastores, all_datastores

if TYPE_CHECKING:
    from daskpar.driver.result import Run
    from daskpar.jobspec.given_spec import KeptSpec
    from daskpar.jobspec.model import PipelineJob
    from daskpar.rundir.run_directory import RunDirectory


@own_options()
def start_run(
    spec: Path | GivenSpec,
    inputs: Mapping[str, Any],
    run_dir: str | os.PathLike[str] | None,
    options: Options,
) -> Run:
    """Run a job in a new run directory to its end; `inputs` and `run_dir` as `daskpar.run` takes them."""
    from daskpar.rundir.new_path import PathTaken

    collections: dict[str, Any] = {}
    if inputs:
        from daskpar.driver.staged_inputs import split_inputs

        literals, collections = split_inputs(inputs)
        given = {f"inputs.{name}": value for name, value in literals.items()}
        options = replace(options, overrides={**options.overrides, **given})
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
        earlier := named_to_resume(job := resolve_job(definition, assets=assets))
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
        path, warnings = resumed_from(earlier, spec, run_dir)
        return resume_run(path, options, warnings)
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
    from daskpar.rundir.run_directory import RunDirectory

    directory = RunDirectory.create(
        place if run_dir is None else os.fspath(run_dir), job.name, job.spec.resolve(), new=run_dir is None
    )
    pipeline: PipelineRun | None = None
    with directory:
        try:
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
                from daskpar.driver.staged_inputs import stage, workers_of

                with workers_of(options) as client:
                    stage(collections, directory.staged_inputs, client)
            pipeline = PipelineRun(job, directory, options, warnings=job.warnings)
            return pipeline.run()
        except BaseException:
            # Within: a driver that waits for the lock must not have the folder removed under it.
            if pipeline is None or not pipeline.may_have_run_steps:
                _leave_nothing(directory, made_parent=run_dir is None)
            raise


def _leave_nothing(directory: RunDirectory, *, made_parent: bool) -> None:
    """Remove what was made for a run that did not come about, `runs/` too where nothing else is in it.

    It holds its lock until then.
    """
    from daskpar.rundir.removal import take_away

    with suppress(DaskparError):
        take_away(directory.path)
    directory.close()
    with suppress(OSError):
        directory.path.rmdir()
    if made_parent:
        with suppress(OSError):
            directory.path.parent.rmdir()


@own_options()
def resume_run(path: Path, options: Options, warnings: Sequence[Problem] = ()) -> Run:
    """Go on with the run in the directory `path`; `warnings` are shown with its own."""
    from daskpar.driver.pipeline_run import PipelineRun
    from daskpar.driver.result import completed_before
    from daskpar.driver.resume import reopen
    from daskpar.driver.startup import started_ahead

    with ExitStack() as ahead:
        opened = reopen(path, options, lambda job, options: ahead.enter_context(started_ahead(job, options)))
        with opened.directory as directory:
            if opened.job is None:
                return completed_before(directory, options.datastores)
            return PipelineRun(
                opened.job, directory, opened.options, resumed=True, warnings=[*warnings, *opened.warnings]
            ).run()
