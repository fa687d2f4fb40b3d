"""Files of scripts' own on a node that does not see the run directory: in `output_dir`, and of MLflow."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress

from daskpar.engine.shipped.grown_files import files_below
from daskpar.processor.protocol import ReturnedFile

OWN, MLFLOW = -2, -3
"""The numbers of the trees of `output_dir`, and of what MLflow keeps."""
_Stamp = tuple[int, int, int]


class SettledFiles:
    """The files in `folders` (tree -> path), each given whole once it has not changed between two looks, and
    again after a change.
    """

    def __init__(self, folders: Mapping[int, str]) -> None:
        self._folders = folders
        self._seen: dict[str, _Stamp] = {}
        self._given: dict[str, _Stamp] = {}

    @property
    def any_own(self) -> bool:
        """Whether there has been one in `output_dir`."""
        return any(path.startswith(f"{self._folders[OWN]}/") for path in self._seen)

    def pieces(self, most: int, *, last: bool = False) -> Iterator[ReturnedFile]:
        """What is to be sent now, in pieces of at most `most` bytes; an empty one says that a file is whole.

        `last`: also of files that have changed just now. What goes while it is looked at, or can't be read,
        is left out.
        """
        for tree, folder in self._folders.items():
            for path in files_below(folder):
                with suppress(OSError):
                    stamp = _stamp(path)
                    before, self._seen[path] = self._seen.get(path), stamp
                    if self._given.get(path) != stamp and (last or before == stamp):
                        yield from self._of_file(tree, path, stamp, most, last=last)

    def _of_file(
        self, tree: int, path: str, stamp: _Stamp, most: int, *, last: bool
    ) -> Iterator[ReturnedFile]:
        name, offset = os.path.relpath(path, self._folders[tree]), 0
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            while data := os.pread(fd, min(most, max(0, stamp[1] - offset)), offset):
                yield ReturnedFile(tree=tree, name=name, offset=offset, data=data)
                offset += len(data)
        finally:
            os.close(fd)
        if last or _stamp(path) == stamp:
            self._given[path] = stamp
            yield ReturnedFile(tree=tree, name=name, offset=offset, data=b"")


def _stamp(path: str) -> _Stamp:
    seen = os.stat(path, follow_symlinks=False)
    return seen.st_ino, seen.st_size, seen.st_mtime_ns
