"""Decides how a mini-batch that has used up its tries is divided, until what fails alone is known: pure.

    outcome of a piece      what follows
    good                    its rows count; nothing of it is called again
    failed, several items   its halves are to be called, the left one first
    failed, one item        that item is bad
    could not be loaded     of a table: given up as a whole, for each piece is cut out of all of its rows; of
                            files: as failed, for each file is looked at alone
    lost                    (its rows are gone) it is to be called again

    the whole mini-batch    when
    done                    nothing is left to be called
    given up                more than `at_most` items are bad, or more calls were needed than so many bad
                            items can explain: what fails together there succeeds apart

`k` bad items of `n` cost at most `2 * k * ceil(log2 n)` calls: no more than `k` pieces fail on each level
below the whole, and each of them has two halves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum

import numpy as np

from daskpar.results import Reason, TryStatus
from daskpar.value_classes import mutable

Span = tuple[int, int]
"""Items [start, stop) of a mini-batch."""

_SAYS_NOTHING_OF_ITEMS = frozenset({Reason.LOAD_ERROR, Reason.LOAD_TIMEOUT, Reason.LOST})
"""Where data can't be loaded, all items are concerned; and what takes nodes down is not tried more often."""


def to_divide(records: np.ndarray, *, files: bool) -> np.ndarray:
    """Which tries (`batches.records.RECORD`) end their mini-batches so that the items are to be told apart.

    `files`: items are files, of which one may be changed or gone; a changed file spoils all rows of a table.
    """
    chosen: np.ndarray = (
        (records["status"] == TryStatus.FAILED) & (records["final"] != 0) & (records["items"] > 1)
    )
    if chosen.any():
        nothing = list(_SAYS_NOTHING_OF_ITEMS if files else _SAYS_NOTHING_OF_ITEMS | {Reason.INPUT_CHANGED})
        chosen &= ~np.isin(records["reason"], nothing)
    return chosen


def tells_nothing_of_items(reason: int, *, files: bool) -> bool:
    """Whether a piece has failed by what concerns the whole mini-batch, so that its parts would fail too."""
    return not files and reason in (Reason.LOAD_ERROR, Reason.LOAD_TIMEOUT, Reason.INPUT_CHANGED)


def most_calls(items: int, bad: int) -> int:
    """How many calls `bad` of `items` can cost, behind that of the whole."""
    return 2 * bad * max(1, (items - 1).bit_length())


def halves(span: Span) -> tuple[Span, Span]:
    """The two pieces of one that has failed; the first is the smaller one where they differ."""
    start, stop = span
    middle = (start + stop) // 2
    return (start, middle), (middle, stop)


class Stage(StrEnum):
    """How far a division is."""

    OPEN = "open"
    DONE = "done"
    GIVEN_UP = "given up"


@mutable
class Division:
    """The division of one mini-batch, all of whose `items` have failed together."""

    items: int
    at_most: int
    """Bad items at which it is not given up yet."""
    good: set[Span] = field(default_factory=set)
    bad: set[int] = field(default_factory=set)
    """Positions of items that fail alone."""
    open: set[Span] = field(default_factory=set)
    """Pieces that are to be called, or are under way."""
    calls: int = 0

    def begin(self) -> list[Span]:
        """The first pieces to call."""
        return self._open(*halves((0, self.items)))

    def ended(self, span: Span, *, good: bool) -> list[Span]:
        """Take the outcome of a piece that was open; the pieces to call now, in item order."""
        self.open.remove(span)
        self.calls += 1
        if good:
            self.good.add(span)
        elif span[1] - span[0] == 1:
            self.bad.add(span[0])
        elif self.stage is not Stage.GIVEN_UP:
            return self._open(*halves(span))
        return []

    def lost(self, span: Span) -> list[Span]:
        """The rows of a good piece are gone: the pieces to call now."""
        self.good.remove(span)
        self.calls -= 1
        return self._open(span)

    @property
    def stage(self) -> Stage:
        """How far it is."""
        if len(self.bad) > self.at_most or self.calls > most_calls(self.items, self.at_most):
            return Stage.GIVEN_UP
        return Stage.OPEN if self.open else Stage.DONE

    @classmethod
    def restored(
        cls, items: int, at_most: int, outcomes: Mapping[Span, bool], *, again: bool = False
    ) -> Division:
        """The division of which these outcomes are known: piece -> whether it was good.

        `again`: what has failed alone is called once more, for what was wrong may be mended.
        """
        division = cls(items, at_most)
        waiting = division.begin()
        while waiting:
            span = waiting.pop()
            good = outcomes.get(span)
            if good is None or (again and not good and span[1] - span[0] == 1):
                continue
            waiting += division.ended(span, good=good)
        if again:
            division.calls = 0
        return division

    def _open(self, *spans: Span) -> list[Span]:
        self.open.update(spans)
        return list(spans)
