"""Decides how many mini-batches go into a block: pure, from measured run times.

A block is one Dask task. Too small, and scheduling (some ms each) outweighs the work; too large, and the end
of the step waits for one processor, a lost node loses more, and a stop takes effect later.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Sequence

from daskpar.processor.timeouts import MeanTime, UnitTime

Seconds = float

LEAST_SECONDS = 1.0
MOST_SECONDS = 10.0
END_SECONDS = 0.02
"""Work of the smallest blocks at the end: to end together to the millisecond would take twenty blocks more,
and to hand one over takes some milliseconds.
"""
MANY = 250
"""Mini-batches that have to be measured before: a job of a few has few blocks, and is shown as it goes."""
FIRST_SIZE = 1
"""Mini-batches of the first blocks, while nothing has been measured."""
# More than one would put two slow neighbours on one processor, while others idle.
MAX_GROWTH = 16
"""A block holds at most this many times the mini-batches measured so far: one fast mini-batch proves little.
"""
CUT_GROWTH = 8
"""A block that ends inside a unit holds at most this many times the mini-batches that it would hold else."""
MOST_UNITS = 64
"""More units in one block are cheap, each for itself."""
RECENT = 1_000
"""Measurements that are kept, for who wants to know more than a mean."""
OLD_WEIGHT = 0.7
"""Weight of what was known when a new measurement comes in."""


def block_seconds(processors: int) -> Seconds:
    """Work of a block for a step on so many `processors`: 1 s, up to 10 s on 1,000 processors and more."""
    # It grows with their number, so that the scheduler sees about a hundred blocks a second at most.
    return min(MOST_SECONDS, max(LEAST_SECONDS, processors / 100))


class BlockSizer:
    """Chooses block sizes for one step.

    `target` is the work of a block in seconds. `breaks` are the first mini-batches of units that are
    expensive to read twice (Parquet row groups), sorted: a block that can end at one does.
    """

    def __init__(self, *, target: Seconds = 1.0, breaks: Sequence[int] = ()) -> None:
        self.target = target
        self.breaks = breaks
        self.seconds_per_mini_batch: Seconds | None = None
        self.recent: deque[tuple[int, Seconds]] = deque(maxlen=RECENT)
        """The latest measurements: how many mini-batches took how long together."""
        self._measured = 0
        self._run, self._unit = MeanTime(), UnitTime()

    def measure(self, mini_batches: int, seconds: Seconds) -> None:
        """Take in that `mini_batches` took `seconds` on one processor, loading included."""
        if mini_batches <= 0:
            return
        self.recent.append((mini_batches, seconds))
        each = max(seconds, 0.0) / mini_batches
        known = self.seconds_per_mini_batch
        if known is None:
            self.seconds_per_mini_batch = each
        else:
            # A few mini-batches weigh little against what was measured before, so that a single slow one does
            # not shrink all blocks to come.
            weight = (1 - OLD_WEIGHT) * min(1.0, mini_batches / max(1, self._measured / 8))
            self.seconds_per_mini_batch = known + weight * (each - known)
        self._measured = max(self._measured, min(self._measured + mini_batches, 10**9))

    def measure_units(
        self, mini_batches: int, running: Seconds, longest_load: Seconds, *, first: int = 0
    ) -> None:
        """Take in how long `run()` took in so many mini-batches from `first` on together, and the longest
        load of one.
        """
        self._run.add(running, mini_batches)
        begun = bisect_left(self.breaks, first) < bisect_left(self.breaks, first + mini_batches)
        self._unit.add(longest_load, begun=begun)

    def size(self, *, remaining: int, processors: int) -> int:
        """Mini-batches for the next block when `remaining` wait for `processors`."""
        if self.seconds_per_mini_batch is None:
            return FIRST_SIZE
        each = max(self.seconds_per_mini_batch, 1e-7)
        wanted = min(int(self.target / each), MAX_GROWTH * max(1, self._measured))
        # Guided: towards the end blocks shrink, so that all processors end together.
        least = int(END_SECONDS / each) if self._measured >= MANY else 1
        fair = max(-(-remaining // (2 * max(1, processors))), least)
        return max(1, min(wanted, fair, remaining))

    def stop(self, start: int, limit: int, *, remaining: int, processors: int) -> int:
        """End of the block that begins at `start`, at most `limit`, moved to a break where one is near."""
        size = self.size(remaining=remaining, processors=processors)
        stop = min(limit, start + size)
        if not self.breaks or stop == limit:
            return stop
        at = bisect_left(self.breaks, stop)
        after = self.breaks[at] if at < len(self.breaks) else limit
        fair = -(-remaining // max(1, processors))
        if after <= limit and after - start <= max(size, fair):
            return after
        before_at = bisect_right(self.breaks, stop) - 1
        before = self.breaks[before_at] if before_at >= 0 else start
        if before > start:
            return before
        # Each part of a unit that is cut may cost another reading of it: too small a part does not pay.
        rest = min(after, limit) - start
        part = min(-(-rest // (2 * max(1, processors))), CUT_GROWTH * size)
        if self._unit.seconds:
            part = max(part, int(min(rest, self._unit.seconds / max(self._run.seconds, 1e-7))))
        return start + min(rest, max(size, part))

    def units(self, start: int, stop: int) -> tuple[int, ...] | None:
        """The breaks that [start, stop) touches: that of the unit in which it begins, and those inside.

        None where no unit is costly to read twice, or so many are inside that none of them can be.
        """
        first = bisect_right(self.breaks, start) - 1
        last = bisect_left(self.breaks, stop)
        return tuple(self.breaks[first:last]) if first >= 0 and last - first <= MOST_UNITS else None
