"""Which mini-batches the processors of a node will want next, in that order: for its fetcher."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from time import monotonic

Block = tuple[int, int]
"""Mini-batches [start, stop)."""
HANDED_SECONDS = 2.0
"""How long a block that waits no more is taken to be with a processor that has not asked for it yet."""


class LookAhead:
    """The blocks that wait on a node, and what is left of those of its processors. For any thread."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._running: dict[object, Block] = {}
        """What is left of the block of each processor."""
        self._waiting: list[Block] = []
        self._handed: dict[Block, float] = {}
        """Blocks that wait no more and that no processor has asked for yet -> when that was."""

    def waits(self, blocks: Sequence[Block]) -> None:
        """These blocks wait for a processor, and no others."""
        with self._lock:
            now, still = self._clock(), set(blocks)
            self._handed.update(dict.fromkeys((each for each in self._waiting if each not in still), now))
            self._waiting = list(blocks)

    def runs(self, processor: object, left: Block | None) -> bool:
        """So much of its block is `left` to a processor (None: it has ended); whether it is only one further
        in the same block.
        """
        with self._lock:
            before = self._running.pop(processor, None)
            if left is None:
                return False
            self._running[processor] = left
            for block in [block for block in self._handed if block[0] < left[0] <= block[1]]:
                del self._handed[block]
            return before == (left[0] - 1, left[1])

    def following(self) -> Iterator[int]:
        """The mini-batches that will be wanted, as of now."""
        with self._lock:
            now = self._clock()
            # One that no processor asks for has been given back, to another node perhaps.
            self._handed = {
                block: since for block, since in self._handed.items() if now - since < HANDED_SECONDS
            }
            return upcoming(list(self._running.values()), [*self._handed, *self._waiting])


def upcoming(running: Iterable[Block], waiting: Iterable[Block]) -> Iterator[int]:
    """Mini-batches in the order in which processors will want them.

    `running`: what is left of the block of each processor; `waiting`: the blocks that follow. One of each
    processor, then the next one of each; a block that waits follows the shortest one.
    """
    following = deque(range(*block) for block in waiting)
    heads = deque(iter(range(*block)) for block in running)
    while heads or following:
        head = heads.popleft() if heads else iter(following.popleft())
        index = next(head, None)
        if index is not None:
            yield index
            heads.append(head)
        elif following:
            heads.append(iter(following.popleft()))
