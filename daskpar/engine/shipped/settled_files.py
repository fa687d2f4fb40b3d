"""Files of scripts' own on a node that does not see the run directory: in `output_dir`, and of MLflow."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from time import monotonic

from daskpar.processor.protocol import ReturnedFile

OWN, MLFLOW = -2, -3
"""The numbers of the trees of `output_dir`, and of what MLflow keeps."""
PAUSES = 10
"""So many times as long as a look has taken, there is no other one: a hundred thousand files take a while."""
MOST_PAUSE_SECONDS = 60.0
"""But no longer than this."""
_Stamp = tuple[int, int, int]


class SettledFiles:
    """The files in `folders` (tree -> path), each given whole once it has not changed between two looks, and
    again after a change.
    """

    def __init__(self, folders: Mapping[int, str], clock: Callable[[], float] = monotonic) -> None:
        self._folders = folders
        self._clock = clock
        self._not_before = 0.0
        self._seen: dict[str, _Stamp] = {}
        """What has changed lately."""
        self._given: dict[str, _Stamp] = {}
        self.any_own = False
        """Whether there has been one in `output_dir`."""

    def pieces(self, most: int, *, last: bool = False) -> Iterator[ReturnedFile]:
        """What is to be sent now, in pieces of at most `most` bytes; an empty one says that a file is whole.

        `last`: also of files that have changed just now, and however long the last look took. What goes while
        it is looked at, or can't be read, is left out.
        """
        began, new = self._clock(), 0.0
        if began < self._not_before and not last:
            return
        for tree, folder in self._folders.items():
            for path, stamp in _stamps_below(folder):
                self.any_own = self.any_own or tree == OWN
                given = self._given.get(path)
                if given == stamp:
                    continue
                before, self._seen[path] = self._seen.get(path), stamp
                if last or before == stamp:
                    sending = self._clock()
                    with suppress(OSError):
                        yield from self._of_file(tree, path, stamp, most, last=last)
                    # What is sent once has to be sent. One that is appended to goes again as a whole, like a
                    # look at many files: neither may take all of the time.
                    new += self._clock() - sending if given is None else 0.0
        now = self._clock()
        self._not_before = now + min(MOST_PAUSE_SECONDS, PAUSES * (now - began - new))

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
        if last or _stamp(os.stat(path, follow_symlinks=False)) == stamp:
            self._given[path] = stamp
            self._seen.pop(path, None)
            yield ReturnedFile(tree=tree, name=name, offset=offset, data=b"")


def _stamps_below(folder: str) -> Iterator[tuple[str, _Stamp]]:
    """Regular files in a folder, which need not be there, with what changes when they do. Each is looked at
    once: there may be many.
    """
    folders = []
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return
    for entry in found:
        with suppress(OSError):
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif entry.is_file(follow_symlinks=False):
                stamp = _stamp(entry.stat(follow_symlinks=False))
                yield entry.path, stamp
    for each in folders:
        yield from _stamps_below(each)


def _stamp(seen: os.stat_result) -> _Stamp:
    return seen.st_ino, seen.st_size, seen.st_mtime_ns
