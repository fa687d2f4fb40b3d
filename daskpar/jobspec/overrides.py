"""Puts values from the command line (`--set KEY=VALUE`) or from Python into a spec's tree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from pathlib import Path

from daskpar.errors import UsageError, nearest
from daskpar.jobspec import known_fields
from daskpar.jobspec.problems import COMMAND_LINE, Place
from daskpar.jobspec.step_settings import BY_KEY
from daskpar.jobspec.yaml_source import Value
from daskpar.value_classes import frozen

ONLY_INPUT = "inputs"
"""What stands for the one input of a job that takes data."""
_JOB_KEYS = (
    "name",
    "display_name",
    "compute",
    "settings.default_compute",
    "settings.continue_on_step_failure",
)
_STEP_KEYS = (
    "compute",
    "input_data",
    "code",
    "command",
    "limits.timeout",
    "task.code",
    "task.entry_script",
    "task.program_arguments",
    "task.append_row_to",
)


@frozen(kw_only=True)
class Overridden:
    """A spec's tree with values put in, and the settings that win over everything else."""

    tree: Value
    settings: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    """Step -> setting -> value."""


def apply_overrides(tree: Value, overrides: Mapping[str, str], folders: Mapping[str, Path]) -> Overridden:
    """Put `overrides` into a pipeline's tree.

    Relative paths start from the key's folder in `folders`, else from the working directory.

    Raises UsageError for a key that nothing has.
    """
    settings: dict[str, dict[str, Value]] = {}
    steps = {
        name: node for name, node in (tree.get("jobs") or Value({}, tree.place)).items() if node.is_mapping
    }
    for key, text in overrides.items():
        value = Value(
            text,
            Place(
                file=COMMAND_LINE,
                line=None,
                path=(key,),
                folder=folders.get(key) or Path.cwd(),
                origin=COMMAND_LINE,
            ),
        )
        keys = ["inputs", _only_data_input(tree)] if key == ONLY_INPUT else key.split(".")
        if key in BY_KEY:
            for step in steps:
                settings.setdefault(step, {})[BY_KEY[key].name] = value
        elif key in _JOB_KEYS:
            tree = _put(tree, keys, value)
        elif keys[0] in {"inputs", "outputs"} and (
            _has_port(tree, keys) or (len(keys) > 1 and tree.get("component") and not tree.get("jobs"))
        ):
            tree = _put_port(tree, keys, value)
        elif keys[0] == "jobs" and len(keys) > 2 and keys[1] in steps:
            rest = keys[2:]
            found = _setting_of(keys, steps[keys[1]])
            if found is not None:
                settings.setdefault(found[0], {})[found[1]] = value
            else:
                tree = _put(tree, keys[:2], _step_override(steps[keys[1]], rest, value, key, tree))
                steps = dict((tree.get("jobs") or tree).items())
        else:
            raise UsageError(_unknown(key, tree))
    return Overridden(tree=tree, settings=settings)


def _only_data_input(tree: Value) -> str:
    """The input that `--input DATA` means: the only one for data, or the only one without any yet."""
    inputs = dict((tree.get("inputs") or Value({}, tree.place)).items())
    data = {
        name: port
        for name, port in inputs.items()
        if port.is_mapping and str((port.get("type") or port).data).lower() not in known_fields.LITERAL_TYPES
    }
    empty = [name for name, port in data.items() if port.get("path") is None and port.get("default") is None]
    for found in (empty, list(data)):
        if len(found) == 1:
            return found[0]
    if not data:
        raise UsageError("--input DATA: the job has no input for data.")
    raise UsageError(
        f"--input DATA: the job has several inputs ({', '.join(data)}); write --input NAME=DATA."
    )


def _setting_of(keys: list[str], node: Value) -> tuple[str, str] | None:
    """The step (`outer.inner` in a nested pipeline) and the setting that `jobs.STEP.SETTING` names."""
    for start in range(2, len(keys)):
        setting = BY_KEY.get(".".join(keys[start:]))
        if setting is not None and (start == 2 or _may_be_nested(node)):
            return ".".join(keys[1:start]), setting.name
    return None


def _may_be_nested(node: Value) -> bool:
    """Whether a node may be a pipeline: what its file says is not known yet."""
    kind = node.get("type")
    word = str(kind.data).strip().lower() if kind else ""
    return word == "pipeline" or (not word and (node.get("jobs") or node.get("component")) is not None)


def apply_staged(tree: Value, staged: Mapping[str, str]) -> Value:
    """Put paths in the place of inputs: `NAME` of the pipeline (or component), or `STEP.NAME`.

    Raises UsageError for an unknown one.
    """
    for key, path in staged.items():
        keys = _keys_of_input(tree, key.split("."))
        if keys is None:
            raise UsageError(f"The job has no input {key!r} to take data. {_near_input(key, tree)}".rstrip())
        place = Place(file="argument of run()", line=None, path=(key,), folder=Path("/"), origin=COMMAND_LINE)
        tree = _put_port(tree, keys, Value(path, place), as_path=True)
        tree = _with_type(tree, keys, place)
    return tree


def _with_type(tree: Value, keys: list[str], place: Place) -> Value:
    """Data from Python for an input of which nothing says the type is a table."""
    port = tree.get(*keys)
    in_component = keys[0] == "jobs" and tree.get(*keys[:2], "component") is not None
    if port is None or not port.is_mapping or port.get("type") or in_component:
        return tree
    return _put(tree, keys, port.with_keys({"type": Value("mltable", place), "mode": Value("direct", place)}))


def _keys_of_input(tree: Value, keys: list[str]) -> list[str] | None:
    """The keys of the input that `keys` name: the pipeline's, or a step's."""
    if _has_port(tree, ["inputs", *keys]):
        return ["inputs", *keys]
    keys = keys if keys[0] == "jobs" else ["jobs", keys[0], "inputs", *keys[1:]]
    node = tree.get(*keys[:2])
    if node is None or len(keys) < 4 or keys[2] != "inputs":
        return None
    return keys if node.get("component") or _has_port(node, keys[2:]) else None


def _step_override(node: Value, rest: list[str], value: Value, key: str, tree: Value) -> Value:
    if ".".join(rest) in _STEP_KEYS or (rest[0] == "environment_variables" and len(rest) == 2):
        return _put(node, rest, value)
    if (
        rest[0] in {"inputs", "outputs"}
        and len(rest) > 1
        and (_has_port(node, rest) or node.get("component"))
    ):
        return _put_port(node, rest, value)
    raise UsageError(_unknown(key, tree))


def _has_port(tree: Value, keys: list[str]) -> bool:
    ports = tree.get(keys[0])
    return ports is not None and _port_keys(ports, keys[1:]) is not None


def _port_keys(ports: Value, keys: list[str]) -> list[str] | None:
    """The keys that lead to a port; `.path` at the end is allowed."""
    # `a.b` may be one dotted key, or two nested ones of a group.
    if keys and keys[-1] == "path" and len(keys) > 1:
        keys = keys[:-1]
    dotted = ".".join(keys)
    if not isinstance(ports.data, dict) or not keys:
        return None
    if dotted in ports.data:
        return [dotted]
    below = ports.data.get(keys[0])
    if len(keys) > 1 and below is not None:
        rest = _port_keys(below, keys[1:])
        return [keys[0], *rest] if rest else None
    return None


def _put_port(tree: Value, keys: list[str], value: Value, *, as_path: bool = False) -> Value:
    """Set an input's or output's path or value, keeping its type, mode and limits."""
    depth = 3 if keys[0] == "jobs" else 1
    ports = tree.get(*keys[:depth]) or Value({}, value.place)
    port_keys = _port_keys(ports, keys[depth:]) or [".".join(keys[depth:])]
    old = ports
    for key in port_keys:
        old = dict(old.items()).get(key, Value(None, value.place))
    is_output = keys[depth - 1] == "outputs"
    return _put(
        tree, [*keys[:depth], *port_keys], _port_value(old, value, as_path=as_path, is_output=is_output)
    )


def _port_value(old: Value, value: Value, *, as_path: bool, is_output: bool) -> Value:
    kind = old.get("type")
    if isinstance(old.data, dict):
        is_literal = kind is not None and str(kind.data).lower() in known_fields.LITERAL_TYPES
        rest = {key: inner for key, inner in old.items() if key not in {"path", "value", "default"}}
        data = as_path or is_output or old.get("path") is not None or (kind is not None and not is_literal)
        return Value({**rest, "path" if data else "value": value}, value.place)
    if as_path or is_output:
        return Value({"path": value}, value.place)
    if isinstance(old.data, bool | int | float):
        word = "boolean" if isinstance(old.data, bool) else "number"
        return Value({"type": Value(word, old.place), "value": value}, value.place)
    return value


def _put(tree: Value, keys: list[str], value: Value) -> Value:
    if not keys:
        return value
    inner = dict(tree.items()).get(keys[0], Value({}, value.place))
    return tree.with_keys({keys[0]: _put(inner, keys[1:], value)})


def _unknown(key: str, tree: Value) -> str:
    known = list(_known_keys(tree))
    last = key.rpartition(".")[2]
    hint = nearest(key, known)
    if not hint:
        same = [name for name in known if name.rpartition(".")[2] == last]
        hint = f"Did you mean {same[0]!r}?" if same else ""
    ways = "--set, or inputs and overrides in Python"
    return f"The job has nothing named {key!r} that could be set ({ways}). {hint}".rstrip()


def _near_input(key: str, tree: Value) -> str:
    inputs = [name.removeprefix("inputs.") for name in _known_keys(tree) if "inputs." in name]
    names = [name.removeprefix("jobs.").replace(".inputs.", ".") for name in inputs]
    return nearest(key, names) or (f"It has: {', '.join(names)}." if names else "")


def _known_keys(tree: Value) -> Iterable[str]:
    for kind in ("inputs", "outputs"):
        yield from (f"{kind}.{name}" for name, _ in (tree.get(kind) or Value({}, tree.place)).items())
    yield from _JOB_KEYS
    yield from BY_KEY
    for step, node in (tree.get("jobs") or Value({}, tree.place)).items():
        for kind in ("inputs", "outputs"):
            yield from (
                f"jobs.{step}.{kind}.{name}" for name, _ in (node.get(kind) or Value({}, tree.place)).items()
            )
        yield from (f"jobs.{step}.{key}" for key in (*BY_KEY, *_STEP_KEYS))
