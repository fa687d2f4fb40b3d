"""The parts of a node whose rows are sent to the driver: read from its disk, and freed after that."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Callable
from functools import cache

from daskpar.rows.part_store import PartStore, StoredPart

PART_BYTES = 64 << 20
"""A longer part is removed when its rows are sent, and its processor begins another one."""
FREE_BYTES = 8 << 20
"""So much of what is sent of a part is given back to the disk at one time."""
_KEEP_SIZE, _PUNCH_HOLE = 1, 2
"""Of `fallocate`: all other bytes keep their places."""


class SentParts:
    """Parts in a store on this node's own disk, each a file.

    A part stays open when its name is gone: its processor may have appended to it in the same moment. So its
    name alone frees nothing, and what is sent is cut out of the file.
    """

    def __init__(self, store: PartStore, processors: int) -> None:
        self._store = store
        self._most = 2 * processors + 2
        self._open: dict[str, StoredPart | None] = {}
        """The last that were read, the oldest first; None for one that is not there."""
        self._sent: dict[str, _Sent] = {}

    def read(self, part: str, offset: int, length: int) -> bytes:
        """Rows of a part; fewer where a script has damaged it, which their checksum tells the driver."""
        found = self._opened(part)
        pieces: list[bytes] = []
        while found is not None and length and (data := found.read(offset, length)):
            pieces.append(data)
            offset, length = offset + len(data), length - len(data)
        return b"".join(pieces)

    def sent(self, part: str, offset: int, length: int) -> None:
        """These rows of a part are with the driver, or on their way: they are not read again."""
        if (found := self._sent.get(part)) is None:
            found = self._sent[part] = _Sent(self._store.place_of(part))
        found.add(offset, length)
        if offset + length >= PART_BYTES:
            self._remove(part)

    def close(self) -> None:
        """Read nothing more."""
        for part in list(self._open):
            self._close(part)

    def _opened(self, part: str) -> StoredPart | None:
        if part in self._open:
            found = self._open.pop(part)
        else:
            try:
                found = self._store.open(part)
            except OSError:
                found = None
            while len(self._open) >= self._most:
                oldest = next(iter(self._open))
                self._close(oldest)
                self._remove(oldest)  # its processor has ended, most likely
        self._open[part] = found
        return found

    def _close(self, part: str) -> None:
        if (sent := self._sent.pop(part, None)) is not None:
            sent.close()
        found = self._open.pop(part)
        if found is not None:
            found.close()

    def _remove(self, part: str) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self._store.place_of(part))


class _Sent:
    """What was sent of a part and is still on the disk: some rows that follow each other.

    Those ahead of them need not be sent, where blocks overtake each other.
    """

    def __init__(self, path: str) -> None:
        self._begin = self._end = 0
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            self._fd = -1

    def add(self, offset: int, length: int) -> None:
        if offset != self._end:
            self._begin = offset
        self._end = offset + length
        if self._end - self._begin >= FREE_BYTES or self._end >= PART_BYTES:
            free(self._fd, self._begin, self._end)
            self._begin = self._end

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def free(fd: int, begin: int, end: int) -> None:
    """Give these bytes of an open file back to the disk, where its file system can: they are zeros then."""
    if fd >= 0 and (punch := _fallocate()) is not None:
        punch(fd, _KEEP_SIZE | _PUNCH_HOLE, begin, end - begin)


@cache
def _fallocate() -> Callable[[int, int, int, int], int] | None:
    """The function of the C library, which Python does not have; None on other systems than Linux."""
    library = ctypes.CDLL(None)
    found = getattr(library, "fallocate64", None) or getattr(library, "fallocate", None)
    if found is not None:
        found.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    return found
