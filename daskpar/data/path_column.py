"""Many paths in a few bytes each: one text with all of them, and where each ends.

A list of a million paths as objects of Python takes 100 MB and more; this takes what the names have in bytes,
and 8 bytes for each. It is in the order, and by the bytes, in which a plan stores them.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, islice, pairwise
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    import numpy as np

AT_ONCE = 4096
"""Paths that are objects at a time, while one goes through all of them."""
SEARCHED = 1 << 20
"""Bytes in which something is looked for at a time."""


class PathColumn(Sequence[str]):
    """Paths that begin with `prefix`, a folder with its last slash or nothing, which is stored once.

    `data`: the rest of all paths, one after the other; `ends`: 64-bit integers, 0 and where each ends in it.
    """

    def __init__(self, prefix: bytes, data: Any, ends: Any) -> None:
        self.prefix = prefix
        self.data = data
        self.ends = ends
        self._text = os.fsdecode(prefix)
        self._start = self._stop = 0
        self._chunk: list[str] = []
        self._least_and_greatest: list[str] = []

    @classmethod
    def of(cls, paths: Iterable[str]) -> PathColumn:
        """The same paths in this form."""
        if isinstance(paths, PathColumn):
            return paths
        builder = PathColumnBuilder()
        remaining = iter(paths)
        least_and_greatest: list[str] = []
        while some := list(islice(remaining, AT_ONCE)):
            builder.add_texts(some)
            found = [min(some), max(some), *least_and_greatest]
            least_and_greatest = [min(found), max(found)]
        column = builder.column(b"")
        column._least_and_greatest = least_and_greatest
        return column

    def __len__(self) -> int:
        return len(self.ends) - 1

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...
    def __getitem__(self, at: int | slice) -> str | list[str]:
        if isinstance(at, slice):
            start, stop, step = at.indices(len(self))
            if step == 1:
                return self._decoded(start, max(start, stop))
            return [self[number] for number in range(start, stop, step)]
        number = at + len(self) if at < 0 else at
        if not 0 <= number < len(self):
            raise IndexError(f"path {at} of {len(self)}")
        if not self._start <= number < self._stop:
            self._start, self._stop = number, min(len(self), number + AT_ONCE)
            self._chunk = self._decoded(self._start, self._stop)
        return self._chunk[number - self._start]

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), AT_ONCE):
            yield from self._decoded(start, min(len(self), start + AT_ONCE))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str) or len(self) != len(other):
            return False
        return all(one == another for one, another in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"PathColumn({list(self[:3])}{', ...' if len(self) > 3 else ''}, {len(self)} paths)"

    def least_and_greatest(self) -> tuple[str, str]:
        """As text compares; for a column that is not empty."""
        found = self._least_and_greatest
        for at in range(0, 0 if found else len(self), AT_ONCE):
            part = self._decoded(at, min(len(self), at + AT_ONCE))
            found = [min(part), max(part), *found]
            found = [min(found), max(found)]
        self._least_and_greatest = found
        return found[0], found[1]

    def _decoded(self, start: int, stop: int) -> list[str]:
        if start >= stop:
            return []
        ends = self.ends[start : stop + 1].tolist()
        base = ends[0]
        data = bytes(self.data[base : ends[-1]])
        prefix = self._text
        if data.isascii():
            text = data.decode("ascii")
            return [prefix + text[a - base : b - base] for a, b in pairwise(ends)]
        return [
            prefix + data[a - base : b - base].decode("utf-8", "surrogateescape") for a, b in pairwise(ends)
        ]


class PathColumnBuilder:
    """Puts names one after the other."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._ends = array("q", [0])

    def add(self, names: Sequence[bytes], before: bytes = b"") -> None:
        """Add names, each with `before` in front of it."""
        if before:
            names = [before + name for name in names]
        ends = accumulate(map(len, names), initial=len(self._data))
        next(ends)
        self._ends.extend(ends)
        self._data += b"".join(names)

    def add_texts(self, names: Sequence[str]) -> None:
        """Add names that are texts."""
        text = "".join(names)
        if not text.isascii():
            self.add([name.encode("utf-8", "surrogateescape") for name in names])
            return
        ends = accumulate(map(len, names), initial=len(self._data))
        next(ends)
        self._ends.extend(ends)
        self._data += text.encode("ascii")

    def add_array(self, names: np.ndarray) -> None:
        """Add the names in an array of bytes (`S11`): none of them has a null character."""
        places = names.view("u1").reshape(len(names), -1)
        there = places != 0
        ends = there.sum(axis=1, dtype="i8").cumsum() + len(self._data)
        self._ends.frombytes(ends.tobytes())
        self._data += places[there].tobytes()

    def column(self, prefix: bytes) -> PathColumn:
        """All that was added, behind `prefix`; nothing can be added any more."""
        return PathColumn(prefix, memoryview(self._data), memoryview(self._ends))


def may_hold_urls(paths: Sequence[str]) -> bool:
    """Whether any of these paths may be a URL; quick for columns."""
    if isinstance(paths, PathColumn):
        parts = (paths.data[at : at + SEARCHED + 2] for at in range(0, len(paths.data), SEARCHED))
        return b"://" in paths.prefix or any(b"://" in bytes(part) for part in parts)
    parts = (paths[at : at + AT_ONCE] for at in range(0, len(paths), AT_ONCE))
    return any("://" in "\n".join(part) for part in parts)
