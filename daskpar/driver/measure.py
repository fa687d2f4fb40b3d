"""Runs a few mini-batches of a spec on the side, and says what the whole would take (`plan --measure`)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from daskpar.batches.selection import Selection
from daskpar.datastores import Written, own_options
from daskpar.driver.job_secrets import take_secrets
from daskpar.driver.measured_step import Measured
from daskpar.driver.options import Options, mounts_inputs
from daskpar.driver.step_pythons import with_pythons
from daskpar.environments.environment_choices import WrittenHow
from daskpar.errors import DaskparError, Interrupted
from daskpar.jobspec.load import read_definition, resolve_job
from daskpar.jobspec.model import ParallelStep, PipelineJob
from daskpar.jobspec.steps_apart import StepsApart
from daskpar.named_places import Assets, Components, all_datastores
from daskpar.paths import RunPaths
from daskpar.results import Status, StepResult

if TYPE_CHECKING:
    from daskpar.batches.plan import Plan


@own_options()
def measure(
    spec: Path,
    number: int,
    overrides: Mapping[str, str],
    datastores: Mapping[str, Written],
    components: Mapping[str, str] | None = None,
    assets: Mapping[str, str] | None = None,
    environments: Mapping[str, WrittenHow] | None = None,
) -> dict[str, Measured]:
    """Run `number` mini-batches, evenly spread, of each parallel step whose input is there.

    Returns step -> what was seen. Nothing is written to outputs: they are folders that are removed at the
    end. Raises what a run raises.
    """
    with tempfile.TemporaryDirectory(prefix="daskpar-measure-", ignore_cleanup_errors=True) as folder:
        run = Path(folder) / "run"
        definition = read_definition(
            spec, overrides=overrides, run_directory=run, components=Components(components or {})
        )
        places, mounts = all_datastores(datastores), mounts_inputs(Options())
        job = resolve_job(definition, datastores=places, assets=Assets(assets or {}), mounts=mounts)
        names = [step.name for step in job.steps if isinstance(step, ParallelStep) and not step.needs]
        apart = StepsApart(names=frozenset(names), folder=run)
        job = resolve_job(
            definition, datastores=places, assets=Assets(assets or {}), mounts=mounts, apart=apart
        )
        job = with_pythons(job, environments)
        take_secrets(job)
        steps = tuple(
            _without_limits(step)
            for step in job.steps
            if isinstance(step, ParallelStep) and step.name in names
        )
        found = {
            step.name: Measured(
                step=step.name, calls=max(1, step.in_flight), rate_limit=step.settings.rate_limit
            )
            for step in job.steps
            if isinstance(step, ParallelStep) and step.name in names
        }
        if steps:
            _run(replace(job, steps=steps, continue_on_step_failure=True), run, number, datastores, found)
        return found


def _without_limits(step: ParallelStep) -> ParallelStep:
    """What fails is counted, tried once, and ends nothing: the others are measured all the same."""
    own = step.settings
    settings = replace(
        own,
        max_retries=0,
        mini_batch_error_threshold=-1,
        allowed_failed_percent=100.0,
        error_threshold=min(own.error_threshold, 0) if own.error_threshold < 0 else 2**62,
        copy_logs_to_parent=False,
        resource_monitor_interval=0.0,
        isolate_failed_items="",
        failed_items_to=None,
        resume_from=None,
    )
    return replace(step, settings=settings)


def _run(
    job: PipelineJob,
    place: Path,
    number: int,
    datastores: Mapping[str, Written],
    found: Mapping[str, Measured],
) -> None:
    from daskpar.driver.pipeline_run import PipelineRun
    from daskpar.driver.startup import started_ahead
    from daskpar.rundir.run_directory import RunDirectory

    options = Options(
        datastores=datastores,
        dashboard=None,
        display=False,
        selection=Selection(limit=number, evenly=True),
        watchers=tuple(found.values()),
    )
    with RunDirectory.create(place, job.name, job.spec) as directory, started_ahead(job, options):
        run = PipelineRun(job, directory, options).run()
    if run.status == Status.INTERRUPTED:
        raise Interrupted(run.reason)
    for step in job.steps:
        assert isinstance(step, ParallelStep)
        _add_end(found[step.name], step, place, run.steps[step.name])


def _add_end(measured: Measured, step: ParallelStep, place: Path, result: StepResult) -> None:
    from daskpar.batches.plan import GROUPED, Plan

    measured.result = result
    try:
        plan: Plan = Plan.open(RunPaths(place).step(step.name).plan)
    except DaskparError:
        return
    measured.summary = plan.summary
    if plan.kind == GROUPED:
        measured.whole_items = plan.total_items or 0
    # A step with no more mini-batches than are measured is complete.
    rows = result.partial_rows or (step.append_row_to if result.status == Status.COMPLETED else "")
    if rows and os.path.isfile(rows):
        measured.rows_bytes = os.path.getsize(rows)
    elif rows and os.path.isdir(rows):
        from daskpar.outputs.row_folder import part_files

        measured.rows_bytes = sum(os.path.getsize(part) for part in part_files(rows))
