"""Stops blocks of which another copy was first: the processor of one is killed, at no charge."""

from __future__ import annotations

from collections.abc import Iterable

from daskpar.processor import linux
from daskpar.processor.block_queue import BlockQueue
from daskpar.processor.exit_reasons import KillReason
from daskpar.processor.processor_handle import ProcessorHandle
from daskpar.processor.protocol import BlockOrder, ReleaseReason
from daskpar.processor.shared_page import KILL_PENDING, Phase


class OvertakenBlocks:
    """The blocks of one node that are not wanted any more."""

    def __init__(self, blocks: BlockQueue) -> None:
        self._blocks = blocks
        self._unseen: set[int] = set()
        """Those that had not arrived when they were overtaken, or had ended."""

    def takes(self, order: BlockOrder) -> bool:
        """Whether a block that arrives now was overtaken on its way; it is given back then."""
        if order.block not in self._unseen:
            return False
        self._unseen.discard(order.block)
        self._blocks.give_back(order)
        return True

    def stop(self, processors: Iterable[ProcessorHandle], block: int, start: int, stop: int) -> None:
        """The mini-batches [start, stop) of a block have their outcome: run nothing of them any more."""
        if self._blocks.take_back_block(block):
            return
        for processor in processors:
            if processor.order is not None and processor.order.block == block:
                self._stop_in(processor, start, stop)
                return
        self._unseen.add(block)

    def _stop_in(self, processor: ProcessorHandle, start: int, stop: int) -> None:
        # What comes after it in the block is run by others, for this process ends.
        self._blocks.take_back(processor, processor.page.announced().index + 1, ReleaseReason.STOPPED)
        now = processor.page.set_limit(KILL_PENDING)
        if processor.killed_for or not (now.phase in (Phase.LOAD, Phase.RUN) and start <= now.index < stop):
            # It has ended by itself in this very moment; what it reports is refused.
            processor.page.set_limit(processor.limit)
            return
        processor.killed_for = KillReason.OVERTAKEN
        linux.kill_tree(processor.pid)
