"""The blocks of one node: waiting ones, giving them to processors, and giving back what is not run.

Every index of a block's range is reported once, in a `Flushed` or a `Released`, before its `BlockEnded`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from time import monotonic

import numpy as np

from daskpar.batches.records import unpack
from daskpar.paths import process_name
from daskpar.processor import channel, timeouts, unit_reading
from daskpar.processor.exit_reasons import ExitReason
from daskpar.processor.gpus.gpu_watch import GpuWatch
from daskpar.processor.health import Health
from daskpar.processor.lost_blocks import charge_and_requeue, was_reading_together
from daskpar.processor.processor_handle import ProcessorHandle
from daskpar.processor.processor_messages import BlockDone
from daskpar.processor.protocol import (
    BlockEnded,
    BlockOrder,
    Flushed,
    LogMessage,
    Message,
    ProcessorSettings,
    Released,
    ReleaseReason,
)
from daskpar.processor.shared_page import Announcement, Phase
from daskpar.results import Reason

TRIAL_SECONDS = 0.1
"""How long a fresh process waits for what failed in the broken one to come back from the driver."""


class BlockQueue:
    """The blocks that a node was given. `report` takes each message."""

    def __init__(self, settings: ProcessorSettings, report: Callable[[Message], None]) -> None:
        self.settings = settings
        self._report = report
        self._waiting: deque[BlockOrder] = deque()
        self._mean_time = timeouts.MeanTime()
        self._unit_time = timeouts.UnitTime()
        self.health = Health()
        self.gpus = GpuWatch(settings)
        self._apart = False
        """Whether no files are read together any more."""

    def __len__(self) -> int:
        return len(self._waiting)

    def waiting(self) -> list[tuple[int, int]]:
        """The ranges of those that wait for a processor, in order."""
        return [(order.start, order.stop) for order in self._waiting]

    # -- giving --------------------------------------------------------------------------------------------

    def add(self, order: BlockOrder) -> None:
        """A block waits for a processor."""
        self._waiting.append(order)

    def give_to(self, processors: Iterable[ProcessorHandle]) -> None:
        """Give waiting blocks to those processors that are free, retries to those that may be trusted."""
        if not self._waiting:
            return
        there = list(processors)
        for processor in [one for one in there if one.is_free]:
            if (order := self._best_for(processor, there)) is not None:
                self._waiting.remove(order)
                self.give(processor, order)
        if self._waiting:
            self._give_misfits(there)

    def _best_for(self, processor: ProcessorHandle, there: Sequence[ProcessorHandle]) -> BlockOrder | None:
        """The first block that a processor may be given and another one does not better go on with.

        One that follows a broken one gets what failed there, for which it waits a moment.
        """
        if on_trial := self.health.on_trial(processor.key):
            back = {order.start: order for order in self._waiting if order.is_retry}
            for index in on_trial:
                if index in back and self.gpus.fits(processor.number, back[index], fresh=True):
                    return back[index]
            if monotonic() - processor.ready_at < TRIAL_SECONDS:
                return None
        fitting = [order for order in self._waiting if self._fits(processor, order)]
        if not fitting or fitting[0].is_retry:
            return fitting[0] if fitting else None
        # What a processor has read already, no other one needs to read.
        unit = processor.unit
        for order in fitting:
            if order.units and order.units[0] == unit:
                return order
        return next((order for order in fitting if not self._waits_for_reader(order, there)), None)

    def _waits_for_reader(self, order: BlockOrder, there: Sequence[ProcessorHandle]) -> bool:
        """Whether a block is better run by the processor that has read its unit, and will be free soon."""
        if not order.units or order.is_retry or order.units[0] == order.start or not self._mean_time.count:
            return False
        unit = order.units[0]
        reader = next((one for one in there if one.unit == unit and one.goes_on), None)
        if reader is None or not self._fits(reader, order):
            return False
        if reader.order is None:
            return True  # it is free as well, and its turn comes
        last, now = reader.announced(), monotonic()
        reload, each = self._unit_time.seconds, self._mean_time.seconds
        if timeouts.is_slow(last.phase, last.since, now, each, reload):
            return False
        ahead = reader.limit - min(max(last.index, reader.order.start), reader.limit)
        for other in self._waiting:
            if other is order:
                break
            if other.units and other.units[0] == unit:
                ahead += other.stop - other.start
        wait = ahead * each - min(max(0.0, now - last.since), each)
        return unit_reading.waits_for_reader(wait, each, reload)

    def _fits(self, processor: ProcessorHandle, order: BlockOrder) -> bool:
        if not self.gpus.fits(processor.number, order, fresh=self.health.is_fresh(processor.key)):
            return False
        return self.health.fits(processor.key, order, last=order.is_last_try(self.settings.max_retries))

    def _give_misfits(self, there: Sequence[ProcessorHandle]) -> None:
        """What still waits are retries that no free processor may be trusted with."""
        fresh_come = len(there) < self.gpus.slots or any(
            not one.ready
            or one.finishing
            or one.replaced_for
            or one.killed_for
            or (one.is_free and self.health.is_fresh(one.key))
            for one in there
        )
        if fresh_come:
            return
        for processor in [one for one in there if one.is_free]:
            if not self._waiting:
                return
            order = next((one for one in self._waiting if not self._waits_for_reader(one, there)), None)
            if order is None:
                return
            if self.health.is_worth_a_fresh_process(
                processor.key,
                order,
                last=order.is_last_try(self.settings.max_retries),
                alone=self.gpus.slots == 1,
            ):
                self._replace_broken(processor)
                return
            self._waiting.remove(order)
            self.give(processor, order)

    def give(self, processor: ProcessorHandle, order: BlockOrder) -> None:
        """Give a block to a processor, or as much of it as this processor may still run."""
        stop = order.stop
        if (most := self.settings.most_mini_batches) is not None:
            stop = min(stop, order.start + max(1, most - processor.mini_batches))
        if self._apart:
            order = replace(order, apart=True)
        processor.order, processor.reported, processor.limit = order, order.start, stop
        processor.page.set_limit(stop)
        processor.unit = order.units[-1] if order.units else None
        processor.given_at = monotonic()
        processor.sighting.start_again(processor.given_at)
        try:
            channel.send(processor.sock, order)
        except OSError:
            # It has just died, which the fork server will report; nothing of the order has begun.
            processor.order = None
            self._waiting.appendleft(order)
            return
        self._release(order, stop, order.stop, ReleaseReason.REPLACED)

    # -- done ----------------------------------------------------------------------------------------------

    def flushed(self, processor: ProcessorHandle, flushed: Flushed) -> None:
        """A processor has written and reported mini-batches; dropped unless they are of its block."""
        if processor.order is None or flushed.block != processor.order.block:
            return
        records = unpack(flushed.records)
        processor.reported = int(records["index"][-1]) + 1
        processor.mini_batches += len(records)
        self._mean_time.add(float(records["elapsed"].sum()), len(records))
        if (units := processor.order.units) is not None:
            begun = any(records["index"][0] <= unit < processor.reported for unit in units)
            self._unit_time.add(float((records["elapsed"] - records["run"]).max()), begun=begun)
        if flushed.failures or not self.health.succeeded(processor.key, len(records)):
            flushed = self._judge(processor, flushed)
        self._report(flushed)
        if flushed.failures and (why := self.gpus.replaces(flushed, processor.number)):
            self._replace_broken(processor, why)
        elif flushed.failures and not processor.replaced_for and self.health.looks_broken(processor.key):
            self._replace_broken(processor)

    def _judge(self, processor: ProcessorHandle, flushed: Flushed) -> Flushed:
        """The same, with tries that the processor may have spoilt not charged to their mini-batches."""
        assert processor.order is not None
        records = unpack(flushed.records)
        # A file that was changed says nothing of the process.
        telling = records[records["reason"] != Reason.INPUT_CHANGED]
        tries = zip(telling["index"].tolist(), telling["status"].tolist(), strict=True)
        clocks = None
        if processor.in_flight is not None:
            ended = telling["started"] + telling["elapsed"]
            clocks = zip(telling["started"].tolist(), ended.tolist(), strict=True)
        in_doubt = self.health.ended(processor.key, tries, clocks)
        if not in_doubt or processor.order.repeated:
            return flushed
        if processor.order.piece is not None and not processor.order.is_one_item:
            return flushed  # it is divided further, and each of its items is tried again
        # What a last try did return is kept with it, so that one stays as it is.
        spared = np.isin(records["index"], list(in_doubt)) & (records["length"] == 0)
        indices = set(records["index"][spared].tolist())
        records = records.copy()
        records["final"][spared] = 0
        return replace(
            flushed,
            records=records.tobytes(),
            failures=tuple(
                replace(failure, final=False) if failure.index in indices else failure
                for failure in flushed.failures
            ),
            uncharged=tuple(sorted(indices)),
        )

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

    def take_back_block(self, block: int) -> bool:
        """Give back a block that waits for a processor; whether it does."""
        for order in self._waiting:
            if order.block == block:
                self._waiting.remove(order)
                self.give_back(order)
                return True
        return False

    def give_back_unreported(self, processor: ProcessorHandle) -> None:
        """Give back all that a processor has not reported; its block ends."""
        order = processor.order
        assert order is not None
        self._release(order, processor.reported, processor.limit, ReleaseReason.STOPPED)
        self._report(BlockEnded(block=order.block, token=order.token))
        processor.order = None

    def stop(self, processor: ProcessorHandle) -> None:
        """Give back what comes after the current mini-batch, for the step is to stop."""
        if processor.order is not None:
            self.take_back(processor, processor.page.announced().index + 1, ReleaseReason.STOPPED)

    def take_back_if_slow(self, processor: ProcessorHandle, last: Announcement, now: float) -> None:
        """Give back what comes after a slow mini-batch, so that other processors run it."""
        order = processor.order
        if order is None or not order.start <= last.index < processor.limit - 1:
            return
        loads = last.phase == Phase.LOAD
        # Others would have to read the unit as well, before they could run anything of it.
        rest = order.end_of_unit(last.index) if loads else last.index + 1
        reload = 0.0
        if not loads and order.units is not None:
            very_first = last.index == order.start and not self._mean_time.count
            reload = unit_reading.patience(very_first=very_first, reload=self._unit_time.seconds)
        if rest < processor.limit and timeouts.is_slow(
            last.phase, last.since, now, self._mean_time.seconds, reload
        ):
            self.take_back(processor, rest, ReleaseReason.SLOW)

    def take_back(self, processor: ProcessorHandle, start: int, reason: ReleaseReason) -> None:
        """Give back the range from `start` on, or from where the processor has got to by now."""
        assert processor.order is not None
        limit = processor.page.lower_limit(start)
        if limit is None:
            return  # it is at no mini-batch: its message about the end of the block says how far it came
        if limit < processor.limit:
            self._release(processor.order, limit, processor.limit, reason)
            processor.limit = limit

    # -- replacing -----------------------------------------------------------------------------------------

    def replace(self, processor: ProcessorHandle, why: str) -> None:
        """Have a fresh process take a processor's place, once its current mini-batch is over."""
        if processor.replaced_for:
            return
        processor.replaced_for = why
        if processor.order is not None and processor.reported < processor.limit:
            self.take_back(processor, processor.reported, ReleaseReason.REPLACED)

    def _replace_broken(self, processor: ProcessorHandle, known: str = "") -> None:
        """`known`: why, where the failure itself has said so."""
        if processor.replaced_for:
            return
        row = self.health.row(processor.key)
        many = f"the last {row} mini-batches" if row > 1 else "the last mini-batch"
        self.health.replaced(processor.key)
        processor.broken = True
        why = f"{many} failed in it, which may be its own fault and not theirs"
        last_try = "processes have broken here, and a last try needs a fresh one"
        self.replace(processor, known or (why if row else last_try))

    def forget(self, processor: ProcessorHandle) -> None:
        """A processor has ended."""
        self.health.forget(processor.key)

    def processor_died(self, processor: ProcessorHandle, last: Announcement, why: ExitReason) -> None:
        """Charge the mini-batch that was running when a processor died, give back the rest of its block."""
        if was_reading_together(processor, last) and not self._apart:
            self._apart = True
            where = f"{process_name(processor.number)} of node {self.settings.node}"
            text = (
                f"{where} ended while it read files of several mini-batches together ({why.text}): none of "
                "these is charged. The node reads each file by itself from here on: should it happen again, "
                "the right one is named"
            )
            self._report(LogMessage(level="warning", text=text))
        for message in charge_and_requeue(processor, last, why, self.settings):
            self._report(message)

    def _release(self, order: BlockOrder, start: int, stop: int, reason: ReleaseReason) -> None:
        if start < stop:
            self._report(
                Released(block=order.block, token=order.token, start=start, stop=stop, reason=reason)
            )
