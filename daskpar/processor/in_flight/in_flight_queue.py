"""The blocks of a node whose processors have many calls in flight: as `block_queue`, which it extends.

A processor has several blocks at a time, so that calls are in flight at the end of one, too. What has not
begun in it is taken back by a message. Blocks that are to be alone in a processor (`BlockOrder.alone`) wait
until one has nothing else left; meanwhile that one gets nothing new.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from time import monotonic

from daskpar.batches.records import unpack
from daskpar.processor import channel, timeouts
from daskpar.processor.block_queue import BlockQueue
from daskpar.processor.exit_reasons import ExitReason
from daskpar.processor.in_flight.in_flight_given import InFlightState, ranges
from daskpar.processor.in_flight.in_flight_losses import charge_and_requeue_all
from daskpar.processor.processor_handle import ProcessorHandle
from daskpar.processor.processor_messages import NOTHING_LEFT, BlockDone, HandBack, HandedBack
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
from daskpar.processor.slot_page import SlotPage

NO_LIMIT = 1 << 60
AHEAD_SECONDS = 0.25
"""Work that waits in a processor at least: the node may be busy elsewhere for a moment."""


class InFlightQueue(BlockQueue):
    """The blocks that a node was given."""

    # -- giving ----------------------------------------------------------------------------------------------

    def give_to(self, processors: Iterable[ProcessorHandle]) -> None:
        if not self._waiting:
            return
        there = list(processors)
        able = [one for one in there if _may_be_given(one)]
        quiet = self._quiet(able)
        for processor in sorted(able, key=lambda one: _state(one).due):
            while (order := self._next_for(processor, quiet)) is not None:
                self._waiting.remove(order)
                self.give(processor, order)
                if processor.finishing:
                    break  # it has just died
        if self._waiting and all(one.is_free for one in able):
            self._give_misfits(there)
        if self._waiting and self.settings.azure_async:
            self._make_room_for_retries(there, able)

    def _quiet(self, able: Sequence[ProcessorHandle]) -> ProcessorHandle | None:
        """The processor for blocks that have to be alone in one; it gets nothing else while any wait."""
        if not any(order.alone for order in self._waiting):
            return None
        return min(able, key=lambda one: (not _state(one).is_alone, _state(one).due), default=None)

    def _next_for(self, processor: ProcessorHandle, quiet: ProcessorHandle | None) -> BlockOrder | None:
        state = _state(processor)
        if state.is_alone or state.stalled or (processor is quiet and state.blocks):
            return None
        if processor is quiet:
            return next((order for order in self._waiting if order.alone), None)
        most = self.settings.most_mini_batches
        self._look(processor)
        rounds = max(1.0, AHEAD_SECONDS / max(self._mean_time.seconds, 1e-3))
        if state.waiting >= rounds * self.settings.in_flight or (most is not None and state.total >= most):
            return None
        return next((order for order in self._waiting if self._fits(processor, order)), None)

    def _fits(self, processor: ProcessorHandle, order: BlockOrder) -> bool:
        if not self.gpus.fits(processor.number, order, fresh=self.health.is_fresh(processor.key)):
            return False
        if order.alone or not self.health.fits(processor.key, order):
            return False
        return not (self.settings.azure_async and order.start in _state(processor).had)

    def _make_room_for_retries(
        self, there: Sequence[ProcessorHandle], able: Sequence[ProcessorHandle]
    ) -> None:
        """Scripts of Azure's contract may give a mini-batch back only once: a try needs another process."""
        if len(able) < self.gpus.slots or len(able) < len(there):
            return  # a fresh one is coming
        for order in self._waiting:
            if all(order.start in _state(one).had for one in able):
                least = min(able, key=lambda one: _state(one).due)
                self.replace(least, f"mini-batch {order.start} is tried again, in another process")
                return

    def give(self, processor: ProcessorHandle, order: BlockOrder) -> None:
        state, stop = _state(processor), order.stop
        if (most := self.settings.most_mini_batches) is not None:
            stop = min(stop, order.start + max(1, most - state.total))
        if not state.blocks:
            processor.sighting.start_again(monotonic())
            state.moved_at = monotonic()
        processor.limit = NO_LIMIT
        processor.page.set_limit(NO_LIMIT)
        try:
            channel.send(processor.sock, order if stop == order.stop else replace(order, stop=stop))
        except OSError:
            # It has just died, which the fork server will report; nothing of the order has begun.
            self._waiting.appendleft(order)
            processor.finishing = True
            return
        processor.order = order
        state.add(order, stop)
        if self.settings.azure_async:
            state.had.update(range(order.start, stop))
        self._release(order, stop, order.stop, ReleaseReason.REPLACED)

    # -- done ------------------------------------------------------------------------------------------------

    def flushed(self, processor: ProcessorHandle, flushed: Flushed) -> None:
        state = _state(processor)
        given = state.blocks.get(flushed.block)
        if given is None:
            return
        state.stalled = False
        self._look(processor)
        processor.order = given.order
        super().flushed(processor, flushed)
        state.take(flushed.block, unpack(flushed.records)["index"].tolist())
        self._end_if_done(processor, flushed.block)

    def done(self, processor: ProcessorHandle, done: BlockDone) -> None:
        """No such message comes: a block is over when nothing of it is due."""

    def handed_back(self, processor: ProcessorHandle, back: HandedBack) -> None:
        """A processor will not run some mini-batches."""
        state = _state(processor)
        if back == NOTHING_LEFT:
            state.back_for = None
        given = state.blocks.get(back.block)
        if given is None:
            return
        self._look(processor)
        if not state.handed_back(back.block, back.start, back.stop):
            return
        if back.unreached is None:
            reason = state.back_for or ReleaseReason.STOPPED
            self._release(given.order, back.start, back.stop, reason)
        else:
            self._report(
                Released(
                    block=back.block,
                    token=given.order.token,
                    start=back.start,
                    stop=back.stop,
                    reason=ReleaseReason.UNREACHED,
                    trouble=back.unreached.trouble,
                    missing=back.unreached.missing,
                )
            )
        self._end_if_done(processor, back.block)

    def _end_if_done(self, processor: ProcessorHandle, block: int) -> None:
        state = _state(processor)
        given = state.blocks.get(block)
        if given is not None and not given.due:
            del state.blocks[block]
            self._report(BlockEnded(block=block, token=given.order.token))
        processor.order = next((one.order for one in state.blocks.values()), None)

    def _look(self, processor: ProcessorHandle) -> None:
        page = processor.page
        assert isinstance(page, SlotPage)
        if _state(processor).begun(page.begun):
            _state(processor).moved_at = monotonic()

    # -- giving back -----------------------------------------------------------------------------------------

    def give_back_unreported(self, processor: ProcessorHandle) -> None:
        state = _state(processor)
        for block, given in state.blocks.items():
            for start, stop in ranges(sorted(given.due)):
                self._release(given.order, start, stop, ReleaseReason.STOPPED)
            self._report(BlockEnded(block=block, token=given.order.token))
        state.blocks.clear()
        processor.order = None

    def stop(self, processor: ProcessorHandle) -> None:
        self._take_back_waiting(processor, ReleaseReason.STOPPED)

    def take_back(self, processor: ProcessorHandle, start: int, reason: ReleaseReason) -> None:
        self._take_back_waiting(processor, reason)

    def take_back_if_slow(self, processor: ProcessorHandle, last: Announcement, now: float) -> None:
        """Give back what waits in a processor in which nothing has begun for longer than calls take."""
        state = _state(processor)
        if not state.blocks:
            return
        self._look(processor)
        slow = timeouts.SLOW_SECONDS + 2 * self._mean_time.seconds
        if state.waiting and state.back_for is None and now - state.moved_at > slow:
            state.stalled = True
            self._take_back_waiting(processor, ReleaseReason.SLOW)

    def _take_back_waiting(self, processor: ProcessorHandle, reason: ReleaseReason) -> None:
        _state(processor).back_for = reason
        with suppress(OSError):  # it has just died: its end gives everything back
            channel.send(processor.sock, HandBack())

    def processor_died(self, processor: ProcessorHandle, last: Announcement, why: ExitReason) -> None:
        for message in charge_and_requeue_all(processor, last, why, self.settings):
            self._report(message)


def _state(processor: ProcessorHandle) -> InFlightState:
    assert processor.in_flight is not None
    return processor.in_flight


def _may_be_given(processor: ProcessorHandle) -> bool:
    state = processor.in_flight
    return (
        processor.ready
        and state is not None
        and state.unheeded is None
        and state.back_for is None
        and not processor.finishing
        and not processor.killed_for
        and not processor.replaced_for
    )


def queue_of(settings: ProcessorSettings, report: Callable[[Message], None]) -> BlockQueue:
    """The blocks of a node, for processors of the kind that `settings` ask for."""
    return InFlightQueue(settings, report) if settings.in_flight else BlockQueue(settings, report)
