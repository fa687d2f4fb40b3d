"""Gives each step of a job the Python that was chosen for its environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

from daskpar.chosen_container import ChosenContainer
from daskpar.chosen_python import ChosenPython
from daskpar.environments.container_choice import with_defaults
from daskpar.environments.environment_choices import BUILD, CHECK, FOR_ALL, OURS, Choices, How, WrittenHow
from daskpar.errors import Problem, SpecError, UsageError, nearest
from daskpar.jobspec.model import CommandStep, ParallelStep, PipelineJob, Step
from daskpar.jobspec.named_environment import Environment, file_and_line, not_built
from daskpar.processor.containers.container_options import check_image


def with_pythons(
    job: PipelineJob, environments: Mapping[str, WrittenHow] | None = None, *, here: bool = True
) -> PipelineJob:
    """The job, whose steps know where they run.

    `here`: whether the nodes are on this machine, so that their Pythons can be looked at. UsageError for a
    name that no step has and for what is no choice; SpecError with every place where there is no Python, and
    every Python that lacks what its step needs.
    """
    choices = Choices(environments)
    choices.check_names(job.steps)
    steps: list[Step] = []
    problems: list[Problem] = []
    for step in job.steps:
        how = choices.of(step)
        try:
            steps.append(_with_python(step, how, here=here))
        except _NotHad as error:
            problems.append(_problem(step, str(error)))
        if how is not None and how.kind == CHECK:
            problems += _held_to_its_file(step, how)
    if problems:
        raise SpecError(list(dict.fromkeys(problems)), job.warnings)
    if all(own is step for step, own in zip(job.steps, steps, strict=True)):
        return job
    used = {
        not_built(step.name, step.environment)
        for step in steps
        if step.python is not None and step.environment is not None
    }
    return replace(job, steps=tuple(steps), notes=tuple(note for note in job.notes if note not in used))


class _NotHad(Exception):
    """Why an environment can't be had as it was chosen."""


def _held_to_its_file(step: Step, how: How) -> list[Problem]:
    """What this Python has not of what the environment's conda file names."""
    from daskpar.environments.environment_check import environment_problems

    environment = step.environment
    if environment is not None and (environment.conda or environment.trouble):
        return environment_problems(environment, step.name)
    if how.source.endswith(FOR_ALL):  # whoever asks for all environments means those that can be checked
        return []
    what = f"its environment has no conda file that this Python could be held to ({how.source})."
    return [_problem(step, what)]


def _problem(step: Step, what: str) -> Problem:
    file, line = file_and_line(step.environment.where if step.environment is not None else step.where)
    return Problem(file=file, line=line, path=f"jobs.{step.name}.environment", what=what)


def _with_python(step: Step, how: How | None, *, here: bool) -> Step:
    ours = isinstance(step, ParallelStep) and step.entry_script.startswith("daskpar.")
    if how is None or ours:
        return step
    sources = {**step.sources, "python": how.source}
    if how.kind in (OURS, CHECK):
        return replace(step, sources=sources)
    try:
        if how.container is not None:
            return replace(step, python=_in_container(step, how.container, here=here), sources=sources)
        if how.kind == BUILD:
            return replace(step, python=_to_build(step, here=here), sources=sources)
        python = _executable(how, for_commands=isinstance(step, CommandStep))
        from daskpar.engine.own_python import looked_at

        if not here or not os.path.exists(python):
            return replace(step, python=ChosenPython(python=python), sources=sources)
        return replace(step, python=looked_at(python, step), sources=sources)
    except UsageError as error:
        raise _NotHad(f"{error} ({how.source}).") from None


def _to_build(step: Step, *, here: bool) -> ChosenPython:
    """The Python of an environment that is built; UsageError where nothing here can build it."""
    from daskpar.engine.own_python import looked_at, packages_needed
    from daskpar.environments.build_order import order_of
    from daskpar.environments.build_tools import plan_of

    environment = step.environment
    if environment is None:
        raise UsageError("the step names no environment that could be built")
    if environment.trouble:
        raise UsageError(environment.trouble)
    if not environment.conda:
        what = f"the image {environment.image}" if environment.image else "a name"
        raise UsageError(
            f"it has no conda file to build it from, only {what}: give the step's environment a conda_file, "
            "or name a Python that has what it needs"
        )
    order = order_of(environment, also=packages_needed(step))
    if here and order.is_built():
        return replace(looked_at(order.python, step), build=order.text)
    if here:
        plan_of(order)
    return ChosenPython(python=order.python, build=order.text)


def _in_container(step: Step, container: ChosenContainer, *, here: bool) -> ChosenPython:
    """What runs in a container; UsageError where it names no image, or can't be started here."""
    from daskpar.engine.own_python import looked_at

    environment, container = step.environment, with_defaults(container)
    if not container.image:
        container = replace(container, image=_image_of_spec(environment))
    if here:
        return looked_at(container, step)
    return ChosenPython(python=container.python, container=container)


def _image_of_spec(environment: Environment | None) -> str:
    name_it = "name the image: container:IMAGE"
    if environment is None:
        raise UsageError(f"the step names no environment, so no image: {name_it}")
    if environment.dockerfile:
        raise UsageError(f"its image is to be built of {environment.dockerfile}: build it, and {name_it}")
    if not environment.image:
        raise UsageError(f"{environment.in_words} has no image in this spec: {name_it}")
    if environment.conda:
        raise UsageError(
            f"the image {environment.image} is only what its conda file adds to: make an image that has "
            f"both, and {name_it} (or build, for the conda file alone)"
        )
    check_image(environment.image)
    return environment.image


def place_of(how: How) -> str:
    """Where a choice leads, in words; empty for this Python. UsageError where there is no Python."""
    if how.container is not None:
        return how.container.in_words if how.container.image else "a container"
    if how.kind == BUILD:
        return "an environment of its own"
    return "" if how.kind in (OURS, CHECK) else _executable(how)


def _executable(how: How, *, for_commands: bool = False) -> str:
    """The executable at a chosen place. UsageError where there is none.

    A conda environment need not hold a Python where it is `for_commands`: it may hold R.
    """
    from daskpar.environments.conda_prefixes import conda_environments

    place = how.place
    if how.kind == "conda" and os.sep not in place:
        known = conda_environments()
        if place not in known:
            listed = ", ".join(known) or "none are found"
            raise UsageError(
                f"there is no conda environment {place!r} ({listed}). {nearest(place, known)}".rstrip()
            )
        place = known[place]
    if not os.path.isdir(place):
        if not os.path.exists(place):
            raise UsageError(f"there is nothing at {place}")
        if not os.access(place, os.X_OK):
            raise UsageError(f"{place} is no program that may be run")
        return place
    for name in ("python", "python3"):
        inside = os.path.join(place, "bin", name)
        if os.access(inside, os.X_OK):
            return inside
    if for_commands and os.path.isdir(os.path.join(place, "conda-meta")):
        return os.path.join(place, "bin", "python")
    raise UsageError(f"the folder {place} holds no bin/python: it is no environment of Python's")
