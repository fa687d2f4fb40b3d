"""The lines for pip of a conda file as they mean the same anywhere: list files within, places absolute."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from daskpar.errors import UsageError

_LIST = re.compile(r"(?:-r|--requirement)(?:[\s=]+|(?<=-r))(?P<file>\S.*)")
_NAMES_A_PLACE = re.compile(
    r"(?P<option>-c|--constraint|-e|--editable|-f|--find-links)(?P<gap>[\s=]+|(?<=-[cef]))(?P<place>\S.*)"
)
_PLACE = re.compile(r"\.{1,2}(?:/.*)?|/.*|[^\s@]+\.(?:whl|zip|tar\.gz)")
_MADE = frozenset({".git", "__pycache__", "build", "dist", ".venv", "node_modules", ".tox", ".mypy_cache"})
"""Folders within a package's own that building it, or working on it, makes."""
_PACKAGING = ("pyproject.toml", "setup.py", "setup.cfg")
"""What decides how an editable package is installed; its modules are read where they lie."""


def expanded(lines: Iterable[str], folder: str) -> list[str]:
    """Lines for pip without `-r`: what such a file lists stands in its place.

    `folder`: where relative paths start; in a file that is listed, those of further lists start beside it.
    UsageError for a list that can't be read.
    """
    return list(_expanded(lines, folder, folder, ()))


def _expanded(lines: Iterable[str], beside: str, folder: str, within: tuple[str, ...]) -> Iterator[str]:
    for line in lines:
        text = re.sub(r"(?:^|\s+)#.*$", "", line).strip()
        if not text:
            continue
        listed = _LIST.fullmatch(text)
        if listed is None or _is_elsewhere(listed["file"]):
            yield _absolute(text, beside, folder)
            continue
        path = os.path.normpath(os.path.join(beside, _unquoted(listed["file"])))
        if path in within:
            raise UsageError(f"{path} lists itself (`-r`)")
        yield from _expanded(_lines_of(path), os.path.dirname(path), folder, (*within, path))


def _lines_of(path: str) -> list[str]:
    try:
        text = Path(path).read_text()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UsageError(f"`-r {path}` of its pip section can't be read: {why}") from None
    return re.sub(r"\\\r?\n", " ", text).splitlines()


def _absolute(text: str, beside: str, folder: str) -> str:
    if (named := _NAMES_A_PLACE.fullmatch(text)) is not None:
        option, place = named["option"], _unquoted(named["place"])
        if _is_elsewhere(place):
            return text
        start = beside if option in ("-c", "--constraint") else folder
        return f"{option}{named['gap'] or ' '}{os.path.normpath(os.path.join(start, place))}"
    if _PLACE.fullmatch(text):
        return os.path.normpath(os.path.join(folder, text))
    return text


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


def _is_elsewhere(place: str) -> bool:
    """Whether it is a URL, or named by a variable: pip alone knows what that says."""
    return "://" in place or "${" in place or place.startswith("git+")


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...


def add_places(content: _Hash, lines: Iterable[str]) -> None:
    """Put the content of local packages, and of files that pip reads, into a hash. `lines`: as expanded."""
    for line in lines:
        named = _NAMES_A_PLACE.fullmatch(line)
        option = named["option"] if named is not None else ""
        place = re.sub(r"\[[^\]/]*\]$", "", named["place"] if named is not None else line)
        if not os.path.isabs(place) or option in ("-f", "--find-links"):
            continue
        for path in _files_of(place, editable=option in ("-e", "--editable")):
            try:
                content.update(os.fsencode(path) + b"\0" + Path(path).read_bytes() + b"\0")
            except OSError:
                continue  # pip says what is wrong with it


def _files_of(place: str, *, editable: bool) -> Iterator[str]:
    if not os.path.isdir(place):
        yield place
    elif editable:
        yield from (os.path.join(place, name) for name in _PACKAGING)
    else:
        for parent, folders, files in os.walk(place):
            kept = (name for name in folders if name not in _MADE and not name.endswith(".egg-info"))
            folders[:] = sorted(kept)
            yield from (os.path.join(parent, name) for name in sorted(files) if not name.endswith(".pyc"))
