"""Goes through a local folder: the files below it, depth first, in the order of their names.

Names become objects of Python a few thousand at a time: flat folders of millions of files are common.
"""

from __future__ import annotations

import errno
import os
import stat
from bisect import bisect_left
from collections.abc import Sequence
from itertools import islice
from typing import Any, AnyStr

from daskpar.data.path_column import PathColumn, PathColumnBuilder
from daskpar.data.stamps import kind_of

NAMES_AT_ONCE = 16_384
"""Names of one folder that are objects at the same time; those of a larger one are sorted as an array."""
WIDE = 4
"""An array has a place for the longest name in each of its rows: names so many times shorter on average are
sorted as objects instead.
"""

_Part = Any
"""Names: a list of bytes, or an array of them."""


class FolderWalk:
    """Goes through `folder` once, in `run`."""

    def __init__(self, folder: str) -> None:
        self.left_out: dict[str, str] = {}
        """What is no plain file, by path, and what it is instead."""
        self.holds_runs = False
        """Whether run directories of ours are among the folders."""
        self._folder = os.fsencode(folder.rstrip("/") or "/")
        self._found = PathColumnBuilder()

    def run(self) -> PathColumn:
        """The files below it. OSError where a folder can't be listed."""
        self._walk(self._folder, b"", (folder_identity(self._folder),))
        return self._found.column(self._folder if self._folder == b"/" else self._folder + b"/")

    def _walk(self, folder: bytes, inner: bytes, above: tuple[tuple[int, int], ...]) -> None:
        """`inner`: the folder as seen from the first one, with its last slash."""
        parts, special = [], []
        with os.scandir(folder) as entries:
            while batch := list(islice(entries, NAMES_AT_ONCE)):
                parts.append([entry.name for entry in batch if entry.is_file(follow_symlinks=False)])
                if len(parts[-1]) < len(batch):
                    special += [entry for entry in batch if not entry.is_file(follow_symlinks=False)]
                if len(batch) == NAMES_AT_ONCE:
                    parts[-1] = _packed(parts[-1])
        # What is neither file nor folder by the folder's own words is looked at: links are.
        folders, odd = [], []
        for entry in special:
            if is_folder(entry):
                folders.append(entry.name)
            elif kind := odd_kind(entry):
                self.left_out[os.fsdecode(os.path.join(folder, entry.name))] = kind
            else:
                odd.append(entry.name)
        self._add_sorted(
            [*parts, odd] if odd else parts, sorted(folders, key=os.fsdecode), folder, inner, above
        )

    def _add_sorted(
        self,
        parts: list[_Part],
        folders: list[bytes],
        folder: bytes,
        inner: bytes,
        above: tuple[tuple[int, int], ...],
    ) -> None:
        """Files and folders, as their names compare."""
        names = _joined(parts)
        key: Any = None if all(map(_is_text, [*parts, folders])) else os.fsdecode
        moved = 0
        if isinstance(names, list):
            names.sort(key=key)
        elif key is None:
            names.sort()
        else:
            names = sorted(names.tolist(), key=key)
        parts.clear()
        for name in folders:
            before = bisect_left(names, name if key is None else key(name), moved, key=key)
            self._add(names, moved, before, inner)
            moved = before
            path = os.path.join(folder, name)
            self.holds_runs = self.holds_runs or os.path.isfile(os.path.join(path, b"run.json"))
            if (own := folder_identity(path)) not in above:
                self._walk(path, inner + name + b"/", (*above, own))
        self._add(names, moved, len(names), inner)

    def _add(self, names: _Part, start: int, stop: int, inner: bytes) -> None:
        for at in range(start, stop, NAMES_AT_ONCE):
            some = names[at : min(stop, at + NAMES_AT_ONCE)]
            if isinstance(some, list):
                self._found.add(some, inner)
            elif inner:
                self._found.add(some.tolist(), inner)
            else:
                self._found.add_array(some)


def _packed(names: list[bytes]) -> _Part:
    """Names in an array with a place for the longest in each row, unless most are much shorter."""
    import numpy as np

    longest, total = max(map(len, names), default=0), sum(map(len, names))
    return np.array(names, dtype=f"S{longest}") if 0 < longest * len(names) <= WIDE * total else names


def _joined(parts: Sequence[_Part]) -> _Part:
    """All parts as one; as objects where one of them is, or where that makes the rows too wide."""
    parts = [part for part in parts if len(part)]  # none of many may have a file: folders of folders
    if not parts:
        return []
    if len(parts) == 1:
        return parts[0]
    import numpy as np

    arrays = [_packed(part) if isinstance(part, list) else part for part in parts]
    if any(isinstance(part, list) for part in arrays):
        return [name for part in arrays for name in (part if isinstance(part, list) else part.tolist())]
    if max(part.itemsize for part in arrays) > WIDE * min(part.itemsize for part in arrays):
        return [name for part in arrays for name in part.tolist()]
    return np.concatenate(arrays)


def _is_text(names: _Part) -> bool:
    """Whether names are UTF-8, so that they compare as their bytes do."""
    if not isinstance(names, list):
        if names.tobytes().isascii():
            return True
        names = names.tolist()
    data = b"/".join(names)
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def is_folder(entry: os.DirEntry[AnyStr]) -> bool:
    """Whether an entry is a folder or a link to one; a link in a circle leads nowhere, so it is none.

    OSError where a link can't be followed for another reason.
    """
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        raise


def odd_kind(entry: os.DirEntry[AnyStr]) -> str:
    """What an entry is that is no folder: empty for a file or a link to one, else in words."""
    if entry.is_file(follow_symlinks=False):
        return ""
    try:
        mode = entry.stat().st_mode
    except OSError as error:
        nowhere = error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
        return "a link to nothing" if nowhere else ""  # what else is wrong is said where it is read
    return "" if stat.S_ISREG(mode) else kind_of(mode)


def folder_identity(folder: str | bytes) -> tuple[int, int]:
    """What a local folder has in common with links to it: device and inode."""
    seen = os.stat(folder)
    return seen.st_dev, seen.st_ino
