"""Waits for a store that does not answer, or refuses for now, while a node fetches what scripts get whole."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, sleep

from daskpar.data.reach import Reach, reach_of

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
"""Seconds before the next try, twice as long each time."""
OUTAGE_SECONDS = 300.0
"""How long nothing may come."""


def while_unreached(
    work: Callable[[], None],
    warn: Callable[[str], None],
    done: Callable[[], int] = lambda: 0,
    *,
    clock: Callable[[], float] = monotonic,
    wait: Callable[[float], None] = sleep,
) -> None:
    """Do `work`, again and again while its store can't be reached; it goes on where it was.

    `done` counts what has come: as long as something does, the time does not run. `warn` is told once.
    Raises what `work` raises, where that is of another kind, or nothing has come for `OUTAGE_SECONDS`.
    """
    since, failures, before = clock(), 0, done()
    while True:
        try:
            return work()
        except Exception as error:
            if reach_of(error) != Reach.UNREACHED:
                raise
            now, come = clock(), done()
            if come > before:
                since, failures, before = now, 0, come
            if now - since >= OUTAGE_SECONDS:
                raise
            if not failures:
                text = str(error).rstrip(". ")
                warn(f"{text}. It is tried again, while something comes within {OUTAGE_SECONDS:g} s")
            wait(min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures, 16)))
            failures += 1
