"""The parts of a node whose rows are sent to the driver: read from its disk, and removed after that."""

from __future__ import annotations

import contextlib
import os

from daskpar.rows.part_store import PartStore, StoredPart

PART_BYTES = 64 << 20
"""A longer part is removed when its rows are sent, and its processor begins another one."""


class SentParts:
    """Parts in a store on this node's own disk, each a file.

    A part stays open when its name is gone: its processor may have appended to it in the same moment.
    """

    def __init__(self, store: PartStore, processors: int) -> None:
        self._store = store
        self._most = 2 * processors + 2
        self._open: dict[str, StoredPart | None] = {}
        """The last that were read, the oldest first; None for one that is not there."""

    def read(self, part: str, offset: int, length: int) -> bytes:
        """Rows of a part; fewer where a script has damaged it, which their checksum tells the driver."""
        found = self._opened(part)
        pieces: list[bytes] = []
        while found is not None and length and (data := found.read(offset, length)):
            pieces.append(data)
            offset, length = offset + len(data), length - len(data)
        return b"".join(pieces)

    def sent(self, part: str, end: int) -> None:
        """The rows of a part up to `end` are with the driver, or on their way."""
        if end >= PART_BYTES:
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
        found = self._open.pop(part)
        if found is not None:
            found.close()

    def _remove(self, part: str) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self._store.place_of(part))
