"""Which mini-batches may be what takes nodes or processors down: pure bookkeeping that narrows a range down to the one to blame."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

Interval = tuple[int, int]

LOSSES = 3
"""A mini-batch that was running when a node was lost this often counts as failed."""
LOSSES_AT_MOST = 6
"""The same where it never was certain that it was running: everything comes to an end."""
NARROWING = 16
"""A suspect range is given out again in so many pieces, until its mini-batches travel alone."""
ALONE_FROM = 2
"""From so many losses on no two suspects are on one node, so that no innocent one is lost a third time with the one to blame."""


def subtract(intervals: list[Interval], start: int, stop: int) -> tuple[list[Interval], list[Interval]]:
    """Disjoint `intervals` without [start, stop), and what of them lay in [start, stop)."""
    left: list[Interval] = []
    taken: list[Interval] = []
    for a, b in intervals:
        low, high = max(a, start), min(b, stop)
        if low >= high:
            left.append((a, b))
            continue
        taken.append((low, high))
        if a < low:
            left.append((a, low))
        if high < b:
            left.append((high, b))
    return left, taken


@dataclass(frozen=True, kw_only=True)
class _Range:
    """[start, stop) was under way when something died; which mini-batch of it was running is not known."""

    start: int
    stop: int
    piece: int
    """How many of them travel together the next time."""
    losses: int
    """Of nodes, those at which it may have been running."""
    seen: int
    """Of nodes, all."""
    writes: int
    """Deaths of processors while its rows were written."""


@dataclass
class Suspects:
    """The suspect ranges of one step, disjoint."""

    _ranges: list[_Range] = field(default_factory=list)

    def mark(self, start: int, stop: int, *, running: bool = True, writing: bool = False) -> int | None:
        """[start, stop) was on a node that was lost, or (`writing`) died with its processor while its rows were written.

        Gives the mini-batch that has failed by that, if one has: never one that was not `running` as far as is known, but waited.
        """
        known = [r for r in self._ranges if r.start < stop and start < r.stop]
        losses, seen, writes = (max((getattr(r, name) for r in known), default=0) for name in ("losses", "seen", "writes"))
        if writing:
            writes += 1
        else:
            seen += 1
            losses += running
        self.clear(start, stop)
        piece = -(-(stop - start) // NARROWING)
        self._ranges.append(_Range(start=start, stop=stop, piece=piece, losses=losses, seen=seen, writes=writes))
        guilty = writes >= LOSSES if writing else (running and losses >= LOSSES) or seen >= LOSSES_AT_MOST
        return start if stop - start == 1 and guilty else None

    def clear(self, start: int, stop: int) -> None:
        """[start, stop) did no harm."""
        if not self._ranges:
            return
        left = []
        for r in self._ranges:
            left += [replace(r, start=a, stop=b) for a, b in subtract([(r.start, r.stop)], start, stop)[0]]
        self._ranges = left

    def alone(self, index: int) -> bool:
        """Whether `index` is to be the only such suspect on its node."""
        return any(r.start <= index < r.stop and r.seen >= ALONE_FROM for r in self._ranges)

    def apart(self, start: int, stop: int) -> int:
        """Where a block from `start` ends at the latest, so that suspects travel in their pieces and nothing else with them."""
        for r in self._ranges:
            if r.start <= start < r.stop:
                stop = min(stop, r.stop, start + r.piece)
            elif start < r.start < stop:
                stop = r.start
        return stop
