"""Waits for a store that does not answer, or refuses for now, where the driver itself writes there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import TypeVar

from daskpar.data.reach import Reach, reach_of
from daskpar.errors import DaskparError, InfrastructureLost, InputError, Interrupted

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
"""Seconds before the next try, twice as long each time."""
OUTAGE_SECONDS = 300.0
"""How long a store may be away."""
RESUME = "What is committed is kept; `python -m daskpar resume` uploads what is missing."

Result = TypeVar("Result")


def with_patience(
    work: Callable[[], Result],
    what: str,
    *,
    stopped: Callable[[], str] = lambda: "",
    warn: Callable[[str], None] = lambda _: None,
    outage: float = OUTAGE_SECONDS,
) -> Result:
    """What `work` returns, which is done again from the start while its store can't be reached.

    `what` is written, for messages. `stopped` gives the reason when the step is to end; `warn` is told once.
    Raises InfrastructureLost where the store is away for `outage` seconds or refuses for good, Interrupted
    where the step was stopped meanwhile.
    """
    since, failures = monotonic(), 0
    while True:
        try:
            return work()
        except (OSError, InfrastructureLost, InputError) as error:
            reach = reach_of(error)
            if reach == Reach.OTHER and isinstance(error, DaskparError):
                raise
            text = str(error) if isinstance(error, DaskparError) else f"{what} can't be written: {error}"
            text = text.removesuffix(RESUME).rstrip(". ")
            if reach == Reach.OTHER or monotonic() - since >= outage:
                raise InfrastructureLost(f"{text}. {RESUME}") from error
            if not failures:
                warn(f"{text}. It is tried again for up to {outage:g} s")
            failures += 1
            end = monotonic() + min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 16))
            while monotonic() < end:
                if reason := stopped():
                    raise Interrupted(reason) from error
                _PAUSE.wait(0.1)


_PAUSE = threading.Event()
