"""The page of shared memory in which a processor announces what it does and reads how far it may go.

It takes the place of a message for each mini-batch.

    what    since   limit   items   (other)   terminated   together
    int64   double  int64   int64   int64     double       int64

`what` is index * 8 + phase; all are the processor's but the limit, which is its node's. The field without a
name is for processors with many calls in flight.

Each field is written by one store of eight aligned bytes, so that neither side ever sees half of one, however
long the other is kept from running. `since` is stored before `what`: a new announcement never appears with
the time of the one before it, which could make it look overdue.

Handing back the rest of a range is exact: the processor announces mini-batch i and then reads the limit, the
node lowers the limit and then reads what is announced. Both steps need a full memory fence between the store
and the load, else each side could miss the other's store and one mini-batch would run twice. Python has no
fence; taking and releasing a lock is an atomic read-modify-write of the processor's memory, which is one.
"""

from __future__ import annotations

import mmap
import os
import threading
from enum import IntEnum
from typing import Self

from daskpar.own_calls import OWN
from daskpar.processor import linux
from daskpar.value_classes import frozen

SIZE = 64
KILL_PENDING = -1
"""A limit that tells the processor: the node is about to kill you, no further report of yours counts."""
GOODBYE_SECONDS = 2.0
"""How long a node that was sent SIGTERM with its processors takes to begin to end, at most."""
_WHAT, _SINCE, _LIMIT, _ITEMS, _, _TERMINATED, _TOGETHER = range(7)


class Phase(IntEnum):
    """What a processor is doing."""

    IDLE = 0
    INIT = 1
    LOAD = 2
    RUN = 3
    FLUSH = 4
    SHUTDOWN = 5


@frozen
class Announcement:
    """What a processor announced last."""

    index: int
    """Mini-batch; -1 for none."""
    phase: int
    since: float
    """On the machine's monotonic clock."""


class SharedPage:
    """One page, mapped; `fd` is to be handed to the other side."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._memory = mmap.mmap(fd, os.fstat(fd).st_size)
        self._view = memoryview(self._memory)
        # Native formats: one store or load each, unlike struct's little-endian ones, which go byte by byte.
        self._whole, self._real = self._view.cast("q"), self._view.cast("d")
        self._fence = threading.Lock()

    @classmethod
    def create(cls) -> SharedPage:
        """A new page, in a file that no file system shows."""
        fd = linux.anonymous_file("daskpar-page")
        os.ftruncate(fd, SIZE)
        return cls(fd)

    @classmethod
    def of_processor(cls, fd: int) -> Self:
        """The processor's side, without any descriptor on the page: its script could write there, or cut it
        off, which would end the node too (SIGBUS). It lasts as long as the process.
        """
        # The mapping keeps a copy of the descriptor, which gets the lowest free number.
        copy = os.dup(fd)
        os.close(copy)
        page = cls(fd)
        for each in (fd, copy):
            os.close(each)
        page.fd = -1
        return page

    def announce(self, index: int, phase: int, since: float) -> None:
        """Processor: announce what is about to happen."""
        self._real[_SINCE] = since
        self._whole[_WHAT] = index * 8 + phase

    def allowed(self) -> int:
        """Processor: the first index that must not be run, as of now, after an announcement."""
        self._fence.acquire()
        self._fence.release()
        return self._whole[_LIMIT]

    def announce_items(self, items: int) -> None:
        """Processor: the number of items of the mini-batch that `run()` is about to get."""
        self._whole[_ITEMS] = items

    def items(self) -> int:
        """Node: the last such number; of any meaning only in phase RUN."""
        return self._whole[_ITEMS]

    def announce_together(self, pieces: int) -> None:
        """Processor: it is about to read so many pieces together, of several files; 0: no more."""
        self._whole[_TOGETHER] = pieces

    def together(self) -> int:
        """Node: the last such number."""
        return self._whole[_TOGETHER]

    def announce_terminated(self) -> None:
        """Processor: a handler of the script's is about to take a SIGTERM."""
        self._real[_TERMINATED] = OWN.monotonic()

    def terminated(self) -> float:
        """When that was last, on the machine's monotonic clock; 0 for never."""
        return self._real[_TERMINATED]

    def holds_reports(self) -> bool:
        """Processor: whether nothing may be reported just now: its node kills it, or may be about to end.

        SIGTERM goes to all processes of a job at once, and what becomes of a call then is not to count where
        the node goes, too.
        """
        return self.allowed() == KILL_PENDING or 0 <= OWN.monotonic() - self.terminated() < GOODBYE_SECONDS

    def set_limit(self, limit: int) -> Announcement:
        """Node: set the limit; what is announced afterwards."""
        self._whole[_LIMIT] = limit
        self._fence.acquire()
        self._fence.release()
        return self.announced()

    def lower_limit(self, limit: int) -> int | None:
        """Node: have the processor stop before `limit`, or after what it has begun by now.

        Returns the limit that holds. None where it is at no mini-batch: it has not begun its range yet or has
        just ended it, and reports itself how far it came.
        """
        last = self.set_limit(limit)
        if last.phase not in (Phase.LOAD, Phase.RUN, Phase.FLUSH):
            return None
        if last.index >= limit:
            # It had begun this one before it could see the limit.
            limit = last.index + 1
            self.set_limit(limit)
        return limit

    def announced(self) -> Announcement:
        """Node: what the processor announced last; `since` may already be that of its next announcement."""
        what = self._whole[_WHAT]
        since = self._real[_SINCE]
        while (again := self._whole[_WHAT]) != what:
            what, since = again, self._real[_SINCE]
        return Announcement(what >> 3, what & 7, since)

    def all_announced(self) -> list[Announcement]:
        """Node: what the processor is at: one thing, unless it has many calls in flight."""
        return [self.announced()]

    def close(self) -> None:
        """Unmap it."""
        if self.fd < 0:
            return
        for view in (self._whole, self._real, self._view):
            view.release()
        self._memory.close()
        os.close(self.fd)
        self.fd = -1
