"""Counts the bytes of an output that is put together, and says now and then how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable

OnProgress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all) a few times a second; may raise to stop the assembly."""
PROGRESS_SECONDS = 0.2


class Meter:
    """Of one output of `total` bytes, about."""

    def __init__(self, total: int, on_progress: OnProgress | None) -> None:
        self._total = total
        self._done = 0
        self._on_progress = on_progress
        self._reported = time.monotonic()

    def add(self, size: int) -> None:
        """So many bytes more are written."""
        self._done += size
        now = time.monotonic()
        if self._on_progress is not None and now - self._reported >= PROGRESS_SECONDS:
            self._reported = now
            self._on_progress(min(self._done, self._total), self._total)

    def begin_anew(self) -> None:
        """What was written does not count."""
        self._done = 0

    def end(self) -> int:
        """All is written: the number of bytes."""
        if self._on_progress is not None:
            self._on_progress(self._total, self._total)
        return self._done
