"""Turns a spec into declared steps: node and component joined, keys checked, bindings not filled in yet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from daskpar.errors import nearest
from daskpar.jobspec import known_fields, scalars
from daskpar.jobspec.bindings import PARENT, only_binding
from daskpar.jobspec.components import merge, read_component, with_rows_in_task
from daskpar.jobspec.declared_job import (
    PIPELINE,
    STEP_NAME,
    STEP_NAME_CHARACTERS,
    DeclaredJob,
    DeclaredStep,
    all_steps,
)
from daskpar.jobspec.declared_ports import not_given, parent_inputs, step_inputs, step_outputs
from daskpar.jobspec.job_kinds import job_name, step_kind
from daskpar.jobspec.ports import InputPort, flatten_groups, input_port
from daskpar.jobspec.problems import Place, Problems
from daskpar.jobspec.step_settings import BY_KEY
from daskpar.jobspec.unknown_keys import check_meta, check_step_keys
from daskpar.jobspec.yaml_source import Value, texts
from daskpar.value_classes import frozen


def read_job(
    tree: Value,
    path: Path,
    settings: Mapping[str, Mapping[str, Value]],
    problems: Problems,
    staged_paths: frozenset[str] = frozenset(),
    registered: Mapping[str, str] | None = None,
    model_input: str = "",
) -> DeclaredJob:
    """The job that a pipeline's tree declares; mistakes are recorded, and what has them is left out.

    `settings`: step (`outer.inner` for one in a nested pipeline) -> setting -> value; `registered`: name of a
    component of a workspace or registry -> its file.
    """
    scalars.unknown_keys(tree, known_fields.PIPELINE, problems, "a pipeline")
    check_meta(tree, problems)
    reference = None if tree.get("jobs") else tree.get("component")
    component = read_component(reference, problems, registered) if reference else None
    if component is not None:
        tree = merge(tree, component)
    own = tree.get("settings")
    if own is not None and own.is_mapping:
        scalars.unknown_keys(own, known_fields.PIPELINE_SETTINGS, problems, "settings")
    elif own is not None:
        problems.error(own.place, f"has to be a mapping, not {scalars.quoted(own.data)}.")
    if component is not None:
        inputs = step_inputs(tree, component, problems)
    else:
        inputs = {
            name: input_port(
                name,
                value,
                value if value.is_mapping else None,
                problems,
                _how_to_give(name, value),
            )
            for name, value in flatten_groups(tree.get("inputs"), problems).items()
        }
    outputs = step_outputs(tree, component, problems)
    own_steps = _steps(_Reading(settings, {} if registered is None else registered, problems), tree)
    steps = {step.name: step for step in all_steps(own_steps) if step.kind != PIPELINE}
    _check_settings(settings, own_steps, problems)
    return DeclaredJob(
        spec=path,
        name=job_name(tree, path),
        tree=tree,
        inputs=inputs,
        outputs=outputs,
        steps=steps,
        own_steps=own_steps,
        staged_paths=staged_paths,
        model_input=model_input,
    )


@frozen
class _Reading:
    """What all steps of a job are read with."""

    settings: Mapping[str, Mapping[str, Value]]
    registered: Mapping[str, str]
    problems: Problems


def _check_settings(
    settings: Mapping[str, Mapping[str, Value]], own_steps: Mapping[str, DeclaredStep], problems: Problems
) -> None:
    """Record settings from the command line that no step takes."""
    steps = {step.name: step for step in all_steps(own_steps)}
    if not any(step.kind == "parallel" for step in steps.values()):
        of_all = {
            key: value
            for own in settings.values()
            for key, value in own.items()
            if value.place.path[0] in BY_KEY
        }
        for key, value in of_all.items():
            problems.error(value.place, f"no step of the job is parallel, so none has {key}.")
    for name, own in settings.items():
        if "." in name and name not in steps and name.partition(".")[0] in steps:
            for value in own.values():
                problems.error(value.place, f"the job has no step {name!r}.", nearest(name, steps))


def _steps(
    reading: _Reading, tree: Value, parent: DeclaredStep | None = None, above: tuple[Place, ...] = ()
) -> dict[str, DeclaredStep]:
    """The steps of a pipeline by their own names. `parent`: the nested one that this is; `above`: where the
    pipelines round it were read.
    """
    problems = reading.problems
    jobs = tree.get("jobs")
    if jobs is None or not jobs.is_mapping or not jobs.data:
        hint = "" if jobs else nearest("jobs", (key for key, _ in tree.items()))
        problems.error(
            jobs.place if jobs else tree.place,
            "a pipeline needs jobs: a mapping with at least one step.",
            hint,
        )
        return {}
    steps: dict[str, DeclaredStep] = {}
    for name, node in jobs.items():
        if not STEP_NAME.fullmatch(name):
            problems.error(
                node.place,
                f"{name!r} is no name for a step: letters, digits and _, not starting with a digit.",
            )
            continue
        full = f"{parent.name}.{name}" if parent else name
        if len(full) > STEP_NAME_CHARACTERS:
            problems.error(
                node.place,
                f"{full[:20]}… is too long for a step, which gets a folder of that name: {len(full)} "
                f"characters, {STEP_NAME_CHARACTERS} are allowed.",
            )
            continue
        twin = next((other for other in steps if other.lower() == name.lower()), None)
        if twin:
            problems.error(node.place, f"the steps {twin!r} and {name!r} differ only in case.")
            continue
        step = _step(reading, full, node, parent, above)
        if step:
            steps[name] = step
    return steps


def _refuse_settings(name: str, overrides: Mapping[str, Value], problems: Problems) -> None:
    """A setting of parallel steps was given for this command by its name."""
    for key, value in overrides.items():
        if value.place.path[0] not in BY_KEY:
            hint = f"Write jobs.{name}.limits.timeout." if key == "timeout" else ""
            problems.error(value.place, f"the step {name!r} is a command, which has no {key}.", hint)


def _step(
    reading: _Reading, name: str, node: Value, parent: DeclaredStep | None, above: tuple[Place, ...]
) -> DeclaredStep | None:
    problems = reading.problems
    overrides = {**(parent.overrides if parent else {}), **reading.settings.get(name, {})}
    if not node.is_mapping:
        problems.error(node.place, f"a step is a mapping, not {scalars.quoted(node.data)}.")
        return None
    reference = node.get("component")
    component = read_component(reference, problems, reading.registered) if reference else None
    if reference and component is None:
        return None
    if component is not None and component.get("nodes") and not component.get("task"):
        problems.error(
            node.place,
            f"{component.place.file} is a prompt flow, which is not run here.",
            known_fields.FOREIGN_STEP_TYPES["promptflow"],
        )
        return None
    kind = step_kind(node, component, problems)
    if not kind:
        return None
    tree = merge(node, component)
    for part in (node, component):
        if part is not None:
            check_meta(part, problems)
            if kind == PIPELINE:
                scalars.unknown_keys(part, known_fields.NESTED, problems, "a nested pipeline")
            else:
                check_step_keys(with_rows_in_task(part) if part is component else part, kind, problems)
    if kind == "command":
        _refuse_settings(name, reading.settings.get(name, {}), problems)
    inside: dict[str, DeclaredStep] = {}
    missing: dict[str, Place] | None = {} if kind == PIPELINE else None
    inputs = step_inputs(node, component, problems, missing)
    step = DeclaredStep(
        name=name,
        kind=kind,
        place=node.place,
        tree=tree,
        inputs=inputs,
        outputs=step_outputs(node, component, problems),
        overrides=overrides,
        parent=parent,
        steps=inside,
    )
    if kind == PIPELINE:
        # A file that names itself would go on for ever; what stands inline has its own place each time.
        read_at = (component or node).place
        if read_at in above:
            problems.error(node.place, f"the pipeline in {read_at.file} leads back to itself.")
            return None
        inside |= _steps(reading, tree, step, (*above, read_at))
        for input_name, place in (missing or {}).items():
            if not _only_optional(inside, input_name):
                problems.error(place, not_given(input_name))
                inputs[input_name] = InputPort(name=input_name, place=place)
    return step


def _only_optional(steps: Mapping[str, DeclaredStep], name: str) -> bool:
    """Whether an input of a pipeline is nothing but the value of optional inputs of its steps: as Azure dumps
    a function whose argument is None by default.
    """
    for step in steps.values():
        rest = texts(step.tree, leave_out=("inputs", "outputs", "component", "jobs"))
        if any(name in parent_inputs(text) for text in rest):
            return False
        for port in step.inputs.values():
            written = port.path or port.value
            text = written.data if written is not None else None
            names = parent_inputs(text, unprefixed=PARENT) if isinstance(text, str) else ()
            if name in names and not (port.optional and only_binding(str(text))):
                return False
    return True


def _how_to_give(name: str, declared: Value) -> str:
    """How a pipeline's input gets its value on the command line."""
    hint = f"On the command line: --set inputs.{name}=VALUE."
    kind = declared.get("type") if declared.is_mapping else None
    if kind is None or scalars.port_word(kind.data) not in known_fields.ALL_DATA:
        return hint
    return f"{hint} Or, as it is data: --input {name}=PATH."
