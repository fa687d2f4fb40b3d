"""What the end of a processor means for its block, as messages: which mini-batch is charged, what goes back
to the queue.
"""

from __future__ import annotations

import contextlib
from time import monotonic, time

from daskpar.batches.plan import Plan
from daskpar.batches.records import PACK
from daskpar.processor.child import Supervised
from daskpar.processor.host import TRACE_CHARACTERS
from daskpar.processor.policies import Ending
from daskpar.processor.protocol import BlockOrder, Ended, Flushed, Message, ProcessorSettings, Released
from daskpar.processor.shared_page import Announced, Phase
from daskpar.processor.stacks import readable
from daskpar.results import Failure, InitFailed, TryStatus


def bury(processor: Supervised, said: Announced, end: Ending, settings: ProcessorSettings) -> list[Message]:
    """A processor has died with a block: charge the mini-batch that was running, give everything else back.
    It has no block then.
    """
    order = processor.order
    assert order is not None
    found: list[Message] = []
    block, token, stop = order.block, order.token, processor.limit
    begun = said.phase in (Phase.LOAD, Phase.RUN) and processor.reported <= said.index < stop
    charged = said.index if begun and processor.killed_for != "stopped" else None
    behind = min(stop, max(processor.reported, said.index if charged is not None else said.index + 1))
    if processor.reported < behind:
        # Whichever of them made the writing of its rows deadly: what happens again and again must come to an
        # end.
        why = "unwritten" if said.phase == Phase.FLUSH and not processor.killed_for else "unflushed"
        found.append(Released(block=block, token=token, start=processor.reported, stop=behind, reason=why))
    rest = behind
    if charged is not None:
        found.append(_charge(processor, order, said, end, settings))
        rest = charged + 1
    if rest < stop:
        # A block that is deadly before it begins would be given out without end.
        unbegun = said.phase == Phase.IDLE and rest == order.start and processor.killed_for != "stopped"
        found.append(
            Released(block=block, token=token, start=rest, stop=stop, reason="unbegun" if unbegun else "died")
        )
    found.append(Ended(block=block, token=token))
    processor.order = None
    return found


def _charge(
    processor: Supervised, order: BlockOrder, said: Announced, end: Ending, settings: ProcessorSettings
) -> Flushed:
    """The failed try of the mini-batch that was running."""
    index, running = said.index, said.phase == Phase.RUN
    final = order.tries >= settings.max_retries
    items, described = 1, ""
    with contextlib.suppress(Exception):
        plan = Plan.open(settings.plan)
        items, described = plan.items(index) or 1, plan.describe(index)
    if settings.tabular and running:
        items = processor.page.items()
    elapsed = monotonic() - said.since
    record = PACK.pack(
        index, items, 0, items, 0, 0, time() - elapsed, elapsed, elapsed if running else 0.0, 0.0,
        order.tries, processor.number, settings.node, TryStatus.FAILED, end.reason, int(final),
    )  # fmt: skip
    failure = Failure(
        index=index,
        reason=int(end.reason),
        message=end.text,
        trace=stacks(processor, settings),
        items=described,
        log=log_of(processor, settings),
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
    )


def init_failed(
    processor: Supervised, message: str, trace: str, settings: ProcessorSettings, *, fatal: bool
) -> InitFailed:
    """Import or `init()` did not succeed; nobody is charged."""
    return InitFailed(
        node=settings.node,
        processor=processor.number,
        message=message,
        trace=trace,
        log=log_of(processor, settings),
        time=time(),
        fatal=fatal,
    )


def log_of(processor: Supervised, settings: ProcessorSettings) -> str:
    """Where its stderr goes."""
    return str(settings.log_paths.stderr(settings.node, processor.number))


def stacks(processor: Supervised, settings: ProcessorSettings) -> str:
    """Where its threads were when it was killed or crashed; empty where it ended otherwise."""
    try:
        with open(settings.log_paths.stacks(settings.node, processor.number), errors="replace") as file:
            return readable(file.read()[-TRACE_CHARACTERS:])
    except OSError:
        return ""
