"""Turns a declared job into one that can run: builds every step, puts them in order, checks their outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from daskpar.jobspec import scalars
from daskpar.jobspec.command_builder import CommandBuilder
from daskpar.jobspec.declared_job import DeclaredJob, DeclaredStep
from daskpar.jobspec.effective_spec import effective_job
from daskpar.jobspec.filled_ports import FilledPorts
from daskpar.jobspec.model import Output, ParallelStep, PipelineJob, Step
from daskpar.jobspec.named_environment import not_built
from daskpar.jobspec.output_conflicts import check_outputs
from daskpar.jobspec.parallel_builder import ParallelBuilder
from daskpar.jobspec.problems import Problems
from daskpar.jobspec.spec_locations import RunLocations


def build_job(
    job: DeclaredJob, run: RunLocations, problems: Problems, *, check_files: bool, resumed: bool = False
) -> PipelineJob:
    """The job in one run directory. Mistakes are recorded; with one recorded, the value is not to be used.

    `check_files` also looks for the inputs, folders and scripts that the spec names, and reads the scripts
    (never runs them). `resumed`: the run was started before, so its outputs may be there already.
    """
    scope = FilledPorts(job, run, problems, check_files=check_files)
    inputs = {name: value for name in job.inputs if (value := scope.input(None, name))}
    outputs = {name: output for name in job.outputs if (output := scope.output(None, name))}
    for pipeline in job.nested:  # the mistakes of what none of its steps uses
        for name in pipeline.inputs:
            scope.input(pipeline, name)
        for name in pipeline.outputs:
            scope.output(pipeline, name)
    steps: dict[str, Step] = {}
    notes: list[str] = _job_notes(job)
    for name, source in job.steps.items():
        kind = ParallelBuilder if source.kind == "parallel" else CommandBuilder
        builder = kind(scope, source, check_files=check_files)
        steps[name] = builder.build()
        notes += [*_step_notes(source, steps[name]), *builder.notes]
    check_outputs(job, scope, steps, problems, resumed=resumed)
    if run.apart is None:  # else steps write elsewhere than the pipeline's outputs say
        _check_written(job, outputs, steps, problems)
    ordered = in_order(steps, job, problems)
    built = PipelineJob(
        name=job.name,
        display_name=_text(job, "display_name"),
        description=_text(job, "description"),
        spec=job.spec,
        inputs=inputs,
        outputs=outputs,
        steps=ordered,
        continue_on_step_failure=_continue(job, problems),
        notes=tuple(dict.fromkeys(notes)),
        warnings=problems.warnings,
    )
    return effective_job(built)


def in_order(steps: Mapping[str, Step], job: DeclaredJob, problems: Problems) -> tuple[Step, ...]:
    """The steps, each after those it needs, else as written. A circle is a mistake that names its steps."""
    ordered: dict[str, Step] = {}
    waiting = dict(steps)
    while waiting:
        ready = next(
            (
                name
                for name, step in waiting.items()
                if all(need in ordered or need not in steps for need in step.needs)
            ),
            None,
        )
        if ready is None:
            circle = _circle(waiting)
            place = job.steps[circle[0]].place
            problems.error(
                place, f"the steps need each other in a circle: {' -> '.join([*circle, circle[0]])}."
            )
            return (*ordered.values(), *waiting.values())
        ordered[ready] = waiting.pop(ready)
    return tuple(ordered.values())


def _circle(waiting: Mapping[str, Step]) -> list[str]:
    """Steps that need each other, in the order of the data."""
    # Every step that waits needs another one that waits, so following them leads back to one of them.
    path: list[str] = []
    name = next(iter(waiting))
    while name not in path:
        path.append(name)
        name = next(need for need in waiting[name].needs if need in waiting)
    return path[path.index(name) :][::-1]


def _check_written(
    job: DeclaredJob, outputs: Mapping[str, Output], steps: Mapping[str, Step], problems: Problems
) -> None:
    written = {output.path for step in steps.values() for output in step.outputs.values()}
    written |= {
        step.append_row_to for step in steps.values() if isinstance(step, ParallelStep) and step.append_row_to
    }
    for name, output in outputs.items():
        if output.path not in written:
            problems.warn(
                job.outputs[name].place,
                f"no step writes the pipeline's output {name!r}.",
                f"Bind an output to ${{{{parent.outputs.{name}}}}}.",
            )


def _continue(job: DeclaredJob, problems: Problems) -> bool:
    value = job.tree.get("settings", "continue_on_step_failure")
    return bool(value and scalars.switch(value, problems))


def _text(job: DeclaredJob, key: str) -> str:
    value = job.tree.get(key)
    return str(value.data) if value else ""


def _job_notes(job: DeclaredJob) -> list[str]:
    notes = []
    for key in ("identity", "services"):
        value = job.tree.get(key)
        if value:
            notes.append(f"{key} ({value.place.where}) is not used here.")
    for settings_key in ("force_rerun", "default_environment"):
        value = job.tree.get("settings", settings_key)
        if value:
            notes.append(f"settings.{settings_key} ({value.place.where}) is not used here.")
    return notes


def _step_notes(source: DeclaredStep, step: Step) -> Sequence[str]:
    notes = []
    if step.compute and step.compute not in {"local", "serverless"}:
        notes.append(
            f"The compute {step.compute!r} is a cluster only where Dask's configuration has "
            f"daskpar.computes.{step.compute}."
        )
    if step.environment is not None:
        notes.append(not_built(step.name, step.environment))
    for keys in (
        ("identity",),
        ("services",),
        ("distribution",),
        ("queue_settings",),
        ("resources", "instance_type"),
        ("resources", "docker_args"),
        ("resources", "shm_size"),
        ("resources", "properties"),
        ("resources", "locations"),
        ("resources", "max_instance_count"),
    ):
        value = source.tree.get(*keys)
        if value:
            notes.append(f"{'.'.join(keys)} of {step.name!r} ({value.place.where}) is not used here.")
    return notes
