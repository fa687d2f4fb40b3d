"""Turns a spec into declared steps: node and component joined, keys checked, bindings not filled in yet."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from daskpar.errors import nearest
from daskpar.jobspec import known_fields, scalars
from daskpar.jobspec.components import merge, read_component
from daskpar.jobspec.ports import InputPort, OutputPort, flatten_groups, input_port, output_port
from daskpar.jobspec.problems import COMMAND_LINE, Place, Problems
from daskpar.jobspec.step_settings import BY_KEY
from daskpar.jobspec.unknown_keys import check_meta, check_step_keys
from daskpar.jobspec.yaml_source import Value

STEP_NAME_CHARACTERS = 200
"""Names of files may have 255 bytes, and what is added to the name of a step needs some."""
STEP_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, kw_only=True)
class DeclaredStep:
    """One step as declared."""

    name: str
    kind: str
    """`parallel` or `command`."""
    place: Place
    tree: Value
    """The node's mapping over its component's."""
    inputs: Mapping[str, InputPort]
    outputs: Mapping[str, OutputPort]
    overrides: Mapping[str, Value] = field(default_factory=dict)
    """Settings from the command line."""


@dataclass(frozen=True, kw_only=True)
class DeclaredJob:
    """A whole job as declared."""

    spec: Path
    name: str
    tree: Value
    inputs: Mapping[str, InputPort]
    outputs: Mapping[str, OutputPort]
    steps: Mapping[str, DeclaredStep]
    staged_paths: frozenset[str] = frozenset()
    """Where inputs that were passed from Python are going to be staged: nothing may be there yet."""


def as_pipeline(document: Value, path: Path, problems: Problems) -> Value | None:
    """The document as a pipeline's tree: itself, or one step round a component; None after recording why it
    is neither.
    """
    if not document.is_mapping:
        problems.error(document.place, f"a job is a mapping, not {scalars.quoted(document.data)}.")
        return None
    kind = document.get("type")
    word = str(kind.data).strip().lower() if kind else _guess(document)
    if word == "pipeline":
        return document
    if word in known_fields.STEP_TYPES:
        return _around_component(document, word, path)
    place = kind.place if kind else document.place
    if kind is None:
        problems.error(
            place,
            "the file has no type and no jobs.",
            "A job begins with type: pipeline; a component with type: parallel or command.",
        )
    else:
        hint = nearest(word, ("pipeline", *known_fields.STEP_TYPES))
        problems.error(
            place,
            f"a file of type {scalars.quoted(kind.data)} can't be run: it has to "
            "be pipeline, parallel or command.",
            hint,
        )
    return None


def _guess(document: Value) -> str:
    for key, word in (("jobs", "pipeline"), ("task", "parallel"), ("command", "command")):
        if document.get(key):
            return word
    return ""


def _around_component(component: Value, kind: str, path: Path) -> Value:
    """A pipeline of one step, whose inputs and outputs are the component's."""
    place = component.place
    named = component.get("name")
    name = re.sub(r"\W", "_", str(named.data) if named else path.stem, flags=re.ASCII)
    name = f"_{name}" if name[:1].isdigit() else name

    def ports(which: str) -> dict[str, Value]:
        return dict((component.get(which) or Value({}, place)).items())

    def bound(which: str) -> Value:
        declared = ports(which)
        return Value(
            {
                key: Value("${{parent." + f"{which}.{key}" + "}}", value.place)
                for key, value in declared.items()
            },
            place,
        )

    declared = ports("inputs")
    # The pipeline's inputs are held to `enum`, `min` and `max`; once is enough.
    in_component = {key: _without_rules(value) for key, value in declared.items()}
    component = component.with_keys({"inputs": Value(in_component, place)}) if in_component else component
    node = Value(
        {
            "type": Value(kind, place),
            "component": component,
            "inputs": bound("inputs"),
            "outputs": bound("outputs"),
        },
        place,
    )
    tree = {key: value for key in ("display_name", "description") if (value := component.get(key))}
    tree |= {"inputs": Value(declared, place), "outputs": Value(ports("outputs"), place)}
    tree |= {"name": Value(name, place), "jobs": Value({name: node}, place), "type": Value("pipeline", place)}
    return Value(tree, place)


def _without_rules(port: Value) -> Value:
    return (
        Value({key: value for key, value in port.items() if key not in ("enum", "min", "max")}, port.place)
        if port.is_mapping
        else port
    )


def job_name(tree: Value, path: Path) -> str:
    """The name of a job: `name`, else `display_name`, else the stem of its file."""
    named = tree.get("name") or tree.get("display_name")
    return str(named.data) if named else path.stem


def read_job(
    tree: Value,
    path: Path,
    settings: Mapping[str, Mapping[str, Value]],
    problems: Problems,
    staged_paths: frozenset[str] = frozenset(),
) -> DeclaredJob:
    """The job that a pipeline's tree declares; mistakes are recorded, and what has them is left out."""
    scalars.unknown_keys(tree, known_fields.PIPELINE, problems, "a pipeline")
    check_meta(tree, problems)
    own = tree.get("settings")
    if own is not None and own.is_mapping:
        scalars.unknown_keys(own, known_fields.PIPELINE_SETTINGS, problems, "settings")
    elif own is not None:
        problems.error(own.place, f"has to be a mapping, not {scalars.quoted(own.data)}.")
    inputs = {
        name: input_port(
            name,
            value,
            value if value.is_mapping else None,
            problems,
            f"On the command line: --set inputs.{name}=VALUE.",
        )
        for name, value in flatten_groups(tree.get("inputs"), problems).items()
    }
    outputs = {
        name: output_port(name, value, None, problems)
        for name, value in flatten_groups(tree.get("outputs"), problems).items()
    }
    return DeclaredJob(
        spec=path,
        name=job_name(tree, path),
        tree=tree,
        inputs=inputs,
        outputs=outputs,
        steps=_steps(tree, settings, problems),
        staged_paths=staged_paths,
    )


def _steps(
    tree: Value, settings: Mapping[str, Mapping[str, Value]], problems: Problems
) -> dict[str, DeclaredStep]:
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
        if len(name) > STEP_NAME_CHARACTERS:
            problems.error(
                node.place,
                f"{name[:20]}… is too long for a step, which gets a folder of that name: {len(name)} "
                f"characters, {STEP_NAME_CHARACTERS} are allowed.",
            )
            continue
        twin = next((other for other in steps if other.lower() == name.lower()), None)
        if twin:
            problems.error(node.place, f"the steps {twin!r} and {name!r} differ only in case.")
            continue
        step = _step(name, node, settings.get(name, {}), problems)
        if step:
            steps[name] = step
    if not any(step.kind == "parallel" for step in steps.values()):
        of_all = {
            key: value
            for own in settings.values()
            for key, value in own.items()
            if value.place.path[0] in BY_KEY
        }
        for key, value in of_all.items():
            problems.error(value.place, f"no step of the job is parallel, so none has {key}.")
    return steps


def _refuse_settings(name: str, overrides: Mapping[str, Value], problems: Problems) -> None:
    """A setting of parallel steps was given for this command by its name."""
    for key, value in overrides.items():
        if value.place.path[0] not in BY_KEY:
            hint = f"Write jobs.{name}.limits.timeout." if key == "timeout" else ""
            problems.error(value.place, f"the step {name!r} is a command, which has no {key}.", hint)


def _step(name: str, node: Value, overrides: Mapping[str, Value], problems: Problems) -> DeclaredStep | None:
    if not node.is_mapping:
        problems.error(node.place, f"a step is a mapping, not {scalars.quoted(node.data)}.")
        return None
    reference = node.get("component")
    component = read_component(reference, problems) if reference else None
    if reference and component is None:
        return None
    kind = _kind(node, component, problems)
    if not kind:
        return None
    tree = merge(node, component)
    for part in (node, component):
        if part is not None:
            check_meta(part, problems)
            check_step_keys(part, kind, problems)
    if kind == "command":
        _refuse_settings(name, overrides, problems)
    return DeclaredStep(
        name=name,
        kind=kind,
        place=node.place,
        tree=tree,
        inputs=_inputs(node, component, problems),
        outputs=_outputs(node, component, problems),
        overrides=overrides,
    )


def _kind(node: Value, component: Value | None, problems: Problems) -> str:
    words = []
    for tree in (node, component):
        if tree is None:
            continue
        kind = tree.get("type")
        word = str(kind.data).strip().lower() if kind else _guess(tree)
        place = kind.place if kind else tree.place
        if word in known_fields.FOREIGN_STEP_TYPES:
            problems.error(place, f"steps of type {word} are not run here; parallel and command are.")
            return ""
        if kind and word not in known_fields.STEP_TYPES:
            problems.error(
                place,
                f"{scalars.quoted(kind.data)} is no type of step; parallel and command are.",
                nearest(word, known_fields.STEP_TYPES),
            )
            return ""
        words.append(word)
    known = [word for word in words if word]
    if not known:
        problems.error(node.place, "the step has no type.", "Write type: parallel or type: command.")
        return ""
    if len(set(known)) > 1:
        problems.error(node.place, f"the step is of type {known[0]}, its component of type {known[1]}.")
        return ""
    return known[0]


def _inputs(node: Value, component: Value | None, problems: Problems) -> dict[str, InputPort]:
    at_node = flatten_groups(node.get("inputs"), problems)
    if component is None:
        return {
            name: input_port(name, value, value if value.is_mapping else None, problems)
            for name, value in at_node.items()
        }
    in_component = flatten_groups(component.get("inputs"), problems)
    for name, extra in at_node.items():
        if name not in in_component:
            record = problems.error if extra.place.origin == COMMAND_LINE else problems.warn
            record(extra.place, f"the component has no input {name!r}.", nearest(name, in_component))
    missing_at = node.place.below("inputs")
    ports: dict[str, InputPort] = {}
    for name in [*in_component, *(name for name in at_node if name not in in_component)]:
        value, declared = at_node.get(name), in_component.get(name)
        if (
            value is None
            and declared is not None
            and declared.get("default") is None
            and not _optional(declared, problems)
        ):
            problems.error(missing_at, f"the component's input {name!r} is not given and has no default.")
            ports[name] = InputPort(name=name, place=missing_at)
            continue
        ports[name] = input_port(name, value, declared, problems)
    return ports


def _optional(declared: Value, problems: Problems) -> bool:
    word = declared.get("optional")
    return bool(word and scalars.switch(word, problems))


def _outputs(node: Value, component: Value | None, problems: Problems) -> dict[str, OutputPort]:
    at_node = flatten_groups(node.get("outputs"), problems)
    in_component = flatten_groups(component.get("outputs"), problems) if component else {}
    if component:
        for name, value in at_node.items():
            if name not in in_component:
                problems.warn(
                    value.place, f"the component has no output {name!r}.", nearest(name, in_component)
                )
    return {
        name: output_port(name, at_node.get(name), in_component.get(name), problems)
        for name in {**in_component, **at_node}
    }
