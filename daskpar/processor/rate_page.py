"""The bucket of tokens that the processors of a node share, in memory that all of them map.

One token is one call. The bucket fills at the node's share of the step's rate, which its node writes there
as the scheduler grants it, and holds a tenth of a second's worth (at least one token): calls are spread
evenly, and one that comes late loses nothing.

    rate    tokens  filled  asked since ...
    double  double  double  double double   `filled`: when the tokens were counted last; for each processor
                                            when it has asked last, and since when it waits (0: it does not)

Where tokens are scarce, the processor that waits for longest gets the next one. Times are monotonic.

Rate and tokens are changed under a lock of the file, which the kernel opens when a process dies.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from daskpar.own_calls import OWN
from daskpar.processor import linux

TURN_SECONDS = 0.002
"""How long one waits whose turn it is not."""
BURST_SECONDS = 0.1
"""The bucket holds what comes in so long."""
STILL_SECONDS = 0.25
"""Who waits asks more often than that; who does not has ended, or was killed."""
_RATE, _TOKENS, _FILLED, _FIRST = range(4)


def taken(tokens: float, rate: float, seconds: float, wanted: int) -> tuple[float, float]:
    """Take `wanted` tokens from a bucket that had `tokens` some `seconds` ago: pure.

    Returns the tokens that are left, and for how many seconds to wait before the next try; 0.0: they were
    taken. Who wants more than the bucket holds waits until it is full, and leaves a debt: the rate holds.
    """
    most = max(1.0, rate * BURST_SECONDS)
    tokens = min(most, tokens + rate * seconds)
    needed = min(float(wanted), most)
    # What is missing may be as little as a rounding error.
    if tokens >= needed - 1e-9:
        return tokens - wanted, 0.0
    return tokens, (needed - tokens) / rate if rate > 0 else float("inf")


class RatePage:
    """One page, mapped; `fd` is for the processors. `processors`: how many share it."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        size = os.fstat(fd).st_size
        self._memory = mmap.mmap(fd, size)
        self._view = memoryview(self._memory)
        self._real = self._view.cast("d")
        self._lock = threading.Lock()

    @classmethod
    def create(cls, processors: int) -> RatePage:
        """A new page, without any rate yet."""
        fd = linux.anonymous_file("daskpar-rate")
        os.ftruncate(fd, 8 * (_FIRST + 2 * processors))
        return cls(fd)

    def set_rate(self, rate: float) -> None:
        """Node: the bucket fills at `rate` tokens a second from now on."""
        with self._locked():
            real, now = self._real, OWN.monotonic()
            real[_TOKENS], _ = taken(real[_TOKENS], real[_RATE], max(0.0, now - real[_FILLED]), 0)
            real[_FILLED], real[_RATE] = now, rate

    def take(self, wanted: int, processor: int) -> float:
        """Processor: take tokens; for how many seconds to wait before the next try, 0.0: they were taken."""
        own = _FIRST + 2 * processor
        with self._locked():
            real, now = self._real, OWN.monotonic()
            real[own] = now
            since = real[own + 1] = real[own + 1] or now
            left, wait = taken(real[_TOKENS], real[_RATE], max(0.0, now - real[_FILLED]), wanted)
            if not wait and (ahead := self._ahead(since, now)) and left < ahead:
                left, wait = left + wanted, TURN_SECONDS
            real[_TOKENS], real[_FILLED] = left, now
            if not wait:
                real[own + 1] = 0.0
        return wait

    def _ahead(self, since: float, now: float) -> int:
        """How many processors wait for longer."""
        asked, waits = self._real[_FIRST::2], self._real[_FIRST + 1 :: 2]
        return sum(
            0.0 < began < since and now - last < STILL_SECONDS
            for last, began in zip(asked, waits, strict=True)
        )

    def asking(self, since: float) -> int:
        """Node: how many processors have asked for tokens since then."""
        return sum(last > since for last in self._real[_FIRST::2])

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # Locks of this kind are of processes, and do not keep the threads of one apart.
        with self._lock:
            OWN.lockf(self.fd, fcntl.LOCK_EX)
            try:
                yield
            finally:
                OWN.lockf(self.fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Unmap it."""
        self._real.release()
        self._view.release()
        self._memory.close()
        os.close(self.fd)
