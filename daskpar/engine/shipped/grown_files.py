"""What the files in a node's folders have grown by: logs and stacks, which belong in the run directory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from daskpar.processor.protocol import ReturnedFile

LEFT = -1
"""The number of the tree that comes back at the end."""
_WRITTEN_ANEW = (".profile",)
"""Ends of names of files that are not appended to."""


class GrownFiles:
    """The files in `folders`, of which each byte is given once; `first`: the number of the first folder."""

    def __init__(self, folders: Sequence[str], first: int = 0) -> None:
        self._folders = folders
        self._first = first
        self._given: dict[str, tuple[int, int]] = {}
        """Path -> its number on the disk, and how many bytes of it were given."""

    def pieces(self, most: int, *, last: bool = False) -> Iterator[ReturnedFile]:
        """What has come since the last call, in pieces of at most `most` bytes.

        `last`: also of files that are written anew each time. What goes while it is looked at is left out.
        """
        for tree, folder in enumerate(self._folders, self._first):
            for path in files_below(folder):
                if last or not path.endswith(_WRITTEN_ANEW):
                    try:
                        yield from self._of_file(tree, folder, path, most)
                    except FileNotFoundError:
                        continue

    def _of_file(self, tree: int, folder: str, path: str, most: int) -> Iterator[ReturnedFile]:
        seen = os.stat(path, follow_symlinks=False)
        number, given = self._given.get(path, (seen.st_ino, 0))
        if anew := number != seen.st_ino or seen.st_size < given:
            given = 0
        elif seen.st_size == given:
            return
        name = os.path.relpath(path, folder)
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            while True:
                data = os.pread(fd, min(most, max(0, seen.st_size - given)), given)
                if data or anew:
                    yield ReturnedFile(tree=tree, name=name, offset=given, data=data)
                given, anew = given + len(data), False
                self._given[path] = (seen.st_ino, given)
                if not data or given >= seen.st_size:
                    return
        finally:
            os.close(fd)


def files_below(folder: str) -> Iterator[str]:
    """Regular files in a folder, which need not be there."""
    for parent, _, names in os.walk(folder):
        for name in sorted(names):
            path = os.path.join(parent, name)
            if os.path.isfile(path) and not os.path.islink(path):
                yield path
