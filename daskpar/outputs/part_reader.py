"""Reading committed rows back out of part files, in mini-batch order and in pieces of a few megabytes."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from daskpar import atomic
from daskpar.atomic import PIECE_BYTES
from daskpar.errors import InfrastructureLost
from daskpar.outputs.commits import Runs

_OPEN_FILES = 64
_WORTH_A_COPY = 256 << 10
"""Stretches at least this long are copied by the kernel, shorter ones are gathered in memory first."""


class Source:
    """Stretches of the files `part_names` in the folder `parts` (`Commits.runs`), as one stream. Holds at
    most a piece in memory.
    """

    def __init__(self, runs: Iterable[Runs], part_names: Sequence[str], parts: Path) -> None:
        self._runs = runs
        self._part_names = part_names
        self._parts = parts
        self._fds: OrderedDict[int, int] = OrderedDict()

    def pieces(self) -> Iterator[bytes]:
        """All rows, a piece at a time."""
        gathered: list[bytes] = []
        size = 0
        for part, offset, length in self._stretches():
            while length:
                data = self._read(part, offset, min(length, PIECE_BYTES))
                gathered.append(data)
                size, offset, length = size + len(data), offset + len(data), length - len(data)
                if size >= PIECE_BYTES:
                    yield b"".join(gathered)
                    gathered, size = [], 0
        if gathered:
            yield b"".join(gathered)

    def copy_to(self, target: int) -> Iterator[int]:
        """Write all rows at the position of the descriptor `target`; yields the number of bytes after each
        piece.
        """
        gathered: list[bytes] = []
        size = 0
        for part, offset, length in self._stretches():
            if length < _WORTH_A_COPY:
                gathered.append(self._read_whole(part, offset, length))
                size += length
                if size < PIECE_BYTES:
                    continue
            if gathered:
                atomic.write_all(target, b"".join(gathered))
                yield size
                gathered, size = [], 0
            if length >= _WORTH_A_COPY:
                yield from self._copy(part, offset, length, target)
        if gathered:
            atomic.write_all(target, b"".join(gathered))
            yield size

    def close(self) -> None:
        """Close the part files."""
        while self._fds:
            os.close(self._fds.popitem()[1])

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _stretches(self) -> Iterator[tuple[int, int, int]]:
        for runs in self._runs:
            yield from zip(runs.parts.tolist(), runs.offsets.tolist(), runs.lengths.tolist(), strict=True)

    def _copy(self, part: int, offset: int, length: int, target: int) -> Iterator[int]:
        fd = self._open(part)
        while length:
            copied = atomic.copy_range(fd, target, offset, min(length, 16 * PIECE_BYTES))
            if not copied:
                raise self._short(part)
            offset, length = offset + copied, length - copied
            yield copied

    def _read_whole(self, part: int, offset: int, length: int) -> bytes:
        data = self._read(part, offset, length)
        while len(data) < length:
            data += self._read(part, offset + len(data), length - len(data))
        return data

    def _read(self, part: int, offset: int, length: int) -> bytes:
        data = os.pread(self._open(part), length, offset)
        if not data:
            raise self._short(part)
        return data

    def _open(self, part: int) -> int:
        fd = self._fds.pop(part, None)
        if fd is None:
            if len(self._fds) >= _OPEN_FILES:
                os.close(self._fds.popitem(last=False)[1])
            try:
                fd = os.open(self._parts / self._part_names[part], os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError as error:
                raise self._short(part) from error
        self._fds[part] = fd
        return fd

    def _short(self, part: int) -> InfrastructureLost:
        path = self._parts / self._part_names[part]
        return InfrastructureLost(
            f"Committed rows are missing from the part file {path}: it is shorter than the journal says, or gone. "
            "`python -m daskpar resume` finds out which mini-batches these are and runs them again."
        )
