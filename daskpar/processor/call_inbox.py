"""Calls from any thread to the one thread that owns some state."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable

Call = Callable[[], None]


class CallInbox:
    """Keeps calls in order until the owner runs them; readable, for selectors, when calls wait.

    Once it is closed, each call runs at once on the thread that puts it, one at a time.
    """

    def __init__(self) -> None:
        self._calls: deque[Call] = deque()
        self._lock = threading.RLock()
        self._after_late_calls: Call | None = None
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)

    def fileno(self) -> int:
        """For selectors."""
        return self._reader

    def put(self, call: Call) -> None:
        """Any thread: have the owner run `call`."""
        with self._lock:
            self._calls.append(call)
            if self._after_late_calls is not None:
                self._run_late()
                return
            with contextlib.suppress(OSError):  # a full pipe wakes the owner anyway
                os.write(self._writer, b"x")

    def clear_wakeups(self) -> None:
        """Owner: no longer readable until the next call is put."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._reader, 4096)

    def run(self) -> None:
        """Owner: run the calls that wait."""
        while self._calls:
            self._calls.popleft()()

    def close(self, after_late_calls: Call) -> None:
        """Owner: it ends. Calls that come late run without it, and `after_late_calls` after them."""
        with self._lock:
            self._after_late_calls = after_late_calls
            self._run_late()
            os.close(self._reader)
            os.close(self._writer)

    def _run_late(self) -> None:
        while self._calls:
            with contextlib.suppress(Exception):
                self._calls.popleft()()
        assert self._after_late_calls is not None
        self._after_late_calls()
