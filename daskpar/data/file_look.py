"""Looks at each file of a list once: sizes and times of all, in two arrays.

Long lists are looked at by processes of their own, one for each core: a look is a call of the system and a
microsecond of Python, which threads can't share, and the process that asks has other things to do.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from mmap import mmap
from typing import Any

from daskpar.data import look_worker
from daskpar.data.path_column import PathColumn, may_hold_urls
from daskpar.data.stamp_columns import StampColumns
from daskpar.data.stamps import SLOW_SECONDS, THREADS, Stamp, look_at_one, stamps_of

MANY = 20_000
"""From so many files on, processes are worth their start (about 20 ms)."""
FILES_EACH = 20_000
"""A process has at least so many."""
PROCESSES = 16
"""At most."""


def planned_stamps(paths: Sequence[str], known: Mapping[str, Stamp]) -> StampColumns:
    """Stamps of files that are about to be planned, however many; `known` are those of listings, by path.

    UNKNOWN for objects that no listing told of, for the script opens these by itself, and for what is not
    there. InputError for what is no plain file.
    """
    if len(paths) - len(known) < MANY or known or may_hold_urls(paths):
        return StampColumns.of(stamps_of(paths, known))
    if isinstance(paths, PathColumn):
        return look_at(paths, look_at_one)
    return _looked_at_once(paths)


def _looked_at_once(paths: Sequence[str]) -> StampColumns:
    """The stamps of a list in which a file may come many times."""
    import numpy as np

    number_of = {path: number for number, path in enumerate(dict.fromkeys(paths))}
    found = look_at(PathColumn.of(number_of), look_at_one)
    if len(number_of) == len(paths):
        return found
    where = np.fromiter(map(number_of.__getitem__, paths), np.int64, len(paths))
    return StampColumns(
        np.frombuffer(found.sizes, np.int64)[where], np.frombuffer(found.marks, np.int64)[where]
    )


def stamps_as_they_are(paths: Sequence[str], look: Callable[[str], Stamp]) -> StampColumns:
    """Stamps of the same files at any later time; `look` gives that of one which is no plain file by now."""
    if len(paths) < MANY or may_hold_urls(paths):
        return StampColumns.of([look(path) for path in paths])
    return look_at(PathColumn.of(paths), look)


def look_at(paths: PathColumn, odd: Callable[[str], Stamp]) -> StampColumns:
    """The stamps of local files; `odd` gives that of what can't be looked at or is no plain file."""
    import numpy as np

    count = len(paths)
    with _Shared(paths.data) as names, _Shared(paths.ends) as ends, _Shared(b"") as out:
        os.ftruncate(out.fd, 24 * count)
        sizes, seconds, nanoseconds = np.frombuffer(mmap(out.fd, 24 * count), np.int64).reshape(3, count)
        for start, stop in _in_processes(paths, names.fd, ends.fd, out.fd):
            sizes[start:stop] = look_worker.ODD  # its process could not be started or was killed
    marks = seconds * look_worker.BILLION + nanoseconds
    sizes = sizes.copy()  # the memory that was shared goes
    for number in np.flatnonzero(sizes == look_worker.ODD).tolist():
        sizes[number], marks[number] = odd(paths[number])
    return StampColumns(sizes, marks)


def _in_processes(paths: PathColumn, names: int, ends: int, out: int) -> list[tuple[int, int]]:
    """Let processes look at all files; the ranges at which none has looked to the end."""
    count = len(paths)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    number = max(1, min(PROCESSES, cores, count // FILES_EACH))
    bounds = [count * at // number for at in range(number + 1)]
    shares = list(pairwise(bounds))
    files = (names, ends, out)
    running: list[tuple[tuple[int, int], subprocess.Popen[bytes] | None]] = []
    for share in shares:
        numbers = map(str, (*files, *share, SLOW_SECONDS, THREADS))
        process = None
        with suppress(OSError, ValueError):
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", look_worker.__file__, os.fsdecode(paths.prefix), *numbers],
                pass_fds=files,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                process_group=0,  # a signal that a terminal sends is for the driver
            )
        running.append((share, process))
    return [share for share, process in running if process is None or process.wait() != 0]


class _Shared:
    """A file without a name that has `content`, for other processes too."""

    def __init__(self, content: Any) -> None:
        if hasattr(os, "memfd_create"):
            self.fd = os.memfd_create("daskpar-look")
        else:
            with tempfile.TemporaryFile() as file:
                self.fd = os.dup(file.fileno())
        left = memoryview(content).cast("B")
        while left:
            left = left[os.write(self.fd, left) :]

    def __enter__(self) -> _Shared:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)
