"""Decides which mini-batches go to which node, which block owns them, and what goes back to the queue: pure.

Facts go in (a node joined, rows were flushed, a range was released, a node was lost), orders come out. A
range is owned by the block it was last given to; what comes from any other block is refused, so that no
mini-batch is ever committed twice.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from itertools import pairwise

import numpy as np

from daskpar.engine.rules.blame import Blame, Interval, may_have_run, subtract, width
from daskpar.engine.rules.block_size import BlockSizer
from daskpar.processor.last_state import LastState
from daskpar.processor.protocol import BlockOrder
from daskpar.value_classes import frozen, mutable

QUEUED_AHEAD = 2
"""Blocks under way for each processor: one runs, one waits on the node, so that no processor waits for the
scheduler.
"""


def runs(indices: np.ndarray) -> list[Interval]:
    """Sorted distinct `indices` as maximal intervals."""
    if len(indices) == 0:
        return []
    cuts = np.flatnonzero(np.diff(indices) != 1) + 1
    edges = np.concatenate(([0], cuts, [len(indices)]))
    return [(int(indices[a]), int(indices[b - 1]) + 1) for a, b in pairwise(edges)]


@frozen
class Piece:
    """Items [start, stop) of mini-batch `index`, which are run by themselves."""

    index: int
    start: int
    stop: int


@mutable(kw_only=True)
class _Block:
    node: str
    tries: int
    due: list[Interval]
    """What is still due from it: neither flushed nor released."""
    alone: bool = False
    """Whether its node gets no other block meanwhile, for it is a suspect."""
    token: str = ""
    """Of the start that owns it; empty until its first report."""
    piece: Piece | None = None
    """Where it is one: nodes know it under the index of its mini-batch, the dispatcher under a key."""

    def keys(self, start: int, stop: int) -> Interval:
        """What [start, stop), as nodes call it, is here."""
        if self.piece is None:
            return start, stop
        first = self.key
        return (first, first + 1) if start <= self.piece.index < stop else (first, first)

    key: int = -1
    """Of the piece."""


@frozen(kw_only=True)
class Loss:
    """What the loss of a node or block means."""

    requeued: int
    """Mini-batches that go back to the queue."""
    failed: tuple[int, ...]
    """Mini-batches that were running at their third loss: failed, not queued again."""
    suspects: tuple[int, ...] = ()
    """First mini-batches of the blocks that may have been running, or the only ones."""


@mutable
class Dispatcher:
    """The queue of one step.

    `missing` are the ranges without a final outcome, in order. Retries and what comes back from lost or slow
    blocks goes to the front: it is the oldest work, and the one that the end of the step would wait for.
    """

    missing: Iterable[Interval]
    sizer: BlockSizer

    nodes: dict[str, int] = field(default_factory=dict)
    """Node -> processors."""
    blocks: dict[int, _Block] = field(default_factory=dict)
    """Blocks under way, by number."""
    blame: Blame = field(default_factory=Blame)
    paused: set[str] = field(default_factory=set)
    """Nodes that get nothing for a while."""
    held: dict[int, int] = field(default_factory=dict)
    """Mini-batches that wait until they are let go (`let_go`), each with its failed tries."""
    more_come: bool = False
    """Whether further nodes are starting their processors."""
    ready: set[str] | None = None
    """Nodes with a processor past `init()`, as far as reported; None: all have one."""
    _queue: deque[tuple[int, int, int]] = field(default_factory=deque)
    _waiting_suspects: deque[tuple[int, int, int]] = field(default_factory=deque)
    """Suspects that wait for a node without another suspect."""
    _elsewhere: dict[str, deque[tuple[int, int, int]]] = field(default_factory=dict)
    """Node -> mini-batches that have just failed there, for another one."""
    _repeated: set[int] = field(default_factory=set)
    """Mini-batches of which one failed try was not charged."""
    waiting: int = 0
    """Mini-batches that wait, suspects included."""
    pieces: dict[int, Piece] = field(default_factory=dict)
    """Pieces of divided mini-batches by key. Keys lie above all indices; here they stand for mini-batches."""
    first_key: int = 1 << 40

    def __post_init__(self) -> None:
        self._next = 0
        self._load: dict[str, int] = {}
        self._room: set[str] = set()
        """Nodes that may take another block."""
        # Kept up to date, for on a large busy cluster they are few: an order need not look at all nodes.
        self._with_suspect: set[str] = set()
        """Nodes that run a suspect and get nothing else meanwhile."""
        self._processors = 0
        for start, stop in self.missing:
            if start < stop:
                self._queue.append((start, stop, 0))
                self.waiting += stop - start

    def add_pieces(self, pieces: Iterable[Piece], *, tries: int = 0) -> None:
        """Pieces of a divided mini-batch are to be run, the first one first and ahead of all that waits.

        `tries`: failed tries that count as theirs.
        """
        new = list(pieces)
        for piece in reversed(new):
            key = self.first_key
            self.first_key += 1
            self.pieces[key] = piece
            self._queue.appendleft((key, key + 1, tries))
        self.waiting += len(new)

    def drop_pieces(self, index: int) -> None:
        """Pieces of mini-batch `index` are not run any more; what comes of those under way is refused."""
        keys = {key for key, piece in self.pieces.items() if piece.index == index}
        for number, block in self.blocks.items():
            if block.key in keys:
                self.blocks[number].due = []
        for waiting in (self._queue, self._waiting_suspects, *self._elsewhere.values()):
            kept = [entry for entry in waiting if entry[0] not in keys]
            self.waiting -= len(waiting) - len(kept)
            waiting.clear()
            waiting.extend(kept)
        self._elsewhere = {node: waiting for node, waiting in self._elsewhere.items() if waiting}
        for key in keys:
            self.held.pop(key, None)
            del self.pieces[key]

    def piece_of(self, block: int) -> Piece | None:
        """The piece that a block is, None for one of whole mini-batches."""
        known = self.blocks.get(block)
        return None if known is None else known.piece

    def index_of(self, key: int) -> int:
        """The mini-batch that a key stands for: itself, or that of the piece."""
        piece = self.pieces.get(key) if self.pieces else None
        return key if piece is None else piece.index

    def key_of(self, block: int, index: int) -> int:
        """Under which key mini-batch `index` of a block is known here."""
        known = self.blocks.get(block)
        return index if known is None or known.piece is None else known.key

    @property
    def finished(self) -> bool:
        """Whether nothing waits and nothing is under way."""
        return not (self._queue or self._elsewhere or self._waiting_suspects or self.blocks or self.held)

    @property
    def due(self) -> int:
        """Mini-batches that nodes have been given and not reported."""
        return sum(width(block.due) for block in self.blocks.values())

    @property
    def under_way(self) -> Mapping[int, object]:
        """All that nodes have been given, by the number of its block."""
        return self.blocks

    @property
    def processors(self) -> int:
        """Processors of all nodes."""
        return self._processors

    def add_node(self, node: str, processors: int) -> None:
        """A node is ready to take blocks."""
        self._processors += processors - self.nodes.get(node, 0)
        self.nodes[node] = processors
        self._change_load(node, 0)

    def orders(self) -> list[tuple[str, BlockOrder]]:
        """Blocks to send now, each with its node: fills every node up to two blocks for each processor."""
        orders = self._orders_for_suspects() if self._waiting_suspects else []
        able = self._room - self.paused if self.paused else self._room
        waits = self._queue or self._elsewhere
        room = [(self._load[node] / self.nodes[node], node) for node in able] if waits else []
        heapq.heapify(room)
        if self._elsewhere:
            orders += self._orders_for_retries(room)
        while self._queue and room:
            node = room[0][1]
            start, limit, tries = self._queue.popleft()
            stop = start + 1
            # A mini-batch with failures behind it travels alone: what it does then hits no other.
            if tries == 0:
                stop = self.sizer.stop(start, limit, remaining=self.waiting, processors=self.processors)
                stop = self.blame.end_of_piece(start, stop)
            if stop < limit:
                self._queue.appendleft((stop, limit, tries))
            if self.blame.needs_own_node(start):
                self._waiting_suspects.append((start, stop, tries))
                continue
            orders.append(self._order(node, start, stop, tries))
            if node in self._room:
                heapq.heapreplace(room, (self._load[node] / self.nodes[node], node))
            else:
                heapq.heappop(room)
        return orders + self._orders_for_suspects() if self._waiting_suspects else orders

    def _orders_for_retries(self, room: list[tuple[float, str]]) -> list[tuple[str, BlockOrder]]:
        """Blocks for mini-batches that failed on one node and go to another, while one can take them.

        `room`: heap of (load, node); what has become of it is left there.
        """
        orders: list[tuple[str, BlockOrder]] = []
        passed = []
        while room and self._elsewhere:
            _, node = heapq.heappop(room)
            failed_on = next((name for name in self._elsewhere if name != node), None)
            if failed_on is None and self._is_only_one(node):
                failed_on = node
            if failed_on is None:
                passed.append((self._load[node] / self.nodes[node], node))
                continue
            waiting = self._elsewhere[failed_on]
            orders.append(self._order(node, *waiting.popleft()))
            if not waiting:
                del self._elsewhere[failed_on]
            if node in self._room:
                heapq.heappush(room, (self._load[node] / self.nodes[node], node))
        for entry in passed:
            heapq.heappush(room, entry)
        return orders

    def _is_only_one(self, node: str) -> bool:
        """Whether there is no other node to wait for."""
        return not self.more_come and not self.nodes.keys() - self.paused - {node}

    def _order(self, node: str, start: int, stop: int, tries: int) -> tuple[str, BlockOrder]:
        self.waiting -= stop - start
        number = self._next
        self._next += 1
        self.blocks[number] = _Block(node=node, tries=tries, due=[(start, stop)])
        self._change_load(node, 1)
        repeated = stop - start == 1 and start in self._repeated
        order = BlockOrder(
            block=number,
            token="",
            start=start,
            stop=stop,
            tries=tries,
            repeated=repeated,
            units=self.sizer.units(start, stop) if self.sizer.breaks else None,
        )
        if self.pieces and (piece := self.pieces.get(start)) is not None:
            self.blocks[number].piece, self.blocks[number].key = piece, start
            span = (piece.start, piece.stop)
            order = replace(order, start=piece.index, stop=piece.index + 1, piece=span, units=None)
        return node, order

    def _orders_for_suspects(self) -> list[tuple[str, BlockOrder]]:
        """Blocks for suspects that need a node of their own: nodes that have no other suspect."""
        # Only nodes with a ready processor: were such a node lost, it would be certain that the suspect ran.
        orders: list[tuple[str, BlockOrder]] = []
        able = self._room - self.paused if self.ready is None else (self._room & self.ready) - self.paused
        for node in sorted(able - self._with_suspect, key=lambda n: (self._load[n] / self.nodes[n], n))[
            : len(self._waiting_suspects)
        ]:
            orders.append(self._order(node, *self._waiting_suspects.popleft()))
            self.blocks[self._next - 1].alone = True
            # Nothing is queued behind it: if that took the node down before the end of this one is reported,
            # this one would be blamed.
            self._with_suspect.add(node)
            self._room.discard(node)
        return orders

    def owns(self, block: int, token: str) -> bool:
        """Whether `token` is the start of `block` that owns it: the first one that reports."""
        # Dask may start a task twice; only one start may commit the block's mini-batches.
        known = self.blocks.get(block)
        if known is None:
            return False
        if not known.token:
            known.token = token
        return known.token == token

    def settle(self, block: int, token: str, indices: np.ndarray) -> np.ndarray:
        """Mark the records of a flush, of mini-batches `indices`, as delivered.

        A mask of those that were due from this block; the others are refused.
        """
        accepted = np.zeros(len(indices), dtype=bool)
        if not len(indices) or not self.owns(block, token):
            return accepted
        known = self.blocks[block]
        first, end = int(indices[0]), int(indices[-1]) + 1
        # Nearly every flush is one unbroken range that is due as a whole.
        if known.piece is not None:
            known.due, taken = subtract(known.due, *known.keys(first, end))
            accepted[:] = bool(taken)
            self.blame.clear(*known.keys(first, end))
            return accepted
        for start, stop in [(first, end)] if end - first == len(indices) else runs(indices):
            known.due, taken = subtract(known.due, start, stop)
            for low, high in taken:
                if high - low == len(indices):
                    accepted[:] = True
                else:
                    accepted |= (indices >= low) & (indices < high)
                self.blame.clear(low, high)
        return accepted

    def retry(self, index: int, tries: int, *, failed_on: str = "", charged: bool = True) -> None:
        """Queue one mini-batch again, ahead of all others, with `tries` failed tries behind it.

        `failed_on`: the node where it has just failed, so that another one gets it, where there is any.
        `charged`: whether that try is among the `tries`.
        """
        if not charged:
            self._repeated.add(index)
        entry = (index, index + 1, tries)
        if failed_on in self.nodes and not self._is_only_one(failed_on):
            self._elsewhere.setdefault(failed_on, deque()).append(entry)
        else:
            self._queue.appendleft(entry)
        self.waiting += 1

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
        """Take back [start, stop) from a block: it goes back to the queue.

        `suspect`: a processor died while it wrote their rows, or before it began with them, so one of them
        may be to blame; a mini-batch that is so three times, alone at last, has failed. `by_itself`:
        the processor did not die with its fork server; where it did, that counts half.
        """
        if not self.owns(block, token):
            return Loss(requeued=0, failed=())
        known = self.blocks[block]
        known.due, taken = subtract(known.due, *known.keys(start, stop))
        failed = (
            [
                index
                for a, b in taken
                if (index := self.blame.accuse(a, b, writing=True, by_itself=by_itself)) is not None
            ]
            if suspect
            else []
        )
        for index in failed:
            taken, _ = subtract(taken, index, index + 1)
        return Loss(requeued=self._requeue(taken, known.tries), failed=tuple(failed))

    def take_out(self, block: int, token: str, index: int) -> int | None:
        """Take one mini-batch from a block, to be held or failed by the caller; its failed tries so far.

        None where it is not due from this block.
        """
        if not self.owns(block, token):
            return None
        known = self.blocks[block]
        known.due, taken = subtract(known.due, *known.keys(index, index + 1))
        return known.tries if taken else None

    def hold(self, index: int, tries: int) -> None:
        """Keep a mini-batch that was taken out until `let_go`."""
        self.held[index] = tries

    def let_go(self, index: int) -> None:
        """A mini-batch that was held is queued again, ahead of all others."""
        if (tries := self.held.pop(index, None)) is not None:
            self.retry(index, tries)

    def end(self, block: int, token: str) -> int:
        """A block is over; how many mini-batches that were still due go back to the queue.

        There are none, unless something went wrong on its node.
        """
        if not self.owns(block, token):
            return 0
        return self._retire(block)

    def lose_block(self, block: int) -> int:
        """Nothing more will be reported of a block, and no mini-batch is to blame; how many go back."""
        return self._retire(block) if block in self.blocks else 0

    def lose_node(self, node: str) -> int:
        """A node is gone and gets no more blocks; how many processors it had.

        What is due from its blocks waits for `requeue_lost_node`.
        """
        processors = self.nodes.pop(node, 0)
        self._processors -= processors
        self._load.pop(node, None)
        self._room.discard(node)
        return processors

    def requeue_lost_node(self, node: str, *, running: int, last_state: LastState | None = None) -> Loss:
        """Take back the blocks of a lost node: what was due goes to the queue.

        `running`: its processors past `init()`. `last_state`: what is known of its end. What may have taken
        it down (`may_have_run`) is given out again in smaller pieces, after a second loss never two of them
        on one node; a mini-batch that was running at its third loss has failed.
        """
        requeued, failed, suspects = 0, [], []
        numbers = sorted(n for n, b in self.blocks.items() if b.node == node)
        suspected = may_have_run(
            [(self._as_nodes_know(self.blocks[n]), bool(self.blocks[n].token)) for n in numbers],
            running,
            last_state,
        )
        # The latest first: each goes to the front of the queue, so the oldest work ends up foremost.
        for number, ranges in zip(reversed(numbers), reversed(suspected), strict=True):
            block = self.blocks[number]
            suspects += sorted(start for start, _, ran in ranges if ran)[:1]
            for first, end, ran in ranges:
                start, stop = block.keys(first, end)
                index = self.blame.accuse(start, stop, running=ran)
                if index is not None:
                    failed.append(index)
                    block.due, _ = subtract(block.due, index, index + 1)
            requeued += self._retire(number)
        return Loss(requeued=requeued, failed=tuple(failed), suspects=tuple(suspects))

    def _as_nodes_know(self, block: _Block) -> list[Interval]:
        """What is due from a block, by the indices of mini-batches."""
        if block.piece is None or not block.due:
            return block.due
        return [(block.piece.index, block.piece.index + 1)]

    def leave_node(self, node: str) -> int:
        """A node takes no more part, and no mini-batch is to blame; how many go back to the queue."""
        self._processors -= self.nodes.pop(node, 0)
        self._load.pop(node, None)
        self._room.discard(node)
        return sum(
            self._retire(number)
            for number in sorted((n for n, b in self.blocks.items() if b.node == node), reverse=True)
        )

    def drop_waiting(self) -> None:
        """Nothing more is to be started."""
        self._queue.clear()
        self._elsewhere.clear()
        self._waiting_suspects.clear()
        self.held.clear()
        self.pieces.clear()
        self.waiting = 0

    def _retire(self, number: int) -> int:
        block = self.blocks.pop(number)
        if block.alone:
            self._with_suspect.discard(block.node)
        if block.node in self.nodes:
            self._change_load(block.node, -1)
        return self._requeue(block.due, block.tries)

    def _change_load(self, node: str, by: int) -> None:
        self._load[node] = self._load.get(node, 0) + by
        if self._load[node] < QUEUED_AHEAD * self.nodes[node] and node not in self._with_suspect:
            self._room.add(node)
        else:
            self._room.discard(node)

    def _requeue(self, intervals: Iterable[Interval], tries: int) -> int:
        requeued = 0
        for start, stop in sorted(intervals, reverse=True):
            self._queue.appendleft((start, stop, tries))
            requeued += stop - start
        self.waiting += requeued
        return requeued
