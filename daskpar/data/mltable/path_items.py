"""Lists the files of an MLTable's `paths`: each item is a file, a folder or a pattern.

As Microsoft's reader lists patterns: depth first, the entries of each folder by the bytes of their names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from daskpar.data.files import ListingNotes, list_files, urls_below
from daskpar.data.folder_walk import folder_identity, is_folder, odd_kind
from daskpar.data.reach import Reach, advice, reach_of
from daskpar.data.stamps import UNKNOWN, Stamp, remote_stamp
from daskpar.errors import DataUnreached, InputError
from daskpar.locations import filesystem, is_url, kind_at, remote_errors

_MAGIC = re.compile(r"[*?\[]")


def files_of_item(how: str, location: str, notes: ListingNotes | None = None) -> list[str]:
    """Files of one item; `how` is `file`, `folder` or `pattern`, `location` is resolved.

    `notes` gets what listing finds out beside the names.

    A `file` is not looked up (a reader notices when it is missing). InputError where a folder is missing or
    nothing matches a pattern.
    """
    if how == "file":  # brackets in it are literal
        if "*" in location or location.endswith("/"):
            raise InputError(
                "`file` takes the name of one file: use `pattern` for wildcards and `folder` for a folder"
            )
        return [location]
    if how == "folder":
        if "*" in location or "?" in location:
            raise InputError("`folder` takes the name of one folder: use `pattern` for wildcards")
        if not is_url(location) and not os.path.isdir(location):
            raise InputError(f"the folder {location} does not exist")
        return list(list_files(location, notes).paths)
    return _matching(location, ListingNotes() if notes is None else notes)


def _matching(location: str, notes: ListingNotes) -> list[str]:
    if is_url(location):
        scheme, _, rest = location.partition("://")
        host, _, path = rest.partition("/")
        fs, _ = filesystem(location)  # by all of it: the datastore that it lies in may begin below its host
        head = f"{scheme}://{host}"
        root = str(fs._strip_protocol(head)).rstrip("/")
        tree: _Tree = _RemoteTree(fs)
        restore: Callable[[str], str] = partial(_url_of, head, fs, root)
    else:
        root, path, tree, restore = "", location.lstrip("/"), _Tree(), str
    segments = [segment for segment in path.split("/") if segment]
    for segment in segments:
        if "**" in segment and segment != "**":  # as Microsoft's reader, which calls it invalid
            raise InputError(
                f"`**` must be a whole part of the path between slashes, not a piece of {segment!r}"
            )
    fixed = 0
    while fixed < len(segments) and not _MAGIC.search(segments[fixed]):
        fixed += 1
    base = "/".join([root, *segments[:fixed]]) or "/"
    if fixed == len(segments):
        found = (
            [base]
            if tree.is_file(base)
            else list(list_files(restore(base), notes).paths)
            if tree.is_folder(base)
            else []
        )
        return _some(found if base not in found else [restore(base)], location)
    # as Microsoft's reader: `**` stands for folders, so a pattern that ends with it matches no file
    matched = [name for name in _descend(tree, base, segments[fixed:]) if segments[-1] != "**"]
    if not matched and tree.is_file(
        "/".join([root, *segments])
    ):  # a name with brackets, written as a pattern
        matched = ["/".join([root, *segments])]
    notes.left_out.update((name, tree.odd[name]) for name in matched if name in tree.odd)
    matched = [name for name in matched if name not in tree.odd]
    notes.stamps.update(
        (restore(name), tree.stamps[name]) for name in matched if tree.stamps.get(name, UNKNOWN).known
    )
    return _some([restore(name) for name in matched], location)


def _url_of(head: str, fs: Any, root: str, name: str) -> str:
    return urls_below(head, fs, root, [name])[0]


def _some(found: list[str], location: str) -> list[str]:
    if not found:
        raise InputError(f"no file matches {location}")
    return found


class _Tree:
    """The local file system, as far as patterns look at it."""

    def __init__(self) -> None:
        self.odd: dict[str, str] = {}
        """What was seen that is neither file nor folder, by path, and what it is."""
        self.stamps: dict[str, Stamp] = {}
        """What listings of a store told of its objects, by path."""

    def is_file(self, path: str) -> bool:
        return os.path.isfile(path)

    def is_folder(self, path: str) -> bool:
        return os.path.isdir(path)

    def entries(self, folder: str) -> list[tuple[str, bool]]:
        """Names in a folder, sorted, each with whether it is a folder; nothing for what is no folder."""
        with _naming(folder):
            try:
                with os.scandir(folder) as listed:
                    entries = list(listed)
                found = sorted((entry.name, is_folder(entry)) for entry in entries)
                prefix = folder.rstrip("/") + "/"
                self.odd.update(
                    (prefix + entry.name, kind)
                    for entry in entries
                    if not entry.is_file(follow_symlinks=False)
                    and not is_folder(entry)
                    and (kind := odd_kind(entry))
                )
                return found
            except (NotADirectoryError, FileNotFoundError):
                return []

    def folder_identity(self, folder: str) -> Any:
        """What a folder has in common with links to it."""
        with _naming(folder):
            return folder_identity(folder)


class _RemoteTree(_Tree):
    """An fsspec filesystem, likewise."""

    def __init__(self, fs: Any) -> None:
        super().__init__()
        self._fs = fs

    def is_file(self, path: str) -> bool:
        with _naming(path):
            return kind_at(self._fs, path) == "file"

    def is_folder(self, path: str) -> bool:
        with _naming(path):
            return kind_at(self._fs, path) == "directory"

    def entries(self, folder: str) -> list[tuple[str, bool]]:
        with _naming(folder):
            try:
                listed = self._fs.ls(folder, detail=True)
            except (NotADirectoryError, FileNotFoundError):
                return []
        prefix = folder.rstrip("/") + "/"
        self.stamps.update(
            (prefix + item["name"].rsplit("/", 1)[-1], remote_stamp(item))
            for item in listed
            if item["type"] != "directory"
        )
        return sorted(
            (item["name"].rstrip("/").rsplit("/", 1)[-1], item["type"] == "directory") for item in listed
        )

    def folder_identity(self, folder: str) -> Any:
        return folder


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """InputError, with the path, for what a filesystem refuses."""
    try:
        with remote_errors():
            yield
    except OSError as error:
        kind = DataUnreached if reach_of(error) == Reach.UNREACHED else InputError
        what = error.strerror or error
        raise kind(f"{path} can't be listed: {what}{advice(path, error)}") from None


def _descend(tree: _Tree, folder: str, segments: list[str]) -> Iterator[str]:
    """Files below `folder` that match, depth first, each once."""
    parts = [None if part == "**" else _expression(part) for part in segments]
    above = (tree.folder_identity(folder),) if None in parts and tree.is_folder(folder) else ()
    yield from _visit(tree, folder, frozenset({0}), parts, above)


def _visit(
    tree: _Tree,
    folder: str,
    states: frozenset[int],
    parts: list[re.Pattern[str] | None],
    above: tuple[Any, ...],
) -> Iterator[str]:
    """Files below `folder` that match, one folder deeper with each call.

    `states`: how many segments may have been consumed on the way to `folder`; `above`: the folder and those
    above it, which `**` does not follow links to.
    """
    open_states = set(states)
    for state in sorted(states):
        while state < len(parts) and parts[state] is None:  # `**/` may stand for no folder at all
            state += 1
            open_states.add(state)
    prefix = folder.rstrip("/") + "/"
    for name, goes_on in tree.entries(folder):
        after: set[int] = set()
        for state in open_states:
            if state == len(parts):
                continue
            part = parts[state]
            if part is None:
                if goes_on:
                    after.add(state)
            elif part.fullmatch(name):
                after.add(state + 1)
        if goes_on:
            after.discard(len(parts))
            if not after:
                continue
            known = tree.folder_identity(prefix + name) if above else None
            if known not in above or all(parts[state] is not None for state in after):
                yield from _visit(
                    tree, prefix + name, frozenset(after), parts, (*above, known) if above else ()
                )
        elif len(parts) in after:
            yield prefix + name


def _expression(segment: str) -> re.Pattern[str]:
    """One path part with `*`, `?`, `[a-z]` and `[!a]` as a regular expression.

    An unclosed bracket is literal.
    """
    out, i = [], 0
    while i < len(segment):
        char = segment[i]
        i += 1
        if char == "*":
            out.append(".*")
        elif char == "?":
            out.append(".")
        elif char == "[" and (end := segment.find("]", i + 1 + segment.startswith("!", i))) > 0:
            inside = segment[i:end]
            negated = inside.startswith("!")
            body = (
                inside[negated:]
                .replace("\\", "\\\\")
                .replace("]", "\\]")
                .replace("[", "\\[")
                .replace("^", "\\^")
            )
            out.append(f"[{'^' if negated else ''}{body}]")
            i = end + 1
        else:
            out.append(re.escape(char))
    return re.compile("".join(out), re.DOTALL)
