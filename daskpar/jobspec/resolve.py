"""A job as declared to a job as it runs: every step built, put in order, and checked against the others."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from daskpar.jobspec import scalars
from daskpar.jobspec.declarations import JobSource, StepSource
from daskpar.jobspec.effective_spec import effective_job
from daskpar.jobspec.locations import is_url
from daskpar.jobspec.model import Output, ParallelStep, PipelineJob, Step
from daskpar.jobspec.problems import Place, Problems
from daskpar.jobspec.scope import Layout, Scope
from daskpar.jobspec.step_builder import StepBuilder


def build_job(
    job: JobSource, layout: Layout, problems: Problems, *, check_files: bool, begun: bool = False
) -> PipelineJob:
    """The job in one run directory. Mistakes are recorded; with one recorded, the value is not to be used.

    `check_files` also looks for the inputs, folders and scripts that the spec names, and reads the scripts
    (never runs them). `begun`: the run goes on, so its outputs may be there already.
    """
    scope = Scope(job, layout, problems, check_files=check_files)
    inputs = {name: value for name in job.inputs if (value := scope.input(None, name))}
    outputs = {name: output for name in job.outputs if (output := scope.output(None, name))}
    steps: dict[str, Step] = {}
    notes: list[str] = _job_notes(job)
    for name, source in job.steps.items():
        builder = StepBuilder(scope, source, check_files=check_files)
        steps[name] = builder.parallel() if source.kind == "parallel" else builder.command()
        notes += [*_step_notes(source, steps[name]), *builder.notes]
    _check_one_writer(job, scope, steps, problems, begun)
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
    )
    return effective_job(built)


def in_order(steps: Mapping[str, Step], job: JobSource, problems: Problems) -> tuple[Step, ...]:
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
    """Steps that need each other, in the order of the data; every step that waits needs another that waits."""
    path: list[str] = []
    name = next(iter(waiting))
    while name not in path:
        path.append(name)
        name = next(need for need in waiting[name].needs if need in waiting)
    return path[path.index(name) :][::-1]


def _check_one_writer(
    job: JobSource, scope: Scope, steps: Mapping[str, Step], problems: Problems, begun: bool
) -> None:
    """No two outputs at one path, and no output where the job's own input is read from."""
    writers: dict[str, tuple[str, str, Place]] = {}
    refused: set[str] = set()
    for name, step in steps.items():
        source = job.steps[name]
        listed = [(output.path, output.name, _written_at(source, output)) for output in step.outputs.values()]
        if (
            isinstance(step, ParallelStep)
            and step.append_row_to
            and step.append_row_to not in {output.path for output in step.outputs.values()}
        ):
            written = source.tree.get("task", "append_row_to")
            listed.append((step.append_row_to, "append_row_to", written.place if written else source.place))
        for path, output_name, place in listed:
            key = path.rstrip("/")
            if key in writers:
                other, other_output, other_place = writers[key]
                what = f"{scope.shown(path)} is written twice: here, and by {other_output} of the step {other!r} ({other_place.where})."
                problems.error(place, what, "Give each its own path.")
            writers.setdefault(key, (name, output_name, place))
            if wrong := _in_the_way(path, _kept(job, step), moved=not isinstance(step, ParallelStep)):
                problems.error(place, f"{scope.shown(path)} {wrong}.", "Give it a path of its own.")
            elif not begun and (wrong := _file_of_an_input(path, step)):
                problems.error(
                    place, f"{scope.shown(path)} {wrong}.", "Give it a place outside of the input."
                )
                refused.add(key)
    _warn_of_outputs_in_inputs(
        scope, steps, {path: writer for path, writer in writers.items() if path not in refused}, problems
    )


def _warn_of_outputs_in_inputs(
    scope: Scope, steps: Mapping[str, Step], writers: Mapping[str, tuple[str, str, Place]], problems: Problems
) -> None:
    """`writers`: path -> step, output and where it is written."""
    for step in steps.values():
        for value in step.inputs.values():
            if value.is_data and value.made_by is None and value.path.rstrip("/") in writers:
                writer, _, place = writers[value.path.rstrip("/")]
                where = scope.shown(value.path)
                problems.warn(
                    place,
                    f"the output of {writer!r} goes to {where}, which {step.name!r} reads as its input {value.name!r}.",
                )
            elif (
                isinstance(step, ParallelStep)
                and value.name in step.input_data
                and value.made_by is None
                and value.path
            ):
                for path, (writer, output_name, place) in writers.items():
                    if _place(path).startswith(_place(value.path).rstrip("/") + "/"):
                        what = f"the output {output_name} of {writer!r} lies in the input {value.name!r} of {step.name!r}"
                        problems.warn(
                            place,
                            f"{what} ({scope.shown(value.path)}): the next run may read it.",
                            "Give it a place elsewhere.",
                        )


def _in_the_way(path: str, kept: list[tuple[str, str]], *, moved: bool) -> str:
    """Why nothing may be written to `path`; empty where it may. `moved`: what an unfinished try leaves there
    is moved aside.
    """
    place = _place(path)
    for other, what in kept:
        if place == _place(other):
            return f"is {what}, which this output would replace"
        if moved and _place(other).startswith(place.rstrip("/") + "/"):
            return f"holds {what}, {other}: what an unfinished step leaves in its output is moved aside, and it would go along"
    return ""


def _file_of_an_input(path: str, step: Step) -> str:
    """Which input of the step the file at `path` is or belongs to, as what speaks against writing there;
    empty where it belongs to none.
    """
    if is_url(path) or not os.path.isfile(path):
        return ""
    place, seen = _place(path), os.stat(path)
    for value in step.inputs.values():
        if not value.is_data or value.made_by is not None or not value.path or is_url(value.path):
            continue
        if os.path.isfile(value.path) and os.path.samestat(seen, os.stat(value.path)):
            return f"is the input {value.name!r}, which this output would replace"
        if place.startswith(_place(value.path).rstrip("/") + "/") or (
            seen.st_nlink > 1 and _holds(value.path, seen)
        ):
            return f"is a file of the input {value.name!r} ({value.path}), which this output would replace"
    return ""


def _holds(folder: str, seen: os.stat_result) -> bool:
    """Whether one of the names of a file lies below `folder`: by the numbers that a listing has already."""
    waiting = [folder]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif entry.inode() == seen.st_ino and os.path.samestat(entry.stat(), seen):
                        return True
        except OSError:  # what can't be listed is told when the input is read
            continue
    return False


def _place(path: str) -> str:
    return path.rstrip("/") if "://" in path else os.path.realpath(path)


def _kept(job: JobSource, step: Step) -> list[tuple[str, str]]:
    """What no output may replace: path and what it is."""
    kept = [(str(job.spec), "this spec")]
    if step.code is not None:
        kept.append((str(step.code), "the code folder"))
    given = [
        value for value in step.inputs.values() if value.is_data and value.path and value.made_by is None
    ]
    if isinstance(step, ParallelStep):
        if os.path.isabs(step.entry_script):  # else it is the name of a module
            kept.append((step.entry_script, "the entry script"))
        given = [
            value for value in given if value.path == step.append_row_to
        ]  # its folders are filled in place, and never moved aside
    return kept + [(value.path, f"the input {value.name!r}") for value in given]


def _written_at(source: StepSource, output: Output) -> Place:
    port = source.outputs[output.name]
    return port.path.place if port.path else port.place


def _check_written(
    job: JobSource, outputs: Mapping[str, Output], steps: Mapping[str, Step], problems: Problems
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


def _continue(job: JobSource, problems: Problems) -> bool:
    value = job.tree.get("settings", "continue_on_step_failure")
    return bool(value and scalars.switch(value, problems))


def _text(job: JobSource, key: str) -> str:
    value = job.tree.get(key)
    return str(value.data) if value else ""


def _job_notes(job: JobSource) -> list[str]:
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


def _step_notes(source: StepSource, step: Step) -> Sequence[str]:
    notes = []
    if step.compute and step.compute not in {"local", "serverless"}:
        notes.append(
            f"The compute {step.compute!r} is a cluster only where Dask's configuration has daskpar.computes.{step.compute}."
        )
    for keys in (("environment",), ("task", "environment")):
        value = source.tree.get(*keys)
        if value:
            notes.append(
                f"The environment of {step.name!r} ({value.place.where}) is not built: code runs in this Python."
            )
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
