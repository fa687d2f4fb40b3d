"""Takes what looks like a secret out of a job that is kept, and says by which `--set` it is given again."""

from __future__ import annotations

from typing import Any

from daskpar.masking import MASK, hidden, hidden_command, hidden_value

_COMMANDS = ("command", "program_arguments", "args")
_KEYS = {"task.args": "task.program_arguments"}
"""Older names -> those that `--set` knows."""


def without_secrets(job: Any, left_out: list[str]) -> Any:
    """A pipeline with `***` for each secret; the keys of those go to `left_out`."""
    return _without(job, (), left_out)


def _without(value: Any, path: tuple[str, ...], left_out: list[str]) -> Any:
    if isinstance(value, dict):
        return {key: _without(inner, (*path, key), left_out) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without(inner, path, left_out) for inner in value]
    if not isinstance(value, str):
        return value
    shown = _hidden(value, path)
    if shown != value and MASK in shown and (key := _key(path)) and key not in left_out:
        left_out.append(key)
    return shown


def _hidden(value: str, path: tuple[str, ...]) -> str:
    if path and path[-1] in _COMMANDS:
        return hidden_command(value, _mask)
    if path and path[-1] in ("value", "default"):
        return hidden_value(path[-2] if len(path) > 1 else "", value, _mask)
    named = len(path) > 1 and path[-2] in ("inputs", "environment_variables")
    return hidden_value(path[-1], value, _mask) if named else hidden(value, _mask)


def _mask(value: str) -> str:
    """A binding only says where the secret is."""
    return value if "${{" in value else MASK


def _key(path: tuple[str, ...]) -> str:
    """The key of `--set` for a value at `path`, empty where there is none: descriptions, tags."""
    keys = [key for key in path if key != "component"]  # what is given at the node wins over its component
    if keys[:1] != ["jobs"]:
        return f"{keys[0]}.{keys[1]}" if keys[0] in ("inputs", "outputs") and len(keys) > 1 else ""
    step, rest = keys[1:2], keys[2:]
    if not rest:
        return ""
    if rest[0] in ("inputs", "outputs", "environment_variables"):
        return ".".join(["jobs", *step, *rest[:2]])
    dotted = ".".join(rest)
    return ".".join(["jobs", *step, _KEYS.get(dotted, dotted)]) if rest[-1] in _COMMANDS else ""
