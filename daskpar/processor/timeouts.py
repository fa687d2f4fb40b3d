"""Decides the timeouts of a processor: how long each phase may take, and when a mini-batch counts as slow.

Pure decisions on plain values, the time included. `timeout_watchdog` acts on them.
"""

from __future__ import annotations

from daskpar.processor.protocol import ProcessorSettings
from daskpar.processor.shared_page import Announcement, Phase
from daskpar.value_classes import mutable

Seconds = float

SLOW_SECONDS = 0.2
"""A mini-batch that takes so much longer than expected is slow: the rest of its block is given back."""
UNIT_MEMORY = 0.9
"""What remains of the longest load with each unit that was begun with a shorter one."""
MOST_WEIGHT = 200
"""The mean time follows what about the last so many mini-batches took."""


def time_limit(phase: int, settings: ProcessorSettings) -> Seconds | None:
    """How long a processor may be in `phase`; None: without limit."""
    return {
        Phase.INIT: settings.init_timeout,
        Phase.LOAD: settings.overhead_timeout,
        Phase.RUN: settings.run_timeout,
        # Whoever writes and reports rows may wait for a stream that the script has put in the place of its
        # own.
        Phase.FLUSH: settings.overhead_timeout,
        Phase.SHUTDOWN: settings.run_timeout,
    }.get(Phase(phase))


def is_overdue(phase: int, since: Seconds, now: Seconds, settings: ProcessorSettings) -> bool:
    """Whether a phase that began at `since` has taken longer than it may."""
    limit = time_limit(phase, settings)
    return limit is not None and now - since > limit


def is_slow(phase: int, since: Seconds, now: Seconds, expected: Seconds, reload: Seconds = 0.0) -> bool:
    """Whether the current mini-batch takes so long that other processors had better run what comes after it.

    `expected`: what a mini-batch takes on average. One that merely takes as long as all others is not slow.
    `reload`: what it costs others to begin with what comes after it.
    """
    return phase in (Phase.LOAD, Phase.RUN) and now - since > SLOW_SECONDS + 2 * expected + reload


def makes_sense(announcement: Announcement, start: int, stop: int) -> bool:
    """Whether a processor that has the range [start, stop) can have announced this, or its page was written
    to by somebody else.
    """
    if announcement.phase not in list(Phase):
        return False
    # Before its first mini-batch it may find that all of the range was taken back, and reports that.
    at_one = announcement.phase in (Phase.LOAD, Phase.RUN, Phase.FLUSH)
    return not at_one or start - 1 <= announcement.index < stop


@mutable
class Sighting:
    """When a processor has made its last announcement, by the clock of its node.

    The processor writes the time down, but its script may have frozen the clock, or turned it back. Between
    two looks of the node, what is written down counts; anything else does not.
    """

    looked: Seconds
    """When the node looked last; at first, when the processor was started."""
    _last: Announcement | None = None
    _since: Seconds = 0.0

    def is_still(self, found: Announcement) -> bool:
        """Whether nothing else was announced since the last look."""
        return found == self._last

    def look(self, found: Announcement, now: Seconds) -> Announcement:
        """What is announced as of `now`, with a time that can be relied on."""
        if found.since != found.since:  # not a number
            found = Announcement(found.index, found.phase, 0.0)
        if found != self._last:
            self._last = found
            self._since = found.since if self.looked <= found.since <= now else now
        self.looked = now
        return Announcement(found.index, found.phase, self._since)

    def start_again(self, now: Seconds) -> None:
        """The processor is given something to do: what it announces from here on is new."""
        self._last, self.looked = None, now


@mutable
class UnitTime:
    """What it takes to begin with a unit that is costly to read, by the latest loads that took long."""

    seconds: Seconds = 0.0

    def add(self, longest: Seconds, *, begun: bool = True) -> None:
        """Take in the longest load of some mini-batches: most of them found their unit read already.

        `begun`: whether one of them is the first of a unit. Else all may have found theirs read, and that
        they were loaded soon says nothing.
        """
        self.seconds = max(longest, (UNIT_MEMORY if begun else 1.0) * self.seconds)


@mutable
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
