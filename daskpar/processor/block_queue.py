"""The blocks of one node: waiting ones, giving them to processors, and giving back what is not run.

Every index of a block's range is reported once, in a `Flushed` or a `Released`, before its `BlockEnded`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from time import monotonic

from daskpar.batches.records import unpack
from daskpar.processor import channel, timeouts
from daskpar.processor.exit_reasons import ExitReason
from daskpar.processor.lost_blocks import charge_and_requeue
from daskpar.processor.processor_handle import ProcessorHandle
from daskpar.processor.processor_messages import BlockDone
from daskpar.processor.protocol import (
    BlockEnded,
    BlockOrder,
    Flushed,
    Message,
    ProcessorSettings,
    Released,
    ReleaseReason,
)
from daskpar.processor.shared_page import Announcement


class BlockQueue:
    """The blocks that a node was given. `report` takes each message."""

    def __init__(self, settings: ProcessorSettings, report: Callable[[Message], None]) -> None:
        self.settings = settings
        self._report = report
        self._waiting: deque[BlockOrder] = deque()
        self._mean_time = timeouts.MeanTime()

    def __len__(self) -> int:
        return len(self._waiting)

    # -- giving --------------------------------------------------------------------------------------------

    def add(self, order: BlockOrder) -> None:
        """A block waits for a processor."""
        self._waiting.append(order)

    def give_to(self, processors: Iterable[ProcessorHandle]) -> None:
        """Give waiting blocks to those processors that are free."""
        for processor in [one for one in processors if one.is_free]:
            if not self._waiting:
                break
            self.give(processor, self._waiting.popleft())

    def give(self, processor: ProcessorHandle, order: BlockOrder) -> None:
        """Give a block to a processor."""
        processor.order, processor.reported, processor.limit = order, order.start, order.stop
        processor.page.set_limit(order.stop)
        processor.sighting.start_again(monotonic())
        try:
            channel.send(processor.sock, order)
        except OSError:
            # It has just died, which the fork server will report; nothing of the order has begun.
            processor.order = None
            self._waiting.appendleft(order)

    # -- done ----------------------------------------------------------------------------------------------

    def flushed(self, processor: ProcessorHandle, flushed: Flushed) -> None:
        """A processor has written and reported mini-batches; dropped unless they are of its block."""
        if processor.order is None or flushed.block != processor.order.block:
            return
        self._report(flushed)
        records = unpack(flushed.records)
        processor.reported = int(records["index"][-1]) + 1
        self._mean_time.add(float(records["elapsed"].sum()), len(records))

    def done(self, processor: ProcessorHandle, done: BlockDone) -> None:
        """A processor has come to the end of its range, or to its limit."""
        order = processor.order
        if order is None or order.block != done.block:
            return
        processor.order = None
        if done.unreached is None:
            self._release(order, done.stop, processor.limit, ReleaseReason.STOPPED)
        else:
            self._report(
                Released(
                    block=order.block,
                    token=order.token,
                    start=done.stop,
                    stop=processor.limit,
                    reason=ReleaseReason.UNREACHED,
                    trouble=done.unreached.trouble,
                    missing=done.unreached.missing,
                )
            )
        self._report(BlockEnded(block=order.block, token=order.token))

    # -- giving back ---------------------------------------------------------------------------------------

    def give_back(self, order: BlockOrder) -> None:
        """Give back a block of which nothing has begun."""
        self._release(order, order.start, order.stop, ReleaseReason.STOPPED)
        self._report(BlockEnded(block=order.block, token=order.token))

    def give_back_waiting(self) -> None:
        """The same for all blocks that wait."""
        while self._waiting:
            self.give_back(self._waiting.popleft())

    def give_back_unreported(self, processor: ProcessorHandle) -> None:
        """Give back all that a processor has not reported; its block ends."""
        order = processor.order
        assert order is not None
        self._release(order, processor.reported, processor.limit, ReleaseReason.STOPPED)
        self._report(BlockEnded(block=order.block, token=order.token))
        processor.order = None

    def take_back_if_slow(self, processor: ProcessorHandle, last: Announcement, now: float) -> None:
        """Give back what comes after a slow mini-batch, so that other processors run it."""
        if (
            processor.order is not None
            and last.index + 1 < processor.limit
            and last.index >= processor.order.start
            and timeouts.is_slow(last.phase, last.since, now, self._mean_time.seconds)
        ):
            self.take_back(processor, last.index + 1, ReleaseReason.SLOW)

    def take_back(self, processor: ProcessorHandle, start: int, reason: ReleaseReason) -> None:
        """Give back the range from `start` on, or from where the processor has got to by now."""
        assert processor.order is not None
        limit = processor.page.lower_limit(start)
        if limit is None:
            return  # it is at no mini-batch: its message about the end of the block says how far it came
        if limit < processor.limit:
            self._release(processor.order, limit, processor.limit, reason)
            processor.limit = limit

    def processor_died(self, processor: ProcessorHandle, last: Announcement, why: ExitReason) -> None:
        """Charge the mini-batch that was running when a processor died, give back the rest of its block."""
        for message in charge_and_requeue(processor, last, why, self.settings):
            self._report(message)

    def _release(self, order: BlockOrder, start: int, stop: int, reason: ReleaseReason) -> None:
        if start < stop:
            self._report(
                Released(block=order.block, token=order.token, start=start, stop=stop, reason=reason)
            )
