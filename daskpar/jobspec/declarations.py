"""Turns a spec into declared steps: node and component joined, keys checked, bindings not filled in yet."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from daskpar.errors import nearest
from daskpar.jobspec import known_fields, scalars
from daskpar.jobspec.bindings import OWN, PARENT, bindings_in, only_binding, reference_of
from daskpar.jobspec.components import merge, read_component, with_rows_in_task
from daskpar.jobspec.ports import InputPort, OutputPort, flatten_groups, input_port, output_port
from daskpar.jobspec.problems import COMMAND_LINE, Place, Problems
from daskpar.jobspec.step_settings import BY_KEY
from daskpar.jobspec.unknown_keys import check_meta, check_step_keys
from daskpar.jobspec.yaml_source import Value, texts

PIPELINE = "pipeline"
STEP_NAME_CHARACTERS = 200
"""Names of files may have 255 bytes, and what is added to the name of a step needs some."""
STEP_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, kw_only=True)
class DeclaredStep:
    """One step as declared."""

    name: str
    """Its own after those of the pipelines that it is nested in: `outer.inner`."""
    kind: str
    """`parallel`, `command`, or `pipeline` for a nested pipeline."""
    place: Place
    tree: Value
    """The node's mapping over its component's."""
    inputs: Mapping[str, InputPort]
    outputs: Mapping[str, OutputPort]
    overrides: Mapping[str, Value] = field(default_factory=dict)
    """Settings from the command line."""
    parent: DeclaredStep | None = field(default=None, repr=False, compare=False)
    """The nested pipeline that holds it; None: the job itself."""
    steps: Mapping[str, DeclaredStep] = field(default_factory=dict, repr=False, compare=False)
    """Of a nested pipeline: its steps, by their own names."""


@dataclass(frozen=True, kw_only=True)
class DeclaredJob:
    """A whole job as declared."""

    spec: Path
    name: str
    tree: Value
    inputs: Mapping[str, InputPort]
    outputs: Mapping[str, OutputPort]
    steps: Mapping[str, DeclaredStep]
    """All that run, by full name; nested pipelines are not among them."""
    own_steps: Mapping[str, DeclaredStep]
    """The job's own, by name, nested pipelines included."""
    staged_paths: frozenset[str] = frozenset()
    """Where inputs that were passed from Python are going to be staged: nothing may be there yet."""
    model_input: str = ""
    """The input of its step that scripts find in the folder AZUREML_MODEL_DIR, as in a deployment; empty
    without.
    """

    @property
    def nested(self) -> tuple[DeclaredStep, ...]:
        """The nested pipelines, each before those in it."""
        return tuple(step for step in _all_steps(self.own_steps) if step.kind == PIPELINE)


def _all_steps(steps: Mapping[str, DeclaredStep]) -> Iterator[DeclaredStep]:
    for step in steps.values():
        yield step
        yield from _all_steps(step.steps)


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
    if (job := document.get("create_job")) is not None:
        problems.error(job.place, "a schedule starts another job.", "Give the file of the job that it names.")
        return None
    if kind is None:
        problems.error(
            place,
            "the file has no type and no jobs.",
            "A job begins with type: pipeline; a component with type: parallel or command.",
        )
    else:
        hint = known_fields.FOREIGN_STEP_TYPES.get(word) or nearest(
            word, ("pipeline", *known_fields.STEP_TYPES)
        )
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
        inputs = _inputs(tree, component, problems)
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
    outputs = _outputs(tree, component, problems)
    own_steps = _steps(_Reading(settings, registered or {}, problems), tree)
    steps = {step.name: step for step in _all_steps(own_steps) if step.kind != PIPELINE}
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


@dataclass(frozen=True)
class _Reading:
    """What all steps of a job are read with."""

    settings: Mapping[str, Mapping[str, Value]]
    registered: Mapping[str, str]
    problems: Problems


def _check_settings(
    settings: Mapping[str, Mapping[str, Value]], own_steps: Mapping[str, DeclaredStep], problems: Problems
) -> None:
    """Record settings from the command line that no step takes."""
    steps = {step.name: step for step in _all_steps(own_steps)}
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
    kind = _kind(node, component, problems)
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
    inputs = _inputs(node, component, problems, missing)
    step = DeclaredStep(
        name=name,
        kind=kind,
        place=node.place,
        tree=tree,
        inputs=inputs,
        outputs=_outputs(node, component, problems),
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
                problems.error(place, _not_given(input_name))
                inputs[input_name] = InputPort(name=input_name, place=place)
    return step


def _only_optional(steps: Mapping[str, DeclaredStep], name: str) -> bool:
    """Whether an input of a pipeline is nothing but the value of optional inputs of its steps: as Azure dumps
    a function whose argument is None by default.
    """
    for step in steps.values():
        rest = texts(step.tree, leave_out=("inputs", "outputs", "component", "jobs"))
        if any(name in _parent_inputs(text) for text in rest):
            return False
        for port in step.inputs.values():
            written = port.path or port.value
            text = written.data if written is not None else None
            names = _parent_inputs(text, unprefixed=PARENT) if isinstance(text, str) else ()
            if name in names and not (port.optional and only_binding(str(text))):
                return False
    return True


def _parent_inputs(text: str, *, unprefixed: str = OWN) -> set[str]:
    """The inputs of its pipeline that a text of a step names."""
    found = (reference_of(binding, unprefixed=unprefixed) for binding in bindings_in(text))
    return {
        each.name
        for each in found
        if each and each.scope == PARENT and each.kind == "inputs" and not each.step
    }


def _not_given(name: str) -> str:
    return f"the component's input {name!r} is not given and has no default."


def _kind(node: Value, component: Value | None, problems: Problems) -> str:
    words = []
    for tree in (node, component):
        if tree is None:
            continue
        kind = tree.get("type")
        word = str(kind.data).strip().lower() if kind else _guess(tree)
        place = kind.place if kind else tree.place
        if word in known_fields.FOREIGN_STEP_TYPES:
            problems.error(
                place,
                f"steps of type {word} are not run here; parallel and command are.",
                known_fields.FOREIGN_STEP_TYPES[word],
            )
            return ""
        if kind and word not in known_fields.NODE_TYPES:
            problems.error(
                place,
                f"{scalars.quoted(kind.data)} is no type of step; parallel and command are.",
                nearest(word, known_fields.NODE_TYPES),
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


def _how_to_give(name: str, declared: Value) -> str:
    """How a pipeline's input gets its value on the command line."""
    hint = f"On the command line: --set inputs.{name}=VALUE."
    kind = declared.get("type") if declared.is_mapping else None
    if kind is None or scalars.port_word(kind.data) not in known_fields.ALL_DATA:
        return hint
    return f"{hint} Or, as it is data: --input {name}=PATH."


def _inputs(
    node: Value, component: Value | None, problems: Problems, missing: dict[str, Place] | None = None
) -> dict[str, InputPort]:
    """The inputs of a step. `missing`: of a nested pipeline, which is asked later whether it needs those that
    are not given; they are put there instead of being recorded.
    """
    at_node = flatten_groups(node.get("inputs"), problems)
    if component is None:
        return {
            name: input_port(name, value, value if value.is_mapping else None, problems)
            for name, value in at_node.items()
        }
    in_component = flatten_groups(component.get("inputs"), problems)
    at_node = _named_as(in_component, at_node)
    # Azure's dump of a function leaves out the inputs of which it does not know the type.
    used = {name for text in texts(component) for name in _parent_inputs(text)} if missing is not None else ()
    for name, extra in at_node.items():
        if name not in in_component and name not in used:
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
            if missing is None:
                problems.error(missing_at, _not_given(name))
            else:
                missing[name] = missing_at
            ports[name] = InputPort(name=name, place=missing_at, optional=missing is not None)
            continue
        ports[name] = input_port(name, value, declared, problems)
    return ports


def _optional(declared: Value, problems: Problems) -> bool:
    word = declared.get("optional")
    return bool(word and scalars.switch(word, problems))


def _named_as(in_component: Mapping[str, Value], at_node: Mapping[str, Value]) -> dict[str, Value]:
    """What a node gives, under the component's own spelling of the names: Azure takes any case."""
    spelt = {name.lower(): name for name in in_component}
    return {
        name if name in in_component else spelt.get(name.lower(), name): value
        for name, value in at_node.items()
    }


def _outputs(node: Value, component: Value | None, problems: Problems) -> dict[str, OutputPort]:
    at_node = flatten_groups(node.get("outputs"), problems)
    in_component = flatten_groups(component.get("outputs"), problems) if component else {}
    if component:
        at_node = _named_as(in_component, at_node)
        for name, value in at_node.items():
            if name not in in_component:
                problems.warn(
                    value.place, f"the component has no output {name!r}.", nearest(name, in_component)
                )
    return {
        name: output_port(name, at_node.get(name), in_component.get(name), problems)
        for name in {**in_component, **at_node}
    }
