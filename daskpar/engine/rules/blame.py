"""Finds the mini-batch that takes nodes or processors down, by narrowing ranges of suspects: pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import field, replace

from daskpar.processor.last_state import LastState
from daskpar.value_classes import frozen, mutable

Interval = tuple[int, int]

LOSSES = 3
"""A mini-batch that was running when a node was lost this often counts as failed."""
LOSSES_AT_MOST = 6
"""The same where it never was certain that it was running: everything comes to an end. Also of processors
that died with their fork server; one that died by itself counts twice.
"""
NARROWING = 16
"""A suspect range is given out again in so many pieces, until each of its mini-batches has its own block."""
ALONE_FROM = 2
"""From so many losses on no two suspects are on one node, so that no innocent one is lost a third time with
the one to blame.
"""


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


def width(intervals: Iterable[Interval]) -> int:
    """Number of indices in disjoint `intervals`."""
    return sum(stop - start for start, stop in intervals)


def may_have_run(
    blocks: Sequence[tuple[list[Interval], bool]], running: int, last_state: LastState | None
) -> list[list[tuple[int, int, bool]]]:
    """What of each of a lost node's blocks may have taken it down: ranges (start, stop, ran).

    `ran`: whether the range counts as having run just then. `blocks`: what was still due from each, and
    whether it had reported anything, in the order in which they were given out. `running`: processors past
    `init()`. `last_state`: what the node's processors were at, if that is known.
    """
    # Without a last state, all that was due may have run, that of as many blocks as processors before all
    # others. With one, what was at work did run; and what was done before it, but not reported any more, may
    # have: a processor goes on until its node's end has reached it, through its block and into the next.
    if last_state is None:
        return [
            [(start, stop, at < running or reported) for start, stop in due]
            for at, (due, reported) in enumerate(blocks)
        ]
    if last_state.orderly:
        return [[] for _ in blocks]
    named = last_state.running | last_state.writing
    at_work = [
        {index for index in named if any(start <= index < stop for start, stop in due)} for due, _ in blocks
    ]
    busy = sum(map(len, at_work))
    last = max((at for at, found in enumerate(at_work) if found), default=-1)
    accused: list[list[tuple[int, int, bool]]] = []
    for at, (due, reported) in enumerate(blocks):
        if not (at <= last or reported or busy < running):  # an idle processor leaves no block waiting
            accused.append([])
            continue
        end = max(at_work[at], default=1 << 62) + 1
        until = [(start, min(stop, end)) for start, stop in sorted(due) if start < end]
        ran = at_work[at] & last_state.running
        if width(until) == 1 and (at_work[at] or not busy):
            ran = {until[0][0]}
        for index in ran:
            until, _ = subtract(until, index, index + 1)
        accused.append(
            [*((start, stop, False) for start, stop in until), *((index, index + 1, True) for index in ran)]
        )
    return accused


@frozen(kw_only=True)
class _Range:
    """[start, stop) was under way when something died; which mini-batch of it was running is not known."""

    start: int
    stop: int
    piece: int
    """How many of its mini-batches go into one block the next time."""
    losses: int
    """Of nodes, those at which it may have been running."""
    seen: int
    """Of nodes, all: it was there, running or waiting."""
    writes: int
    """Deaths of processors while its rows were written, twice each that died by itself."""


@mutable
class Blame:
    """The suspects of one step: disjoint ranges, each with the losses that it may have caused."""

    _ranges: list[_Range] = field(default_factory=list)

    def accuse(
        self, start: int, stop: int, *, running: bool = True, writing: bool = False, by_itself: bool = True
    ) -> int | None:
        """Blame [start, stop) for a lost node, or (`writing`) for a processor that died writing its rows.

        `running`: whether it ran just then, or only waited there. `by_itself`: the processor did not die with
        its fork server. Returns the mini-batch that has failed by that, else None.
        """
        # Each range keeps its own history: a mini-batch does not take over the losses of another one that is
        # now accused together with it.
        known = [
            replace(r, start=max(start, r.start), stop=min(stop, r.stop))
            for r in self._ranges
            if r.start < stop and start < r.stop
        ]
        new = [(start, stop)]
        for r in known:
            new, _ = subtract(new, r.start, r.stop)
        self.clear(start, stop)
        for r in [*known, *(_Range(start=a, stop=b, piece=0, losses=0, seen=0, writes=0) for a, b in new)]:
            self._ranges.append(
                replace(
                    r,
                    piece=-(-(r.stop - r.start) // NARROWING),
                    losses=r.losses + (running and not writing),
                    seen=r.seen + (not writing),
                    writes=r.writes + writing * (2 if by_itself else 1),
                )
            )
        if stop - start != 1:
            return None
        one = self._ranges[-1]
        guilty = (
            one.writes >= LOSSES_AT_MOST
            if writing
            else (running and one.losses >= LOSSES) or one.seen >= LOSSES_AT_MOST
        )
        return start if guilty else None

    def clear(self, start: int, stop: int) -> None:
        """[start, stop) has ended well, or by itself: it is no suspect any more."""
        if not self._ranges:
            return
        left = []
        for r in self._ranges:
            left += [replace(r, start=a, stop=b) for a, b in subtract([(r.start, r.stop)], start, stop)[0]]
        self._ranges = left

    def is_suspect(self, index: int) -> bool:
        """Whether `index` may have taken a node or a processor down."""
        return any(r.start <= index < r.stop for r in self._ranges)

    def needs_own_node(self, index: int) -> bool:
        """Whether `index` is to be the only suspect on its node."""
        return any(r.start <= index < r.stop and r.seen >= ALONE_FROM for r in self._ranges)

    def end_of_piece(self, start: int, stop: int) -> int:
        """Where a block from `start` ends, at most `stop`: suspects go in small pieces, with nothing else."""
        for r in self._ranges:
            if r.start <= start < r.stop:
                stop = min(stop, r.stop, start + r.piece)
            elif start < r.start < stop:
                stop = r.start
        return stop
