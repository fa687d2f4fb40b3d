"""The queue of a step whose processors have many calls in flight: how much each node gets, who runs alone.

As `dispatch`, which it extends, but:

* A node's load is its mini-batches, not its blocks: one call that hangs keeps its block open, and must not
  keep others from being given out.
* When a processor dies, any of the calls that were in flight may be the reason. All go back to the queue,
  uncharged, and are run again in groups that have a processor for themselves: smaller ones each time, down to
  one mini-batch. Who is alone in a processor that dies is to blame for that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import field, replace

import numpy as np

from daskpar.engine.rules.backup_dispatch import BackupDispatcher
from daskpar.engine.rules.blame import NARROWING, Blame, Interval, width
from daskpar.engine.rules.block_size import BlockSizer, Seconds
from daskpar.engine.rules.dispatch import QUEUED_AHEAD, Dispatcher, Loss
from daskpar.processor.protocol import BlockOrder
from daskpar.value_classes import mutable


@mutable
class InFlightBlame(Blame):
    """Suspects, also those that were in flight when a processor died."""

    groups: dict[int, int] = field(default_factory=dict)
    """Mini-batch -> with how many others it is run the next time, itself included."""

    def suspect(self, start: int, stop: int, among: int) -> None:
        """One of `among` mini-batches, of which these are some, has ended its processor."""
        # Those that have ended well stay in here: they are not run again.
        size = -(-among // NARROWING)
        for index in range(start, stop):
            self.groups[index] = min(size, self.groups.get(index, size))

    def end_of_piece(self, start: int, stop: int) -> int:
        """As for other suspects; a group of those that were in flight together is one block."""
        stop = super().end_of_piece(start, stop)
        if not self.groups:
            return stop
        size = self.groups.get(start)
        if size is None:
            return min((index for index in self.groups if start < index < stop), default=stop)
        end = start + 1
        while end < stop and end - start < size and end in self.groups:
            end += 1
        return end


class InFlightSizer(BlockSizer):
    """Sizes of blocks for processors that run `in_flight` mini-batches at a time."""

    in_flight = 1

    def measure(self, mini_batches: int, seconds: Seconds) -> None:
        """As for one at a time: so many calls share the time of each."""
        super().measure(mini_batches, seconds / self.in_flight)

    def size(self, *, remaining: int, processors: int) -> int:
        """As for one at a time, but enough to keep a processor's calls in flight while there are any."""
        filling = min(self.in_flight, -(-remaining // max(1, processors)))
        return max(super().size(remaining=remaining, processors=processors), filling, 1)


@mutable
class InFlightDispatcher(Dispatcher):
    """The queue of one step."""

    blame: InFlightBlame = field(default_factory=InFlightBlame)
    in_flight: int = 1
    """Calls in flight in one processor."""

    def __post_init__(self) -> None:
        self._due: dict[str, int] = {}
        super().__post_init__()

    def run_alone(self, start: int, stop: int, among: int) -> None:
        """[start, stop) were in flight, with `among` in all, when their processor died."""
        self.blame.suspect(start, stop, among)

    def settle(self, block: int, token: str, indices: np.ndarray) -> np.ndarray:
        before = self._due_of(block)
        accepted = super().settle(block, token, indices)
        self._lighten(block, before)
        return accepted

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
        before = self._due_of(block)
        loss = super().release(block, token, start, stop, suspect=suspect, by_itself=by_itself)
        self._lighten(block, before)
        return loss

    def take_out(self, block: int, token: str, index: int) -> int | None:
        before = self._due_of(block)
        tries = super().take_out(block, token, index)
        self._lighten(block, before)
        return tries

    def lose_node(self, node: str) -> int:
        processors = super().lose_node(node)
        self._due.pop(node, None)
        return processors

    def leave_node(self, node: str) -> int:
        requeued = super().leave_node(node)
        self._due.pop(node, None)
        return requeued

    def _order(self, node: str, start: int, stop: int, tries: int) -> tuple[str, BlockOrder]:
        self._due[node] = self._due.get(node, 0) + stop - start
        node, order = super()._order(node, start, stop, tries)
        return node, replace(order, alone=True) if start in self.blame.groups else order

    def _retire(self, number: int) -> int:
        block = self.blocks[number]
        if block.node in self._due:
            self._due[block.node] -= width(block.due)
        return super()._retire(number)

    def _due_of(self, block: int) -> int:
        known = self.blocks.get(block)
        return 0 if known is None else width(known.due)

    def _lighten(self, block: int, before: int) -> None:
        known = self.blocks.get(block)
        if known is not None and known.node in self.nodes and (fewer := before - width(known.due)):
            self._due[known.node] -= fewer
            self._change_load(known.node, 0)

    def _change_load(self, node: str, by: int) -> None:
        self._load[node] = self._due.get(node, 0)
        # As much as two rounds of calls, and for short ones what takes as long as one block.
        each = self.sizer.seconds_per_mini_batch or self.sizer.target
        most = max(QUEUED_AHEAD * self.in_flight, self.sizer.target / max(each, 1e-7))
        if self._load[node] < most * self.nodes[node] and node not in self._with_suspect:
            self._room.add(node)
        else:
            self._room.discard(node)


def dispatcher_of(
    missing: Iterable[Interval],
    in_flight: int,
    target: Seconds,
    breaks: Sequence[int],
    *,
    backup: bool = False,
) -> Dispatcher:
    """The queue of a step with `in_flight` calls in each processor; 0: one after the other.

    `backup`: whether slow mini-batches are started a second time, where calls follow each other.
    """
    if not in_flight:
        kind = BackupDispatcher if backup else Dispatcher
        return kind(missing, BlockSizer(target=target, breaks=breaks))
    sizer = InFlightSizer(target=target, breaks=breaks)
    sizer.in_flight = in_flight
    return InFlightDispatcher(missing, sizer, in_flight=in_flight)
