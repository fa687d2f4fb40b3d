"""Decides the timeouts of a processor: how long each phase may take, and when a mini-batch counts as slow.

Pure decisions on plain values, the time included. `timeout_watchdog` acts on them.
"""

from __future__ import annotations

from dataclasses import dataclass

from daskpar.processor.protocol import ProcessorSettings
from daskpar.processor.shared_page import Phase

Seconds = float

SLOW_SECONDS = 0.2
"""A mini-batch that takes so much longer than expected is slow: the rest of its block is given back."""
MOST_WEIGHT = 200
"""The mean time follows what about the last so many mini-batches took."""


def time_limit(phase: int, settings: ProcessorSettings) -> Seconds | None:
    """How long a processor may be in `phase`; None: without limit."""
    return {
        Phase.INIT: settings.init_timeout,
        Phase.LOAD: settings.overhead_timeout,
        Phase.RUN: settings.run_timeout,
        Phase.SHUTDOWN: settings.run_timeout,
    }.get(Phase(phase))


def is_overdue(phase: int, since: Seconds, now: Seconds, settings: ProcessorSettings) -> bool:
    """Whether a phase that began at `since` has taken longer than it may."""
    limit = time_limit(phase, settings)
    return limit is not None and now - since > limit


def is_slow(phase: int, since: Seconds, now: Seconds, expected: Seconds) -> bool:
    """Whether the current mini-batch takes so long that other processors had better run what comes after it.

    `expected`: what a mini-batch takes on average. One that merely takes as long as all others is not slow.
    """
    return phase in (Phase.LOAD, Phase.RUN) and now - since > SLOW_SECONDS + 2 * expected


@dataclass
class MeanTime:
    """Mean time of a mini-batch on this node, the latest ones weighing more."""

    seconds: Seconds = 0.0
    count: int = 0

    def add(self, seconds: Seconds, count: int) -> None:
        """Take in that `count` mini-batches took `seconds` together."""
        each = seconds / count
        weight = min(1.0, count / min(self.count + count, MOST_WEIGHT))
        self.seconds += weight * (each - self.seconds)
        self.count += count
