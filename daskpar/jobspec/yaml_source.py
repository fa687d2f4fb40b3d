"""Reads YAML text as plain values that remember where they were written."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from daskpar.errors import nearest, yaml_hint
from daskpar.jobspec.problems import Place, Problems
from daskpar.value_classes import frozen

_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CONTAINERS = frozenset({"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"})
_TOO_DEEP = "values are nested too deeply"
_MOST_VALUES = 50_000  # an alias of aliases can stand for billions of values; no job has this many


@frozen
class Value:
    """A YAML value and its place: `data` is a scalar, a dict of text to Value, or a list of Values."""

    data: object
    place: Place
    written: tuple[str, ...] = ()
    """The lines of a text that has more than one, as they stand in the file; the first is that of `place`."""

    def place_of(self, word: str) -> Place:
        """The place of a word in a text of several lines."""
        for number, line in enumerate(self.written):
            if word in re.split(r"[\s=]+", line) and self.place.line is not None:
                return replace(self.place, line=self.place.line + number)
        return self.place

    @property
    def is_set(self) -> bool:
        """Whether there is a value: an empty one (`key:` and nothing more) is as good as none."""
        return self.data is not None

    @property
    def is_mapping(self) -> bool:
        """Whether it is a mapping, so that `items()` and `get()` give anything."""
        return isinstance(self.data, dict)

    def items(self) -> Iterator[tuple[str, Value]]:
        """Keys and values of a mapping; nothing for anything else."""
        if isinstance(self.data, dict):
            yield from self.data.items()

    def elements(self) -> list[Value]:
        """The elements of a list; nothing for anything else."""
        return list(self.data) if isinstance(self.data, list) else []

    def get(self, *keys: str) -> Value | None:
        """The value below `keys`, None where it is not there or empty."""
        found: Value | None = self
        for key in keys:
            if found is None or not isinstance(found.data, dict):
                return None
            found = found.data.get(key)
        return found if found is not None and found.is_set else None

    def plain(self) -> Any:
        """The value without places."""
        if isinstance(self.data, dict):
            return {key: value.plain() for key, value in self.data.items()}
        if isinstance(self.data, list):
            return [value.plain() for value in self.data]
        return self.data

    def with_keys(self, changes: Mapping[str, Value]) -> Value:
        """The mapping with some keys set."""
        return Value({**dict(self.items()), **changes}, self.place)

    def from_origin(self, origin: str) -> Value:
        """The same tree, marked as coming from a component."""
        place = replace(self.place, origin=origin)
        if isinstance(self.data, dict):
            return Value({key: value.from_origin(origin) for key, value in self.data.items()}, place)
        if isinstance(self.data, list):
            return Value([value.from_origin(origin) for value in self.data], place)
        return Value(self.data, place, self.written)


def texts(value: Value, leave_out: Collection[str] = ()) -> Iterator[str]:
    """All texts in a value, at any depth, but for those below the keys `leave_out`."""
    if isinstance(value.data, str):
        yield value.data
    for inner in [*(inner for key, inner in value.items() if key not in leave_out), *value.elements()]:
        yield from texts(inner, leave_out)


def shown_path(path: Path) -> str:
    """The path as messages show it: relative where it lies below the working directory."""
    try:
        relative = os.path.relpath(path)
    except (ValueError, OSError):  # another drive, or a working directory that is gone
        return str(path)
    return str(path) if relative.startswith("..") or relative == "." else relative


def near_file(path: Path) -> str:
    """A hint with the name beside a missing `path` that is nearest to its own, or an empty text."""
    try:
        return nearest(path.name, os.listdir(path.parent))
    except OSError:
        return ""


def read_yaml(
    path: Path, problems: Problems, asked_at: Place | None = None, folder: Path | None = None
) -> Value | None:
    """The document at `path`, or None after recording why it can't be read.

    `asked_at` is the place that names the file, for the message when it is missing; `folder` is where
    relative paths start that are written in it, where that is not its own. Duplicate keys are mistakes; dates
    stay text.
    """
    top = Place(file=shown_path(path), line=None, folder=folder or path.parent)
    try:
        content = path.read_bytes()
    except IsADirectoryError:
        problems.error(asked_at or top, f"{shown_path(path)} is a folder; name the YAML file in it.")
        return None
    except OSError as error:
        problems.error(
            asked_at or top, f"can't read {shown_path(path)}: {error.strerror or error}.", near_file(path)
        )
        return None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        problems.error(replace(top, line=line), "the file is not UTF-8 text.", "Save it as UTF-8.")
        return None
    return parse_yaml(text, top, problems)


def parse_yaml(text: str, top: Place, problems: Problems) -> Value | None:
    """The document in `text`, or None after recording what is broken in it."""
    reader = None
    try:
        reader = _Reader(text, top, problems)
        return reader.document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(part for part in (error.context, error.problem) if part)
        if "nesting depth" in what:  # the parser in C counts for itself
            what = _TOO_DEEP
        near = next(iter(text.splitlines()[mark.line : mark.line + 1]), "") if mark else ""
        hint = yaml_hint(near)
        if re.search(r"[{\[].*\$\{\{", near):
            hint = "A binding inside { } or [ ] has to be quoted."
        problems.error(replace(top, line=mark.line + 1 if mark else None), f"broken YAML: {what}.", hint)
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        problems.error(
            replace(top, line=line),
            f"broken YAML: the character #x{ord(text[error.position]):04x} is not allowed.",
        )
    except RecursionError:
        problems.error(top, f"broken YAML: {_TOO_DEEP}.")
    finally:
        if reader is not None:
            reader.close()
    return None


class _Loader(_BASE):  # type: ignore[misc]
    """PyYAML's safe loader, but for dates: `2026-01-31` as an input's value means that text."""


_Loader.add_constructor("tag:yaml.org,2002:timestamp", lambda loader, node: loader.construct_scalar(node))


class _Reader:
    """Turns composed nodes into Values in one pass."""

    def __init__(self, text: str, top: Place, problems: Problems) -> None:
        self._loader = _Loader(text)
        self._lines = text.splitlines()
        self._top = top
        self._problems = problems
        self._open: set[int] = set()
        self._count = 0

    def document(self) -> Value | None:
        node = self._loader.get_single_node()
        if node is None:
            self._problems.error(self._top, "the file is empty.", "A job begins with type: pipeline.")
            return None
        return self._value(node, replace(self._top, line=node.start_mark.line + 1))

    def close(self) -> None:
        self._loader.dispose()

    def _value(self, node: Any, place: Place) -> Value:
        self._count += 1
        if id(node) in self._open or self._count > _MOST_VALUES:
            raise yaml.MarkedYAMLError(
                problem="an alias holds itself, or aliases stand for too many values",
                problem_mark=node.start_mark,
            )
        self._open.add(id(node))
        try:
            if not isinstance(node, yaml.ScalarNode) and node.tag not in _CONTAINERS:
                raise yaml.MarkedYAMLError(
                    problem=f"the tag {node.tag} is not used in a job", problem_mark=node.start_mark
                )
            if isinstance(node, yaml.MappingNode):
                return Value(self._mapping(node, place), place)
            if isinstance(node, yaml.SequenceNode):
                return Value(
                    [
                        self._value(child, self._at(place, number, child))
                        for number, child in enumerate(node.value)
                    ],
                    place,
                )
            return Value(self._scalar(node), place, self._written(node, place))
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: Any, place: Place) -> dict[str, Value]:
        self._check_keys(node, place)
        self._loader.flatten_mapping(node)  # `<<:` merges
        return {key.value: self._value(value, self._at(place, key.value, key)) for key, value in node.value}

    def _check_keys(self, node: Any, place: Place) -> None:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key has to be a text", problem_mark=key.start_mark)
            line = key.start_mark.line + 1
            if key.value in seen and key.value != "<<":
                self._problems.error(
                    self._at(place, key.value, key),
                    f"the key is given twice, first in line {seen[key.value]}.",
                )
            seen.setdefault(key.value, line)

    def _scalar(self, node: Any) -> object:
        try:
            data = self._loader.construct_object(node, deep=True)
        except ValueError as error:  # an int or float that only looks like one
            raise yaml.MarkedYAMLError(problem=str(error), problem_mark=node.start_mark) from error
        if isinstance(data, str) and "\0" in data:
            raise yaml.MarkedYAMLError(problem="a text holds a NUL character", problem_mark=node.start_mark)
        if data is None or isinstance(data, bool | int | float | str):
            return data
        raise yaml.MarkedYAMLError(
            problem=f"the tag {node.tag} is not used in a job", problem_mark=node.start_mark
        )

    def _written(self, node: Any, place: Place) -> tuple[str, ...]:
        first, last = node.start_mark.line, node.end_mark.line
        return () if first == last or place.line is None else tuple(self._lines[place.line - 1 : last + 1])

    @staticmethod
    def _at(place: Place, key: str | int, node: Any) -> Place:
        return replace(place, line=node.start_mark.line + 1, path=(*place.path, key))
