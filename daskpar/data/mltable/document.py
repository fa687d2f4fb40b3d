"""Reads an MLTable file as a checked document: its paths and transformations, each with its line.

Used for planning alone: processors never read YAML.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import field
from typing import Any

import yaml

from daskpar.data.mltable.option_checks import TransformationError
from daskpar.data.mltable.transformation_options import check_transformation
from daskpar.data.reach import unreadable
from daskpar.errors import InputError, input_error, nearest, yaml_hint
from daskpar.locations import filesystem, is_url, join, kind_at, read_bytes
from daskpar.value_classes import frozen

TOP_LEVEL = ("$schema", "type", "metadata", "paths", "traits", "transformations", "query_source")


@frozen(kw_only=True)
class PathItem:
    """One item of `paths`."""

    how: str
    """`file`, `folder` or `pattern`."""
    text: str
    line: int


@frozen(kw_only=True)
class Transformation:
    """One item of `transformations`, its options checked and completed with their defaults."""

    name: str
    options: Mapping[str, Any]
    line: int
    number: int
    """Its place among the transformations, from 0."""


@frozen(kw_only=True)
class Document:
    """A checked MLTable."""

    file: str
    """Location of the MLTable file."""
    folder: str
    """What its relative paths are relative to."""
    items: tuple[PathItem, ...]
    transformations: tuple[Transformation, ...]
    lines: Mapping[tuple[str | int, ...], int] = field(default_factory=dict, repr=False)

    def error(self, line: int | None, what: str) -> InputError:
        """An error that names the line of this MLTable."""
        return InputError(f"{self.file}:{line}: {what}" if line else f"{self.file}: {what}")

    def located(self, line: int | None, error: BaseException) -> InputError:
        """`error` with the line of this MLTable before it."""
        return input_error(error, str(self.error(line, str(error))))

    def transformation_error(self, number: int, mistake: TransformationError) -> InputError:
        """The error for a mistake in a transformation, with the line of the option that is wrong."""
        path: tuple[str | int, ...] = ("transformations", number, *mistake.path)
        while path not in self.lines and len(path) > 2:
            path = path[:-1]
        return self.error(self.lines.get(path), str(mistake))


def read_document(folder: str) -> Document:
    """The MLTable in a folder, or the MLTable file itself, checked.

    InputError with file and line for what is wrong in it.
    """
    file, base = _find(folder)
    try:
        data = read_bytes(file)
    except OSError as error:
        raise unreadable(file, error) from None
    return parse_document(data, file, base)


def parse_document(data: bytes, file: str, folder: str) -> Document:
    """The document that the bytes of an MLTable file hold."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{file}:{line}: byte {error.start} is not UTF-8; an MLTable is UTF-8 text"
        ) from None
    value, lines = _load(text, file)
    top = Document(file=file, folder=folder, items=(), transformations=(), lines=lines)
    if not isinstance(value, dict):
        raise top.error(
            1 if value is not None else None,
            f"an MLTable is a mapping with `paths` and `transformations`, not {_kind(value)}",
        )
    _check_top(top, value)
    return Document(
        file=file,
        folder=folder,
        items=tuple(_items(top, value["paths"])),
        transformations=tuple(_transformations(top, value.get("transformations", []))),
        lines=lines,
    )


def _find(folder: str) -> tuple[str, str]:
    if folder.rstrip("/").rsplit("/", 1)[-1] == "MLTable" and _is_file(folder):
        return folder, join(folder, "..")
    file = join(folder, "MLTable")
    if not _is_file(file):
        raise InputError(
            f"{folder} holds no file named MLTable: write one there that lists the data "
            "(`paths: [{file: …}]`) and reads it (`transformations: [read_delimited]`), or give the input "
            "the type uri_folder to get the files themselves"
        )
    return file, folder


def _is_file(path: str) -> bool:
    if is_url(path):
        found, inner = filesystem(path)
        try:
            return kind_at(found, inner) == "file"
        except OSError as error:
            raise unreadable(path, error) from None
    return os.path.isfile(path)


class _LineLoader(yaml.SafeLoader):
    """PyYAML's safe loader, which names the line of a value that is none of its type (the day 2020-13-45)."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, KeyError, AttributeError, TypeError, OverflowError) as error:
            what = f"{node.value!r} can't be read as {node.tag.rpartition(':')[2]} ({error})"
            raise yaml.constructor.ConstructorError(None, None, what, node.start_mark) from None


def _load(text: str, file: str) -> tuple[Any, dict[tuple[str | int, ...], int]]:
    lines: dict[tuple[str | int, ...], int] = {}
    try:
        loader = _LineLoader(text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        code = f"U+{ord(text[error.position]):04X}"
        raise InputError(
            f"{file}:{line}: this is not valid YAML: the character {code} is not allowed"
        ) from None
    try:
        node = loader.get_single_node()
        if node is None:
            return None, lines
        value = loader.construct_document(node)
        _note_lines(node, (), lines, frozenset())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{file}:{mark.line + 1}" if mark else file
        near = next(iter(text.splitlines()[mark.line : mark.line + 1]), "") if mark else ""
        hint = f". {found}" if (found := yaml_hint(near)) else ""
        raise InputError(
            f"{where}: this is not valid YAML: {error.problem or error.context or error}{hint}"
        ) from None
    except yaml.YAMLError as error:
        raise InputError(f"{file}: this is not valid YAML: {error}") from None
    except RecursionError:
        raise InputError(f"{file}: this YAML is nested too deep") from None
    finally:
        loader.dispose()
    return value, lines


def _note_lines(
    node: yaml.Node,
    path: tuple[str | int, ...],
    lines: dict[tuple[str | int, ...], int],
    above: frozenset[int],
) -> None:
    """Note the lines of all that lies in a node; one that contains itself (`&a {x: *a}`) is followed once."""
    lines[path] = lines.get(path, node.start_mark.line + 1)
    if id(node) in above:
        return
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below = (*path, str(key.value))
            if below in lines:  # a repeated key: the last one wins
                for known in [known for known in lines if known[: len(below)] == below]:
                    del lines[known]
            lines[below] = key.start_mark.line + 1
            if below != ("metadata",):  # free, and as large as its aliases make it
                _note_lines(value, below, lines, above | {id(node)})
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _note_lines(value, (*path, index), lines, above | {id(node)})


def _check_top(top: Document, value: Mapping[Any, Any]) -> None:
    for key in value:
        if key not in TOP_LEVEL:
            raise top.error(
                top.lines.get((str(key),)),
                f"an MLTable has no key {key!r}. {nearest(str(key), TOP_LEVEL)}".rstrip(),
            )
    if "query_source" in value:
        raise top.error(
            top.lines.get(("query_source",)),
            "`query_source` reads from a feature store in Azure, which is not available here",
        )
    if "paths" not in value:
        raise top.error(
            None, "`paths` is missing: list the files, folders or patterns that the table is made of"
        )
    rules: dict[str, tuple[type, str]] = {
        "$schema": (str, "a text"),
        "type": (str, "`mltable`"),
        "metadata": (dict, "a mapping"),
        "traits": (dict, "a mapping"),
        "paths": (list, "a list"),
        "transformations": (list, "a list"),
    }
    for key, (kind, words) in rules.items():
        if key in value and not isinstance(value[key], kind):
            raise top.error(top.lines.get((key,)), f"`{key}` must be {words}, not {_kind(value[key])}")
    if value.get("type", "mltable") != "mltable":
        raise top.error(top.lines.get(("type",)), f"`type` must be `mltable`, not {value['type']!r}")
    traits = value.get("traits", {})
    if not isinstance(traits.get("timestamp_column", ""), str):
        raise top.error(
            top.lines.get(("traits", "timestamp_column")), "`timestamp_column` must be the name of a column"
        )
    index = traits.get("index_columns", [])
    if not isinstance(index, list) or not all(isinstance(name, str) for name in index):
        raise top.error(
            top.lines.get(("traits", "index_columns")), "`index_columns` must be a list of names of columns"
        )


def _items(top: Document, paths: list[Any]) -> list[PathItem]:
    out = []
    for index, item in enumerate(paths):
        line = top.lines.get(("paths", index), 0)
        if (
            not isinstance(item, dict)
            or len(item) != 1
            or next(iter(item)) not in ("file", "folder", "pattern")
        ):
            raise top.error(
                line, f"each item of `paths` is one of `file: …`, `folder: …` or `pattern: …`, not {item!r}"
            )
        how, text = next(iter(item.items()))
        if not isinstance(text, str):
            raise top.error(line, f"`{how}` must be a path, not {_kind(text)}")
        out.append(PathItem(how=how, text=text, line=line))
    return out


def _transformations(top: Document, written: list[Any]) -> list[Transformation]:
    out = []
    for index, item in enumerate(written):
        at: tuple[str | int, ...] = ("transformations", index)
        if isinstance(item, dict) and len(item) == 1:
            name, options = next(iter(item.items()))
            bare = False
        elif isinstance(item, str):
            name, options, bare = item, {}, True
        else:
            raise top.error(
                top.lines.get(at),
                "each item of `transformations` is one step: a name, or a name with its options, "
                f"not {item!r}",
            )
        try:
            checked = check_transformation(name, options, bare)
        except TransformationError as error:
            raise top.transformation_error(index, error) from None
        out.append(Transformation(name=name, options=checked, line=top.lines.get(at, 0), number=index))
    return out


def _kind(value: object) -> str:
    if value is None:
        return "nothing"
    return {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: f"the text {value!r}",
        list: "a list",
        dict: "a mapping",
    }.get(type(value), repr(value))
