"""Outputs that would destroy something: two at one path, or one where an input, the code or the spec lies."""

from __future__ import annotations

import os
from collections.abc import Mapping

from daskpar.jobspec.declared_job import DeclaredJob, DeclaredStep
from daskpar.jobspec.model import Output, ParallelStep, Step
from daskpar.jobspec.problems import Place, Problems
from daskpar.jobspec.scope import Scope
from daskpar.locations import is_url


def check_outputs(
    job: DeclaredJob, scope: Scope, steps: Mapping[str, Step], problems: Problems, *, resumed: bool
) -> None:
    """Record a mistake for two outputs at one path, and for an output where the job's own input is read from.

    `resumed`: the run was started before, so files of an output may be there already.
    """
    writers: dict[str, tuple[str, str, Place]] = {}
    refused: set[str] = set()
    for name, step in steps.items():
        for path, output_name, place in _written_by(step, job.steps[name]):
            shown = scope.locations.shown_path(path)
            key = path.rstrip("/")
            if key in writers:
                other, other_output, other_place = writers[key]
                what = (
                    f"{shown} is written twice: here, "
                    f"and by {other_output} of the step {other!r} ({other_place.where})."
                )
                problems.error(place, what, "Give each its own path.")
            writers.setdefault(key, (name, output_name, place))
            if wrong := _in_the_way(path, _kept(job, step), moved=not isinstance(step, ParallelStep)):
                problems.error(place, f"{shown} {wrong}.", "Give it a path of its own.")
            elif not resumed and (wrong := _file_of_an_input(path, step)):
                problems.error(place, f"{shown} {wrong}.", "Give it a place outside of the input.")
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
                where = scope.locations.shown_path(value.path)
                problems.warn(
                    place,
                    f"the output of {writer!r} goes to {where}, which {step.name!r} reads as "
                    f"its input {value.name!r}.",
                )
            elif (
                isinstance(step, ParallelStep)
                and value.name in step.input_data
                and value.made_by is None
                and value.path
            ):
                for path, (writer, output_name, place) in writers.items():
                    if _place(path).startswith(_place(value.path).rstrip("/") + "/"):
                        what = (
                            f"the output {output_name} of {writer!r} lies in the input "
                            f"{value.name!r} of {step.name!r}"
                        )
                        problems.warn(
                            place,
                            f"{what} ({scope.locations.shown_path(value.path)}): the next run may read it.",
                            "Give it a place elsewhere.",
                        )


def _in_the_way(path: str, kept: list[tuple[str, str]], *, moved: bool) -> str:
    """Why nothing may be written to `path`; empty where it may.

    `moved`: what an unfinished try leaves there is moved aside.
    """
    place = _place(path)
    for other, what in kept:
        if place == _place(other):
            return f"is {what}, which this output would replace"
        if moved and _place(other).startswith(place.rstrip("/") + "/"):
            return (
                f"holds {what}, {other}: what an unfinished step leaves in its output is moved "
                "aside, and it would go along"
            )
    return ""


def _file_of_an_input(path: str, step: Step) -> str:
    """Why the file at `path` may not be replaced: it is or belongs to an input; empty where it may."""
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
        except OSError:  # what can't be listed is an error when the input is read
            continue
    return False


def _place(path: str) -> str:
    return path.rstrip("/") if is_url(path) else os.path.realpath(path)


def _kept(job: DeclaredJob, step: Step) -> list[tuple[str, str]]:
    """What no output may replace: path and what it is."""
    kept = [(str(job.spec), "this spec")]
    if step.code is not None:
        kept.append((str(step.code), "the code folder"))
    inputs_kept = [
        value for value in step.inputs.values() if value.is_data and value.path and value.made_by is None
    ]
    if isinstance(step, ParallelStep):
        if os.path.isabs(step.entry_script):  # else it is the name of a module
            kept.append((step.entry_script, "the entry script"))
        inputs_kept = [
            value for value in inputs_kept if value.path == step.append_row_to
        ]  # its folders are filled in place, and never moved aside
    return kept + [(value.path, f"the input {value.name!r}") for value in inputs_kept]


def _written_by(step: Step, source: DeclaredStep) -> list[tuple[str, str, Place]]:
    """What a step writes: path, name of the output, and where the path stands in the spec."""
    written = [(output.path, output.name, _written_at(source, output)) for output in step.outputs.values()]
    rows = step.append_row_to if isinstance(step, ParallelStep) else None
    if rows and rows not in {path for path, _, _ in written}:
        value = source.tree.get("task", "append_row_to")
        written.append((rows, "append_row_to", value.place if value else source.place))
    return written


def _written_at(source: DeclaredStep, output: Output) -> Place:
    port = source.outputs[output.name]
    return port.path.place if port.path else port.place
