"""What kind of job or step a mapping is, as written or as its keys say; a lone step as a pipeline."""

from __future__ import annotations

import re
from pathlib import Path

from daskpar.errors import nearest
from daskpar.jobspec import known_fields, scalars
from daskpar.jobspec.problems import Problems
from daskpar.jobspec.yaml_source import Value


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


def step_kind(node: Value, component: Value | None, problems: Problems) -> str:
    """`parallel`, `command` or `pipeline`; empty after recording why it is none of them."""
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


def _guess(document: Value) -> str:
    for key, word in (("jobs", "pipeline"), ("task", "parallel"), ("command", "command")):
        if document.get(key):
            return word
    return ""


def job_name(tree: Value, path: Path) -> str:
    """The name of a job: `name`, else `display_name`, else the stem of its file."""
    named = tree.get("name") or tree.get("display_name")
    return str(named.data) if named else path.stem
