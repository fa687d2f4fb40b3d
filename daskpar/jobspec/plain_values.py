"""Plain Python values (mappings, lists, texts, numbers) as values with the path at which each stands."""

from __future__ import annotations

import datetime
import enum
import os
from collections.abc import Mapping
from dataclasses import replace

from daskpar.jobspec.problems import Place, Problems
from daskpar.jobspec.yaml_source import Value

_DEEPEST = 100


def values_of_mapping(mapping: Mapping[object, object], top: Place, problems: Problems) -> Value:
    """A job as a tree of values; what no YAML file could say is recorded as a mistake."""
    return _value(mapping, top, problems, ())


def _value(data: object, place: Place, problems: Problems, above: tuple[int, ...]) -> Value:
    if id(data) in above or len(above) > _DEEPEST:
        problems.error(place, "the mapping holds itself, or is nested too deeply.")
        return Value(None, place)
    if isinstance(data, Mapping):
        return Value(_mapping(data, place, problems, (*above, id(data))), place)
    if isinstance(data, list | tuple):
        inside = (*above, id(data))
        return Value(
            [_value(each, _at(place, number), problems, inside) for number, each in enumerate(data)], place
        )
    return Value(_scalar(data, place, problems), place)


def _mapping(
    data: Mapping[object, object], place: Place, problems: Problems, above: tuple[int, ...]
) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for key, inner in data.items():
        name = _scalar(key, place, problems)
        if not isinstance(name, str | int) or isinstance(name, bool):
            problems.error(place, f"the key {key!r} is of type {type(key).__name__}; a key has to be a text.")
            continue
        if str(name) in found:
            problems.error(_at(place, str(name)), "the key is given twice.")
        found[str(name)] = _value(inner, _at(place, str(name)), problems, above)
    return found


def _scalar(data: object, place: Place, problems: Problems) -> object:
    """A single value as YAML has it; a mistake for what it does not have."""
    if isinstance(data, enum.Enum):
        data = data.value
    if isinstance(data, os.PathLike):
        data = os.fspath(data)
    if isinstance(data, datetime.date):  # a datetime too
        return data.isoformat()
    item = getattr(data, "item", None)
    if callable(item) and getattr(data, "shape", None) == ():  # a number of numpy's
        data = item()
    if isinstance(data, str):
        if "\0" in data:
            problems.error(place, "a text holds a NUL character.")
            return None
        return str(data)
    if data is None or isinstance(data, bool | int | float):
        return data
    problems.error(place, f"is of type {type(data).__name__}.", _hint(data, place))
    return None


def _hint(data: object, place: Place) -> str:
    kind = {base.__name__ for base in type(data).__mro__}
    if kind & {"DataFrame", "Bag"} and "inputs" in place.path:
        name = place.path[place.path.index("inputs") + 1 :][:1]
        return (
            f"Data is passed beside the job: run(job, inputs={{{str(*name)!r}: data}}), where the job "
            "declares that input."
        )
    if isinstance(data, set | frozenset):
        return "Write a list."
    return "A job holds mappings, lists, texts, numbers and booleans."


def _at(place: Place, key: str | int) -> Place:
    return replace(place, path=(*place.path, key))
