"""What a processor with many calls in flight was given: which mini-batches are due, which have not begun."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field

from daskpar.processor.processor_messages import Unheeded
from daskpar.processor.protocol import BlockOrder, ReleaseReason
from daskpar.value_classes import mutable


@mutable
class Given:
    """A block that a processor has."""

    order: BlockOrder
    due: set[int]
    """Mini-batches that it has neither reported nor given back."""


@mutable
class InFlightState:
    """What a node knows of one processor: pure bookkeeping."""

    blocks: dict[int, Given] = field(default_factory=dict)
    """By number, in the order in which they were given."""
    total: int = 0
    """Mini-batches that were ever given to it."""
    stalled: bool = False
    """Whether it has given back what waited in it, as nothing of it moved, and has ended nothing since."""
    back_for: ReleaseReason | None = None
    """Why it was told to give back what has not begun, while no answer has come."""
    unheeded: Unheeded | None = None
    """The call that went on after it was cancelled."""
    had: set[int] = field(default_factory=set)
    """All that it was ever given, where that matters (Azure's async mode)."""
    moved_at: float = 0.0
    """When it was last seen to begin something, by the node's clock."""
    _line: dict[int, list[int]] = field(default_factory=dict)
    """Block -> [start, stop) of what has not begun, in order."""
    _begun: int = 0

    def add(self, order: BlockOrder, stop: int) -> None:
        """It was given `order`, up to `stop`."""
        self.blocks[order.block] = Given(order, set(range(order.start, stop)))
        self._line[order.block] = [order.start, stop]
        self.total += stop - order.start

    def begun(self, count: int) -> bool:
        """It has begun `count` mini-batches so far, by its own account; whether that is news."""
        more = count - self._begun
        if more <= 0:
            return False
        self._begun = count
        for block, waits in list(self._line.items()):
            taken = min(more, waits[1] - waits[0])
            waits[0] += taken
            more -= taken
            if waits[0] == waits[1]:
                del self._line[block]
            if not more:
                break
        return True

    def handed_back(self, block: int, start: int, stop: int) -> list[int]:
        """It will not run [start, stop) of a block; which of these were due."""
        waits = self._line.get(block)
        if waits is not None and waits[0] <= start and stop == waits[1]:
            waits[1] = start
            if waits[0] == waits[1]:
                del self._line[block]
        return self.take(block, range(start, stop))

    def take(self, block: int, indices: Iterator[int] | range | list[int]) -> list[int]:
        """These are due no more; those that were, in order."""
        given = self.blocks.get(block)
        if given is None:
            return []
        found = sorted(given.due.intersection(indices))
        given.due.difference_update(found)
        return found

    @property
    def waiting(self) -> int:
        """How many have not begun."""
        return sum(stop - start for start, stop in self._line.values())

    @property
    def due(self) -> int:
        """How many are due."""
        return sum(len(given.due) for given in self.blocks.values())

    @property
    def is_alone(self) -> bool:
        """Whether it runs a block that is to be alone in it."""
        return any(given.order.alone for given in self.blocks.values())

    def not_begun(self, block: int) -> range:
        """What of a block has not begun."""
        return range(*self._line.get(block, (0, 0)))


def ranges(indices: list[int]) -> Iterator[tuple[int, int]]:
    """Sorted distinct `indices` as maximal ranges [start, stop)."""
    start = None
    for at, index in enumerate(indices):
        if start is None:
            start = index
        if at + 1 == len(indices) or indices[at + 1] != index + 1:
            yield start, index + 1
            start = None
