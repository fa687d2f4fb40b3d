"""The page of shared memory in which a processor says what it is doing and reads how far it may go. No message per mini-batch.

    index   phase   since   limit   items
    int64   int64   double  int64   int64    all are the processor's but the limit, which is its node's

Handing back the rest of a range is exact: the processor announces mini-batch i and then reads the limit, the node lowers the limit and
then reads what is announced. Both steps need a full memory fence between the store and the load, else each side could miss the
other's store and one mini-batch would run twice. Python has no fence; taking and releasing a lock is an atomic read-modify-write of
the processor's memory, which is one.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
import threading
from dataclasses import dataclass
from enum import IntEnum

SIZE = 64
_ANNOUNCED = struct.Struct("<qqd")
_LIMIT = struct.Struct("<q")
_LIMIT_AT = 24
_ITEMS = struct.Struct("<q")
_ITEMS_AT = 32


class Phase(IntEnum):
    """What a processor is at."""

    IDLE = 0
    INIT = 1
    LOAD = 2
    RUN = 3
    FLUSH = 4
    SHUTDOWN = 5


@dataclass(frozen=True)
class Announced:
    """What a processor said last."""

    index: int
    phase: int
    since: float
    """On the machine's monotonic clock."""


class Page:
    """One page, mapped; `fd` is to be handed to the other side."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.memory = mmap.mmap(fd, SIZE)
        self._fence = threading.Lock()

    @classmethod
    def create(cls) -> Page:
        """A new page, that no file system shows."""
        if hasattr(os, "memfd_create"):
            fd = os.memfd_create("daskpar-page", os.MFD_CLOEXEC)
        else:
            fd, name = tempfile.mkstemp()
            os.unlink(name)
        os.ftruncate(fd, SIZE)
        return cls(fd)

    def announce(self, index: int, phase: int, since: float) -> None:
        """Processor: say what is about to happen."""
        _ANNOUNCED.pack_into(self.memory, 0, index, phase, since)

    def announce_items(self, items: int) -> None:
        """Processor: the number of items of the mini-batch that `run()` is about to get."""
        _ITEMS.pack_into(self.memory, _ITEMS_AT, items)

    def items(self) -> int:
        """Node: the last such number; of any meaning only in phase RUN."""
        items: int = _ITEMS.unpack_from(self.memory, _ITEMS_AT)[0]
        return items

    def allowed(self) -> int:
        """Processor: the first index that must not be run, as of now, after an announcement."""
        self._fence.acquire()
        self._fence.release()
        limit: int = _LIMIT.unpack_from(self.memory, _LIMIT_AT)[0]
        return limit

    def set_limit(self, limit: int) -> Announced:
        """Node: set the limit; what is announced afterwards."""
        _LIMIT.pack_into(self.memory, _LIMIT_AT, limit)
        self._fence.acquire()
        self._fence.release()
        return self.announced()

    def announced(self) -> Announced:
        """Node: what the processor said last; read until two readings agree, as the three fields are not written at once."""
        found = _ANNOUNCED.unpack_from(self.memory, 0)
        while (again := _ANNOUNCED.unpack_from(self.memory, 0)) != found:
            found = again
        return Announced(*found)

    def close(self) -> None:
        """Unmap it."""
        self.memory.close()
        os.close(self.fd)
