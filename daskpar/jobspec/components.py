"""Steps that refer to a component: finds the component, and merges it with the values of the node itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from daskpar.errors import LocationError
from daskpar.jobspec import scalars
from daskpar.jobspec.asset_names import advice, find_asset
from daskpar.jobspec.problems import COMPONENT, Problems
from daskpar.jobspec.yaml_source import Value, read_yaml
from daskpar.locations import resolve

_JOINED = frozenset({"task", "retry_settings", "resources", "environment_variables", "limits"})
"""Mappings of which node and component may each give a part."""
_NOT_INHERITED = frozenset({"inputs", "outputs", "component", "name", "version", "$schema"})


def read_component(
    reference: Value, problems: Problems, registered: Mapping[str, str] | None = None
) -> Value | None:
    """The mapping that `component:` refers to, inline or in a file; None after recording what is wrong.

    `registered`: name of a component in a workspace or registry -> its file.
    """
    if reference.is_mapping:
        return reference.from_origin(COMPONENT)
    name = scalars.text(reference, problems, "a path or a mapping")
    if name is None:
        return None
    try:
        place = find_asset(name, {} if registered is None else registered)
        path = Path(place) if place else component_path(name, reference.place.folder)
    except LocationError:
        what = f"{name!r} is a component of an Azure ML workspace or registry, which can't be read here."
        problems.error(
            reference.place,
            what,
            "Save it as a file beside the pipeline, and write component: ./NAME.yml. "
            + advice(name, "--component"),
        )
        return None
    document = read_yaml(path, problems, asked_at=reference.place)
    if document is not None and not document.is_mapping:
        problems.error(document.place, "a component is a mapping.")
        return None
    return document.from_origin(COMPONENT) if document else None


def component_path(name: str, folder: Path) -> Path:
    """The absolute path of a component's file; LocationError for the name of a registered one."""
    location = resolve(name.strip() or ".", folder, {})  # no text at all means the folder, which is no file
    # Components are files of the project: what looks like a URL is the name of one that is not there.
    return Path(os.path.abspath(folder / location))


def merge(node: Value, component: Value | None) -> Value:
    """The node's settings over the component's: what the node gives wins, 0 included.

    Inputs and outputs stay the node's.
    """
    node = _with_usual_names(node)
    if component is None:
        return node
    component = _with_usual_names(with_rows_in_task(component))
    merged = {key: value for key, value in component.items() if key not in _NOT_INHERITED}
    for key, value in node.items():
        below = merged.get(key)
        if not value.is_set and below is not None:
            continue
        if key in _JOINED and below is not None and below.is_mapping and value.is_mapping:
            set_here = {
                name: inner for name, inner in value.items() if inner.is_set or below.get(name) is None
            }
            merged[key] = Value({**dict(below.items()), **set_here}, value.place)
        else:
            merged[key] = value
    return Value(merged, node.place)


def _with_usual_names(tree: Value) -> Value:
    """`task.args`, as older specs have it, is `task.program_arguments`."""
    task, arguments = tree.get("task"), tree.get("task", "args")
    if task is None or arguments is None or tree.get("task", "program_arguments"):
        return tree
    return tree.with_keys({"task": task.with_keys({"program_arguments": arguments})})


def with_rows_in_task(component: Value) -> Value:
    """A component that has `append_row_to` beside its task, as some of Microsoft's, with it in the task."""
    task, rows = component.get("task"), component.get("append_row_to")
    if task is None or not task.is_mapping or rows is None or task.get("append_row_to"):
        return component
    rest = {key: value for key, value in component.items() if key != "append_row_to"}
    return Value({**rest, "task": task.with_keys({"append_row_to": rows})}, component.place)
