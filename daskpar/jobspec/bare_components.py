"""Lets a component be checked alone: what its inputs need is said, and something stands in their place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from daskpar.jobspec import known_fields, scalars
from daskpar.jobspec.deployments import is_deployment
from daskpar.jobspec.ports import flatten_groups
from daskpar.jobspec.problems import Problems
from daskpar.jobspec.yaml_source import Value

NOT_GIVEN = Path("/NOT-GIVEN")
"""Where the data of such inputs would lie."""


def is_bare(document: Value) -> bool:
    """Whether a file is a component or a deployment, whose inputs get their values where it is used."""
    kind, schema = document.get("type"), document.get("$schema")
    word = str(kind.data).strip().lower() if kind else ""
    return (
        word in known_fields.STEP_TYPES
        or (not word and document.get("jobs") is None)
        or is_deployment(document)
        or (schema is not None and "component" in str(schema.data).lower())
    )


def with_stand_ins(tree: Value, problems: Problems) -> tuple[Value, frozenset[str]]:
    """The tree of a bare component with a value for each input that needs one, and the paths among these,
    where nothing lies. A warning says what to give to run it.
    """
    filled: dict[str, Value] = {}
    paths: set[str] = set()
    inputs = tree.get("inputs")
    for name, port in flatten_groups(inputs, Problems()).items():
        if not port.is_mapping or any(port.get(key) is not None for key in ("path", "value", "default")):
            continue
        optional = port.get("optional")
        if optional is not None and scalars.switch(optional, Problems()):
            continue
        kind = port.get("type")
        word = scalars.port_word(kind.data) if kind else "uri_folder"
        if word in known_fields.LITERAL_TYPES:
            filled[name] = port.with_keys(
                {"value": Value(scalars.StandIn(f"${{{{inputs.{name}}}}}"), port.place)}
            )
            example = f"--set inputs.{name}=VALUE"
        elif word in known_fields.ALL_DATA:
            paths.add(str(NOT_GIVEN / name))
            filled[name] = port.with_keys({"path": Value(str(NOT_GIVEN / name), port.place)})
            example = f"--input {name}=PATH"
        else:
            continue
        place = replace(port.place, path=("inputs", name))
        problems.warn(place, f"to run it, give the input {name!r} ({word}): {example}.")
    if not filled or inputs is None:
        return tree, frozenset()
    kept = {name: value for name, value in inputs.items()}
    return tree.with_keys({"inputs": Value({**kept, **filled}, inputs.place)}), frozenset(paths)
