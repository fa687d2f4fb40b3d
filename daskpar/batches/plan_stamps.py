"""What the files of a file list were known by when they were planned, beside the plan's paths.

One file of two arrays, sizes and marks; read without pyarrow and numpy, as the paths are.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from pathlib import Path

from daskpar import atomic
from daskpar.data.stamp_columns import StampColumns
from daskpar.data.stamps import Stamp, check, check_local
from daskpar.errors import PlanDamaged

NAME = "stamps"
STAMPS_AT_ONCE = 4096
"""Stamps that become Python objects in one go."""


def write_stamps(folder: Path, stamps: Sequence[Stamp]) -> None:
    """Write the stamps of a plan's files, in the order of its paths."""
    columns = StampColumns.of(stamps)
    with atomic.writing(folder / NAME) as fd:
        atomic.write_all(fd, columns.sizes.tobytes())
        atomic.write_all(fd, columns.marks.tobytes())


class StoredStamps:
    """The stamps of `count` files; `local`: none of them is at a URL."""

    def __init__(self, folder: Path, count: int, *, local: bool) -> None:
        self.count = count
        self._local = local
        self._start = self._stop = 0
        self._sizes: list[int] = []
        self._marks: list[int] = []
        if not count:
            return
        try:
            with open(folder / NAME, "rb") as file:
                data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except (OSError, ValueError) as error:
            raise PlanDamaged(f"the plan of mini-batches is damaged: {folder / NAME}: {error}") from None
        if len(data) != 16 * count:
            raise PlanDamaged(
                f"the plan of mini-batches is damaged: {folder / NAME} has {len(data)} bytes of {16 * count}"
            )
        self._all_sizes, self._all_marks = data[: 8 * count].cast("q"), data[8 * count :].cast("q")

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
