"""Decides which running mini-batches are stragglers, of which a second copy is worth starting: pure.

The idea is that of MapReduce's backup tasks: when nothing waits any more and processors idle, what takes much
longer than all else may be held up by its node (a bad disk, a busy neighbour, a machine that hangs), and runs
elsewhere in a moment. It costs nothing but idle processors, so it need not be right each time.
"""

from __future__ import annotations

from collections.abc import Iterable

from daskpar.value_classes import frozen

Seconds = float

LEAST_ENDED = 5
"""Mini-batches that must have ended before anybody can tell what is slow."""
LEAST_SHARE = 0.5
"""The same as a share of all that are planned."""
QUANTILE = 0.9
"""What so many of the mini-batches took at most is the usual time."""
SLOW_FACTOR = 2.0
"""A mini-batch that runs for so many times the usual time is slow."""
LEAST_SECONDS = 5.0
"""One that has run for less is not: nobody would notice what is won."""
QUIET_SECONDS = 15.0
"""A block of which nothing is heard for so much longer than expected is on a node that hangs."""


@frozen(kw_only=True)
class BackupRule:
    """When a second copy of a mini-batch is started. The fields are those above."""

    least_ended: int = LEAST_ENDED
    least_share: float = LEAST_SHARE
    quantile: float = QUANTILE
    slow_factor: float = SLOW_FACTOR
    least_seconds: Seconds = LEAST_SECONDS
    quiet_seconds: Seconds = QUIET_SECONDS

    def usual_seconds(
        self, times: Iterable[tuple[int, Seconds]], *, ended: int, planned: int
    ) -> Seconds | None:
        """What mini-batches usually take, None while nobody can tell.

        `times`: of some that have ended, how many they were and what they took together. `ended` of the
        `planned` ones have their outcome.
        """
        each = sorted((seconds / count, count) for count, seconds in times if count > 0)
        known = sum(count for _, count in each)
        if known < self.least_ended or ended < self.least_share * planned:
            return None
        counted = 0
        for seconds, count in each:
            counted += count
            if counted >= self.quantile * known:
                return seconds
        return None

    def is_slow(self, elapsed: Seconds, usual: Seconds, limit: Seconds | None) -> bool:
        """Whether a copy of a mini-batch that has run for `elapsed` is worth starting.

        `limit`: its timeout, if it has one. Where that ends it before a copy could be there, it is not.
        """
        if limit is not None and elapsed + usual >= limit:
            return False
        return elapsed >= max(self.least_seconds, self.slow_factor * usual)

    def is_quiet(self, silence: Seconds, usual: Seconds, due: float) -> bool:
        """Whether too long nothing was heard of a block; `due`: mini-batches before its end, for each
        processor of its node.
        """
        return silence >= self.quiet_seconds + self.slow_factor * usual * max(1.0, due)
