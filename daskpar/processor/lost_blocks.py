"""Ends the block of a processor that has died: the running mini-batch is charged, the rest is given back."""

from __future__ import annotations

import contextlib
from time import monotonic, time

from daskpar.batches.packed_record import PACK
from daskpar.batches.plan import Plan
from daskpar.processor.exit_reasons import ExitReason, KillReason
from daskpar.processor.piece_loader import PieceLoader
from daskpar.processor.processor_handle import ProcessorHandle
from daskpar.processor.protocol import (
    BlockEnded,
    BlockOrder,
    Flushed,
    Message,
    ProcessorSettings,
    Released,
    ReleaseReason,
)
from daskpar.processor.shared_page import Announcement, Phase
from daskpar.processor.stacks import read_stacks
from daskpar.results import Failure, TryStatus


def charge_and_requeue(
    processor: ProcessorHandle, last: Announcement, why: ExitReason, settings: ProcessorSettings
) -> list[Message]:
    """Charge the mini-batch that was running and give everything else of the block back, as messages.

    `last`: what the processor announced last. It has no block afterwards.
    """
    order = processor.order
    assert order is not None
    found: list[Message] = []
    stopped = processor.killed_for in (KillReason.STOPPED, KillReason.OVERTAKEN)

    def release(start: int, stop: int, reason: ReleaseReason) -> None:
        if start < stop:
            found.append(
                Released(
                    block=order.block,
                    token=order.token,
                    start=start,
                    stop=stop,
                    reason=reason,
                    server_died=processor.server_died,
                )
            )

    stop = processor.limit
    # What damaged it is one of those that have not been reported, and not surely the one that was running.
    damaged = processor.killed_for == KillReason.DAMAGED
    begun = last.phase in (Phase.LOAD, Phase.RUN) and processor.reported <= last.index < stop
    # Which of several files it was that could not be read is seen when each is read by itself.
    together = begun and was_reading_together(processor, last)
    charged = last.index if begun and not stopped and not damaged and not together else None
    whole = charged is None and not together
    rest = min(stop, max(processor.reported, last.index + 1 if whole else last.index))
    if damaged and processor.ended_unheard():
        rest = stop  # all of it has run, and what was reported behind foreign bytes does not count
    # Any of these may have made the writing of its rows deadly, so the driver counts such deaths: what is
    # repeated must come to an end.
    by_itself = not processor.killed_for or processor.killed_for == KillReason.TIMEOUT
    deadly_write = (last.phase == Phase.FLUSH and by_itself) or damaged
    release(processor.reported, rest, ReleaseReason.UNWRITTEN if deadly_write else ReleaseReason.UNFLUSHED)
    if charged is not None:
        found.append(
            charge(processor, order, last, why, settings, processor.page.items())
            if not processor.unreached
            else not_reached(order, charged, why, processor.unreached)
        )
        rest = charged + 1
    # A block that is deadly before it begins would be given out without end: the driver counts these too.
    unbegun = last.phase == Phase.IDLE and rest == order.start and not stopped
    release(rest, stop, ReleaseReason.UNBEGUN if unbegun else ReleaseReason.DIED)
    found.append(BlockEnded(block=order.block, token=order.token))
    processor.order = None
    return found


def was_reading_together(processor: ProcessorHandle, last: Announcement) -> bool:
    """Whether a processor has died of reading files of several mini-batches, as far as is known."""
    if processor.killed_for in (KillReason.STOPPED, KillReason.OVERTAKEN, KillReason.DAMAGED):
        return False
    order = processor.order
    several = order is not None and order.stop - order.start > 1
    return several and last.phase == Phase.LOAD and processor.page.together() > 1


def not_reached(order: BlockOrder, index: int, why: ExitReason, trouble: str) -> Released:
    """Hand back the mini-batch that was running, for its files did not answer: `trouble` says which."""
    return Released(
        block=order.block,
        token=order.token,
        start=index,
        stop=index + 1,
        reason=ReleaseReason.UNREACHED,
        trouble=f"{trouble} ({why.text})",
    )


def charge(
    processor: ProcessorHandle,
    order: BlockOrder,
    last: Announcement,
    why: ExitReason,
    settings: ProcessorSettings,
    announced_items: int,
) -> Flushed:
    """The failed try of the mini-batch that was running; `announced_items`: of the table that it got."""
    index, running = last.index, last.phase == Phase.RUN
    final = order.is_last_try(settings.max_retries)
    items, described = 1, ""
    with contextlib.suppress(Exception):  # a plan that can't be read must not hide the failure
        plan = Plan.open(settings.plan)
        items, described = plan.items(index) or 1, plan.describe(index)
    if settings.tabular and running:
        items = announced_items
    if order.piece is not None:
        items = order.piece[1] - order.piece[0]
        with contextlib.suppress(Exception):
            described = PieceLoader(Plan.open(settings.plan), order.piece).describe(index)
    elapsed = monotonic() - last.since
    record = PACK.pack(
        index, items, 0, items, 0, 0, time() - elapsed, elapsed, elapsed if running else 0.0, 0.0,
        order.tries, processor.number, settings.node, TryStatus.FAILED, why.reason, int(final),
    )  # fmt: skip
    failure = Failure(
        index=index,
        reason=int(why.reason),
        message=why.text,
        trace=read_stacks(settings, processor.number),
        items=described,
        log=str(settings.log_paths.trace(settings.node, processor.number)),
        time=time(),
        final=final,
    )
    return Flushed(
        block=order.block,
        token=order.token,
        part="",
        offset=0,
        length=0,
        crc=0,
        records=record,
        failures=(failure,),
        piece=order.piece,
    )
