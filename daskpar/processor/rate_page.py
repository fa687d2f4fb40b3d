"""The bucket of tokens that the processors of a node share, in memory that all of them map.

One token is one call. The bucket fills at the node's share of the step's rate, which its node writes there
as the scheduler grants it, and holds a tenth of a second's worth (at least one token): calls are spread
evenly, and one that comes late loses nothing.

    rate    tokens  filled  asked[0] asked[1] ...
    double  double  double  double               `filled`: when the tokens were counted last, `asked`: when
                                                 each processor was waiting last; monotonic clock

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

BURST_SECONDS = 0.1
"""The bucket holds what comes in so long."""
_RATE, _TOKENS, _FILLED, _ASKED = range(4)


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
        os.ftruncate(fd, 8 * (_ASKED + processors))
        return cls(fd)

    def set_rate(self, rate: float) -> None:
        """Node: the bucket fills at `rate` tokens a second from now on."""
        with self._locked():
            real, now = self._real, OWN.monotonic()
            real[_TOKENS], _ = taken(real[_TOKENS], real[_RATE], max(0.0, now - real[_FILLED]), 0)
            real[_FILLED], real[_RATE] = now, rate

    def take(self, wanted: int) -> float:
        """Processor: take tokens; for how many seconds to wait before the next try, 0.0: they were taken."""
        with self._locked():
            real, now = self._real, OWN.monotonic()
            left, wait = taken(real[_TOKENS], real[_RATE], max(0.0, now - real[_FILLED]), wanted)
            real[_TOKENS], real[_FILLED] = left, now
        return wait

    def ask(self, processor: int) -> None:
        """Processor: it wants tokens now."""
        self._real[_ASKED + processor] = OWN.monotonic()

    def asking(self, since: float) -> int:
        """Node: how many processors have asked for tokens since then."""
        return sum(at > since for at in self._real[_ASKED:])

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
