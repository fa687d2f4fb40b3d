"""Ends the blocks of a processor that has died with many calls in flight.

Where it is certain which call was to blame, that one is charged, and the others run again. Where it is not,
all that were in flight run again without charge, in smaller groups (`in_flight_dispatch`), down to one alone.
"""

from __future__ import annotations

from dataclasses import replace

from daskpar.processor.exit_reasons import ExitReason, KillReason
from daskpar.processor.in_flight.in_flight_given import ranges
from daskpar.processor.lost_blocks import charge, not_reached
from daskpar.processor.processor_handle import ProcessorHandle
from daskpar.processor.protocol import (
    BlockEnded,
    BlockOrder,
    LogMessage,
    Message,
    ProcessorSettings,
    Released,
    ReleaseReason,
)
from daskpar.processor.shared_page import Announcement, Phase
from daskpar.processor.slot_page import SlotPage
from daskpar.results import Reason


def charge_and_requeue_all(
    processor: ProcessorHandle, last: Announcement, why: ExitReason, settings: ProcessorSettings
) -> list[Message]:
    """Charge what was to blame and give everything else back, as messages. It has no block afterwards.

    `last`: what its loop announced last; `why`: why it has died.
    """
    state, page = processor.in_flight, processor.page
    assert state is not None and isinstance(page, SlotPage)
    state.begun(page.begun)
    slots = {one.index: (one, items) for one, items in page.in_flight()}
    flying = {
        block: sorted(given.due & slots.keys() - set(state.not_begun(block)))
        for block, given in state.blocks.items()
    }
    among = sum(map(len, flying.values()))
    guilty = _guilty(processor, last, flying, among)
    why = _in_words(why, processor, last, settings)
    stopped = processor.killed_for == KillReason.STOPPED
    damaged = processor.killed_for == KillReason.DAMAGED
    writing = last.phase == Phase.FLUSH and not stopped
    certain = guilty is not None or writing or stopped
    of_flying = (
        ReleaseReason.UNFLUSHED if stopped else ReleaseReason.BESIDE if certain else ReleaseReason.IN_FLIGHT
    )
    of_ended = ReleaseReason.UNWRITTEN if writing or damaged else ReleaseReason.UNFLUSHED
    found: list[Message] = []
    unbegun = last.phase == Phase.IDLE and not among and not stopped
    for block, given in state.blocks.items():
        order = given.order
        if guilty is not None and guilty[0] == block and guilty[1] in given.due:
            at, items = slots[guilty[1]]
            if processor.unreached:
                found.append(not_reached(order, guilty[1], why, processor.unreached))
            else:
                charged = charge(processor, order, at, why, settings, items)
                if state.unheeded is not None and state.unheeded.trace:
                    failure = replace(charged.failures[0], trace=state.unheeded.trace)
                    charged = replace(charged, failures=(failure,))
                found.append(charged)
            given.due.discard(guilty[1])
        waits = given.due.intersection(state.not_begun(block))
        fly = given.due.intersection(flying[block])
        for indices, reason in (
            (given.due - fly - waits, of_ended),
            (fly, of_flying),
            (waits, ReleaseReason.UNBEGUN if unbegun else ReleaseReason.DIED),
        ):
            found += _released(order, sorted(indices), reason, among, server_died=processor.server_died)
        found.append(BlockEnded(block=block, token=order.token))
        unbegun = False
    if among > 1 and not certain:
        found.insert(0, LogMessage(level="warning", text=_of_suspects(why, flying)))
    state.blocks.clear()
    processor.order = None
    return found


def _guilty(
    processor: ProcessorHandle, last: Announcement, flying: dict[int, list[int]], among: int
) -> tuple[int, int] | None:
    """Block and mini-batch that are to blame; None where that is not certain."""
    state = processor.in_flight
    assert state is not None
    if processor.killed_for == KillReason.STOPPED or last.phase == Phase.FLUSH:
        return None
    if processor.killed_for == KillReason.TIMEOUT:
        if state.unheeded is not None:
            return state.unheeded.block, state.unheeded.index
        stepping = [(block, last.index) for block, indices in flying.items() if last.index in indices]
        if stepping:
            return stepping[0]
    if among == 1 and processor.killed_for != KillReason.DAMAGED:
        return next((block, indices[0]) for block, indices in flying.items() if indices)
    return None


def _in_words(
    why: ExitReason, processor: ProcessorHandle, last: Announcement, settings: ProcessorSettings
) -> ExitReason:
    if processor.killed_for != KillReason.TIMEOUT or last.phase == Phase.FLUSH:
        return why
    unheeded = processor.in_flight.unheeded if processor.in_flight is not None else None
    limit = f"{settings.run_timeout:g} s (retry_settings.timeout)"
    if unheeded is not None and unheeded.loading:
        limit = f"{settings.overhead_timeout:g} s (task_overhead_timeout)"
        text = f"loading took longer than {limit}; the processor was killed"
        return ExitReason(Reason.LOAD_TIMEOUT, text)
    if unheeded is not None and settings.azure_async:
        text = f"get_finished_batch_result() did not give it back in {limit}; the processor was killed"
    elif unheeded is not None:
        text = f"run() took longer than {limit}, and went on after it was cancelled; the processor was killed"
    else:
        text = f"run() kept the event loop from going on for longer than {limit}; the processor was killed"
    return ExitReason(Reason.TIMEOUT, text)


def _of_suspects(why: ExitReason, flying: dict[int, list[int]]) -> str:
    indices = sorted(index for indices in flying.values() for index in indices)
    shown = ", ".join(map(str, indices[:10])) + (", ..." if len(indices) > 10 else "")
    return (
        f"{why.text}, with {len(indices)} mini-batches in flight ({shown}): they run again without charge, "
        "few at a time, to find the one that did it"
    )


def _released(
    order: BlockOrder, indices: list[int], reason: ReleaseReason, among: int, *, server_died: bool
) -> list[Message]:
    return [
        Released(
            block=order.block,
            token=order.token,
            start=start,
            stop=stop,
            reason=reason,
            among=among if reason is ReleaseReason.IN_FLIGHT else 0,
            server_died=server_died,
        )
        for start, stop in ranges(indices)
    ]
