"""Puts right what Azure ML's SDK writes of a job in other words than a user would.

a node alone            its component, with what the node gives as defaults: what can be run
`None` for an input     left out: a binding to an input that the pipeline does not have
a boolean               a boolean again: the SDK writes 1 and 0 for the values of nodes and pipelines
    azureml:https://...     the URL
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_PARENT_INPUT = re.compile(r"\$\{\{\s*parent\.inputs\.([\w.]+)\s*\}\}")
_LITERALS = ("string", "number", "integer", "boolean", "")
_JOINED = ("environment_variables", "resources", "retry_settings", "task", "limits")


def as_job(document: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """A job as the rest of this package reads it; what is no mapping where one is due is left as it is."""
    if isinstance(document.get("jobs"), Mapping):
        return _pipeline(document)
    component = document.get("component")
    return _alone(document, component) if isinstance(component, Mapping) else document


def _pipeline(document: Mapping[Any, Any]) -> dict[Any, Any]:
    """A pipeline, or the component of a nested one, with its nodes put right."""
    inputs = _mapping(document.get("inputs"))
    booleans: set[str] = set()
    jobs = {name: _node(node, inputs, booleans) for name, node in document["jobs"].items()}
    given = {
        name: _located(_as_boolean(value) if name in booleans else value) for name, value in inputs.items()
    }
    return {**document, **({"inputs": given} if given else {}), "jobs": jobs}


def _node(node: Any, of_pipeline: Mapping[str, Any], booleans: set[str]) -> Any:
    """A node put right; names of the pipeline's inputs that are booleans in it go to `booleans`."""
    if not isinstance(node, Mapping) or not isinstance(component := node.get("component"), Mapping):
        return node
    declared = _mapping(component.get("inputs"))
    inputs: dict[str, Any] = {}
    for name, value in _mapping(node.get("inputs")).items():
        port, bound = _mapping(declared.get(name)), _bound_to(value)
        spare = _switched_on(port.get("optional")) or port.get("default") is not None
        if bound is not None and spare and bound.partition(".")[0] not in of_pipeline:
            continue  # `None` was passed for it
        is_boolean = port.get("type") == "boolean"
        if is_boolean and bound is not None:
            booleans.add(bound)
        inputs[name] = _as_boolean(value) if is_boolean else _located(value)
    if isinstance(component.get("jobs"), Mapping):
        component = _pipeline(component)
    return {**node, **({"inputs": inputs} if "inputs" in node else {}), "component": component}


def _alone(node: Mapping[str, Any], component: Mapping[str, Any]) -> dict[str, Any]:
    """A node outside of any pipeline as a component whose inputs and outputs have the node's values."""
    own = {key: value for key, value in node.items() if value is not None}
    merged: dict[str, Any] = {**component, **own}
    for key in _JOINED:
        if isinstance(component.get(key), Mapping) and isinstance(own.get(key), Mapping):
            merged[key] = {**component[key], **own[key]}
    for key in ("component", "inputs", "outputs"):
        merged.pop(key, None)
    for kind in ("inputs", "outputs"):
        declared, given = _mapping(component.get(kind)), _mapping(node.get(kind))
        found = {name: _port(_mapping(declared.get(name)), given.get(name)) for name in {**declared, **given}}
        if found:
            merged[kind] = found
    return merged


def _port(declared: Mapping[str, Any], given: Any) -> dict[str, Any]:
    """An input or output of a component with what a node gives for it."""
    if given is None:
        return dict(declared)
    if isinstance(given, Mapping):
        given = _located(given)
        return {**declared, **{key: value for key, value in given.items() if value is not None}}
    is_data = isinstance(given, str) and str(declared.get("type", "")).lower() not in _LITERALS
    value = _as_boolean(given) if declared.get("type") == "boolean" else given
    return {**declared, "path" if is_data else "default": value}


def _as_boolean(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            key: _as_boolean(inner) if key in ("value", "default") else inner for key, inner in value.items()
        }
    return {0: False, 1: True}.get(value, value) if type(value) is int else value


def _located(value: Any) -> Any:
    """Data whose path is a URL behind `azureml:`, as the SDK writes it."""
    path = value.get("path") if isinstance(value, Mapping) else None
    url = path.removeprefix("azureml:") if isinstance(path, str) else ""
    return {**value, "path": url} if "://" in url and url != path and not url.startswith("//") else value


def _bound_to(value: Any) -> str | None:
    """The input of the pipeline that a node's input is bound to."""
    text = value.get("path") if isinstance(value, Mapping) else value
    found = _PARENT_INPUT.fullmatch(text.strip()) if isinstance(text, str) else None
    return found[1] if found else None


def _switched_on(value: Any) -> bool:
    return str(value).strip().lower() in ("true", "yes", "1")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
