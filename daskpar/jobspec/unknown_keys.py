"""Warns of keys of a pipeline or step that nobody reads, with the nearest known one."""

from __future__ import annotations

from collections.abc import Collection

from daskpar.errors import nearest_name
from daskpar.jobspec import known_fields, scalars
from daskpar.jobspec.problems import Problems
from daskpar.jobspec.program_arguments import ATTRIBUTES
from daskpar.jobspec.step_settings import BY_KEY, LIMITS_OF_FAILURE
from daskpar.jobspec.yaml_source import Value

_BELOW = {
    "task": known_fields.TASK,
    "retry_settings": known_fields.RETRY_SETTINGS,
    "resources": known_fields.RESOURCES,
    "limits": known_fields.LIMITS,
}
_TEXTS = ("name", "display_name", "description", "experiment_name", "version", "comment")
_WITHOUT = ": failures are judged without it"


def check_meta(tree: Value, problems: Problems) -> None:
    """Record what has the wrong type among the keys that every job, step and component may have."""
    for key in _TEXTS:
        value = tree.get(key)
        if value is not None and isinstance(value.data, dict | list):
            problems.error(value.place, f"has to be a text, not {scalars.quoted(value.data)}.")
    for key in ("tags", "properties"):
        value = tree.get(key)
        if value is not None and not value.is_mapping:
            problems.error(
                value.place, f"has to be a mapping of names to texts, not {scalars.quoted(value.data)}."
            )
    deterministic = tree.get("is_deterministic")
    if deterministic is not None:
        scalars.switch(deterministic, problems)


def check_step_keys(tree: Value, kind: str, problems: Problems) -> None:
    """Warn about keys of a node or component that nobody reads."""
    known = known_fields.PARALLEL if kind == "parallel" else known_fields.COMMAND
    for key, value in tree.items():
        if key not in known:
            _warn(key, value, kind, known, problems)
    for key, names in _BELOW.items():
        below = tree.get(key)
        if below is None or key not in known:
            continue
        if not below.is_mapping:
            problems.error(below.place, f"has to be a mapping, not {scalars.quoted(below.data)}.")
            continue
        for name, value in below.items():
            if name not in names:
                meant = nearest_name(name, names)
                hint = f"Did you mean {meant!r}?" if meant else ""
                _no_setting(
                    name, value, key, hint, problems, grave=kind == "parallel" and meant in LIMITS_OF_FAILURE
                )


def _warn(key: str, value: Value, kind: str, known: Collection[str], problems: Problems) -> None:
    elsewhere = _elsewhere(kind)
    if key in elsewhere:
        grave = key in LIMITS_OF_FAILURE
        home = elsewhere[key]
        what = f"{key} belongs under {home}" if home else f"{key} is a program argument"
        hint = "" if home else f"Write --{key} in task.program_arguments."
        problems.warn(
            value.place, f"{what}; here it has no effect{_WITHOUT if grave else ''}.", hint, grave=grave
        )
        return
    if kind == "parallel" and key in ATTRIBUTES:
        right = ATTRIBUTES[key].right
        _no_setting(key, value, "a parallel step", f"{right[0].upper()}{right[1:]}.", problems, grave=True)
        return
    meant = nearest_name(key, [*known, *elsewhere])
    hint = f"Did you mean {meant!r}?" if meant else ""
    if meant in elsewhere and meant not in known:
        home = elsewhere[meant]
        hint = (
            f"Did you mean {meant!r} under {home}?"
            if home
            else f"Did you mean --{meant} in task.program_arguments?"
        )
    _no_setting(
        key, value, f"a {kind} step", hint, problems, grave=kind == "parallel" and meant in LIMITS_OF_FAILURE
    )


def _elsewhere(kind: str) -> dict[str, str]:
    """Names that a step has in another place -> the mapping that holds them, empty for a program argument."""
    if kind != "parallel":
        return {}
    arguments = {name: "" for name, setting in BY_KEY.items() if not setting.attribute}
    return {
        **arguments,
        **{name: home for home, names in reversed(_BELOW.items()) if home != "limits" for name in names},
    }


def _no_setting(key: str, value: Value, what: str, hint: str, problems: Problems, *, grave: bool) -> None:
    problems.warn(
        value.place,
        f"{key!r} is no setting of {what} and has no effect{_WITHOUT if grave else ''}.",
        hint,
        grave=grave,
    )
