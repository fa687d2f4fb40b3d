"""Keeps Dask's streams of messages going while the clock of the machine is set back.

A stream (`distributed.batched`) sends again from a time of day on, some milliseconds later. Where the clock
is set back in just these, nothing is sent until it has caught up: a run stands still for an hour. Here that
time is taken from a clock that nobody sets.
"""

from __future__ import annotations

from datetime import timedelta
from time import monotonic, time
from types import SimpleNamespace
from typing import Any


def make_sends_steady() -> None:
    """Let all streams of this process that are begun from now on wait by a steady clock.

    Called again, it changes nothing. Those that were begun before go on as they did.
    """
    from distributed import batched
    from tornado import locks

    if getattr(batched, "locks", None) is not locks or not hasattr(batched, "time"):
        return  # done already; or another release of Dask, which waits in another way
    # The time of day as of now, for streams that are waiting for one.
    began = time() - monotonic()

    def steady() -> float:
        return began + monotonic()

    class SteadyEvent(locks.Event):
        """An event of which `wait` takes a time of the steady clock, or what else it takes."""

        def wait(self, timeout: float | timedelta | None = None) -> Any:
            if timeout is not None and not isinstance(timeout, timedelta):
                timeout = timedelta(seconds=max(0.0, timeout - steady()))
            return super().wait(timeout)

    batched.time = steady
    batched.locks = SimpleNamespace(Event=SteadyEvent)  # type: ignore[assignment,attr-defined]
