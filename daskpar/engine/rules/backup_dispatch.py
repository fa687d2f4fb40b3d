"""The queue of a step that may start second copies of slow mini-batches: whose result counts, who is stopped.

As `dispatch`, which it extends. A copy owns nothing. Its mini-batch stays due from the block that it was
given to, or in the queue, and there it is retried, failed and counted as if there were no copy. Only where
the copy succeeds while the mini-batch is still due somewhere, it is taken away from there. So the first
commit wins, each mini-batch is committed once, and a copy that fails, or is lost with its node, changes
nothing.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import ChainMap
from collections.abc import Iterable, Mapping
from dataclasses import field

import numpy as np

from daskpar.engine.rules.blame import Interval, subtract
from daskpar.engine.rules.dispatch import Dispatcher, Loss
from daskpar.processor.protocol import FIRST_COPY, BlockOrder
from daskpar.value_classes import frozen, mutable


@frozen(kw_only=True)
class Overtaken:
    """What a node runs, or has waiting, although the outcome of these mini-batches is known."""

    node: str
    block: int
    start: int
    stop: int


@mutable(kw_only=True)
class Copy:
    """A second copy under way."""

    node: str
    due: list[Interval]
    """Whose outcome is not known yet."""
    token: str = ""
    """As that of a block."""


@mutable
class BackupDispatcher(Dispatcher):
    """The queue of one step."""

    copies: dict[int, Copy] = field(default_factory=dict)
    """Those under way, by number: from `FIRST_COPY` on."""
    overtaken: list[Overtaken] = field(default_factory=list)
    """What is to be stopped: whoever does that empties the list."""
    _copied: set[int] = field(default_factory=set)
    """Mini-batches of whose present try there is, or was, a copy."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._next_copy = FIRST_COPY

    # -- copies out ------------------------------------------------------------------------------------------

    def idle(self) -> dict[str, int]:
        """Nodes on which processors have nothing to do -> how many."""
        able = self.nodes.keys() - self.paused - self._with_suspect
        if self.ready is not None:
            able &= self.ready
        free = {node: self.nodes[node] - self._load[node] for node in able}
        return {node: number for node, number in free.items() if number > 0}

    def may_copy(self, start: int, stop: int) -> bool:
        """Whether these mini-batches may get a copy: they have none, and take no node down."""
        return (
            not any(index in self._copied for index in range(start, stop))
            and self.blame.end_of_piece(start, stop) == stop
            and not self.blame.is_suspect(start)
        )

    def copy(
        self, block: int, start: int, stop: int, *, elsewhere: bool = False
    ) -> tuple[str, BlockOrder] | None:
        """Start a copy of [start, stop), which are due from `block`; None where no processor is idle.

        Another node is taken where one is idle; with `elsewhere`, no other will do.
        """
        owner = self.blocks[block]
        idle = self.idle()
        if elsewhere:
            idle.pop(owner.node, None)
        if not idle:
            return None
        node = min(idle, key=lambda n: (n == owner.node, self._load[n] / self.nodes[n], n))
        number = self._next_copy
        self._next_copy += 1
        self.copies[number] = Copy(node=node, due=[(start, stop)])
        self._copied.update(range(start, stop))
        self._change_load(node, 1)
        return node, BlockOrder(block=number, token="", start=start, stop=stop, tries=owner.tries)

    def end_copies(self) -> None:
        """Copies of what has got its outcome by now are overtaken."""
        if not self.copies:
            return
        due = sorted(self._all_due())
        for number, copy in list(self.copies.items()):
            if not copy.due:
                continue  # it has said all, and is about to end
            left = [piece for start, stop in copy.due for piece in _common(due, start, stop)]
            if not left:
                start, stop = copy.due[0][0], copy.due[-1][1]
                self.overtaken.append(Overtaken(node=copy.node, block=number, start=start, stop=stop))
                self._drop_copy(number)
            else:
                copy.due = left

    def _all_due(self) -> Iterable[Interval]:
        """Whatever has no outcome yet: under way in blocks, or waiting."""
        for block in self.blocks.values():
            yield from block.due
        for waiting in (self._queue, self._waiting_suspects, *self._elsewhere.values()):
            yield from ((start, stop) for start, stop, _ in waiting)
        yield from ((index, index + 1) for index in self.held)

    # -- results in ------------------------------------------------------------------------------------------

    def owns(self, block: int, token: str) -> bool:
        if block < FIRST_COPY:
            return super().owns(block, token)
        known = self.copies.get(block)
        if known is None:
            return False
        known.token = known.token or token
        return known.token == token

    def settle(self, block: int, token: str, indices: np.ndarray) -> np.ndarray:
        """As for a block; of a copy only mini-batches that have succeeded may be among `indices`."""
        if block < FIRST_COPY:
            return super().settle(block, token, indices)
        accepted = np.zeros(len(indices), dtype=bool)
        if not self.owns(block, token):
            return accepted
        copy = self.copies[block]
        for at, index in enumerate(indices.tolist()):
            copy.due, taken = subtract(copy.due, index, index + 1)
            if taken and self._take_away(index):
                accepted[at] = True
                self.blame.clear(index, index + 1)
        return accepted

    def _take_away(self, index: int) -> bool:
        """Its copy was first: take a mini-batch from where it is due; whether it was due anywhere."""
        for number, block in self.blocks.items():
            block.due, taken = subtract(block.due, index, index + 1)
            if taken:
                self.overtaken.append(Overtaken(node=block.node, block=number, start=index, stop=index + 1))
                if not block.due:  # its node may hang, and nobody need wait for it
                    self._retire(number)
                return True
        for waiting in (self._queue, self._waiting_suspects, *self._elsewhere.values()):
            for at, (start, stop, tries) in enumerate(waiting):
                if start <= index < stop:
                    rest = [(a, b, tries) for a, b in ((start, index), (index + 1, stop)) if a < b]
                    entries = list(waiting)
                    waiting.clear()
                    waiting.extend([*entries[:at], *rest, *entries[at + 1 :]])
                    self.waiting -= 1
                    self._elsewhere = {node: found for node, found in self._elsewhere.items() if found}
                    return True
        return self.held.pop(index, None) is not None

    def retry(self, index: int, tries: int, *, failed_on: str = "", charged: bool = True) -> None:
        self._copied.discard(index)  # of the next try there may be a copy again
        super().retry(index, tries, failed_on=failed_on, charged=charged)

    def release(
        self,
        block: int,
        token: str,
        start: int,
        stop: int,
        *,
        suspect: bool = False,
        by_itself: bool = True,
    ) -> Loss:
        if block < FIRST_COPY:
            return super().release(block, token, start, stop, suspect=suspect, by_itself=by_itself)
        if self.owns(block, token):
            self.copies[block].due, _ = subtract(self.copies[block].due, start, stop)
        return Loss(requeued=0, failed=())

    def take_out(self, block: int, token: str, index: int) -> int | None:
        return super().take_out(block, token, index) if block < FIRST_COPY else None

    def end(self, block: int, token: str) -> int:
        if block < FIRST_COPY:
            return super().end(block, token)
        if self.owns(block, token):
            self._drop_copy(block)
        return 0

    # -- losses ----------------------------------------------------------------------------------------------

    @property
    def under_way(self) -> Mapping[int, object]:
        return ChainMap(self.copies, self.blocks)  # type: ignore[arg-type]

    def lose_block(self, block: int) -> int:
        if block >= FIRST_COPY and block in self.copies:
            self._drop_copy(block)
        return super().lose_block(block)

    def lose_node(self, node: str) -> int:
        self._drop_copies_of(node)
        return super().lose_node(node)

    def leave_node(self, node: str) -> int:
        self._drop_copies_of(node)
        return super().leave_node(node)

    def drop_waiting(self) -> None:
        super().drop_waiting()
        for number in list(self.copies):
            self._drop_copy(number)

    def _drop_copies_of(self, node: str) -> None:
        for number in [number for number, copy in self.copies.items() if copy.node == node]:
            self._drop_copy(number)

    def _drop_copy(self, number: int) -> None:
        copy = self.copies.pop(number)
        if copy.node in self.nodes:
            self._change_load(copy.node, -1)


def _common(due: list[Interval], start: int, stop: int) -> list[Interval]:
    """What of [start, stop) lies in `due`, which is sorted and disjoint."""
    at = max(0, bisect_right(due, (start, start)) - 1)
    found = []
    while at < len(due) and due[at][0] < stop:
        low, high = max(start, due[at][0]), min(stop, due[at][1])
        if low < high:
            found.append((low, high))
        at += 1
    return found
