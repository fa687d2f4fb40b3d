"""What the files of a file list were known by when they were planned, beside the plan's paths.

One file of four arrays: sizes, marks, and the marks as the seconds and nanoseconds in which the system tells
them. Read without pyarrow and numpy, as the paths are.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from pathlib import Path

from daskpar import atomic
from daskpar.data.libc_stat import LibcStat, libc_stat
from daskpar.data.stamp_columns import StampColumns
from daskpar.data.stamps import Stamp, check, check_local
from daskpar.errors import PlanDamaged

NAME = "stamps"
STAMPS_AT_ONCE = 4096
"""Stamps that become Python objects in one go."""
WRITTEN_AT_ONCE = 65_536
"""Stamps whose seconds are computed in one go."""
SOME = 3
"""From so many files on, the quick way is quicker."""
_BILLION = 1_000_000_000
_SIZES, _MARKS, _SECONDS, _NANOSECONDS = range(4)
"""The arrays, in their order."""


def write_stamps(folder: Path, stamps: Sequence[Stamp]) -> None:
    """Write the stamps of a plan's files, in the order of its paths."""
    import numpy as np

    columns = StampColumns.of(stamps)
    with atomic.writing(folder / NAME) as fd:
        atomic.write_all(fd, columns.sizes.tobytes())
        atomic.write_all(fd, columns.marks.tobytes())
        for part in (0, 1):
            for start in range(0, len(columns), WRITTEN_AT_ONCE):
                marks = np.frombuffer(columns.marks[start : start + WRITTEN_AT_ONCE], np.int64)
                atomic.write_all(fd, np.divmod(marks, _BILLION)[part].tobytes())


class StoredStamps:
    """The stamps of `count` files; `local`: none of them is at a URL."""

    def __init__(self, folder: Path, count: int, *, local: bool) -> None:
        self.count = count
        self._local = local
        self._start = self._stop = 0
        self._sizes: list[int] = []
        self._marks: list[int] = []
        self._quick: LibcStat | None = None
        self._quick_from = SOME
        if not count:
            return
        try:
            with open(folder / NAME, "rb") as file:
                data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except (OSError, ValueError) as error:
            raise PlanDamaged(f"the plan of mini-batches is damaged: {folder / NAME}: {error}") from None
        if len(data) not in (16 * count, 32 * count):
            raise PlanDamaged(
                f"the plan of mini-batches is damaged: {folder / NAME} has {len(data)} bytes of {32 * count}"
            )
        arrays = [data[at : at + 8 * count].cast("q") for at in range(0, len(data), 8 * count)]
        self._all_sizes, self._all_marks = arrays[_SIZES], arrays[_MARKS]
        if not local or len(arrays) < 4:  # of an earlier version
            self._quick_from = count + 1
        else:
            self._all_seconds, self._all_nanoseconds = arrays[_SECONDS], arrays[_NANOSECONDS]

    def all(self) -> StampColumns:
        """Each of them."""
        if not self.count:
            return StampColumns(b"", b"")
        return StampColumns(self._all_sizes, self._all_marks)

    def slice(self, start: int, stop: int) -> list[Stamp]:
        """Those of files [start, stop)."""
        return list(map(Stamp, self._all_sizes[start:stop].tolist(), self._all_marks[start:stop].tolist()))

    def check(self, paths: Sequence[str], start: int) -> None:
        """The files `paths`, whose first is number `start`, are what they were when they were planned.

        Raises InputChanged where one is not, DataUnreached where nobody can say.
        """
        stop = start + len(paths)
        if len(paths) >= self._quick_from and self._unchanged(paths, start):
            return
        if start < self._start or stop > self._stop:
            self._start, self._stop = start, min(self.count, max(stop, start + STAMPS_AT_ONCE))
            self._sizes = self._all_sizes[self._start : self._stop].tolist()
            self._marks = self._all_marks[self._start : self._stop].tolist()
        own = slice(start - self._start, stop - self._start)
        if self._local:
            check_local(paths, self._sizes[own], self._marks[own])
            return
        for path, size, mark in zip(paths, self._sizes[own], self._marks[own], strict=True):
            check(path, Stamp(size, mark))

    def _unchanged(self, paths: Sequence[str], start: int) -> bool:
        """Whether all are certainly what they were, by the quickest way there is."""
        if self._quick is None:
            self._quick = libc_stat()
            if self._quick is None:
                self._quick_from = self.count + 1
                return False
        look, at_once = self._quick.unchanged, self._quick.places
        for at in range(0, len(paths), at_once):
            some = paths[at : at + at_once] if len(paths) > at_once else paths
            own = slice(start + at, start + at + len(some))
            if not look(some, self._all_sizes[own], self._all_seconds[own], self._all_nanoseconds[own]):
                return False
        return True
