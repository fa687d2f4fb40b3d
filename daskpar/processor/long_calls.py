"""Notices calls that take long, for who watches: a message when one begins to, and when it is over."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from time import time

from daskpar.events import LongCall
from daskpar.processor import timeouts
from daskpar.processor.processor_handle import ProcessorHandle
from daskpar.processor.protocol import LongCalls, ProcessorSettings
from daskpar.processor.shared_page import Announcement, Phase

LONG_SECONDS = 2.0
"""From then on a call is worth telling of: no step of short calls ever sends a message."""
LOOK_SECONDS = 0.5
"""How often processors are looked at."""
_DOING = {Phase.INIT: "init", Phase.LOAD: "loading", Phase.RUN: "run"}


class LongCallWatch:
    """Watches the processors of one step on one node."""

    def __init__(self, settings: ProcessorSettings) -> None:
        self._settings = settings
        self._next_look = 0.0
        self._told: tuple[LongCall, ...] = ()

    def look(self, processors: Iterable[ProcessorHandle], now: float) -> LongCalls | None:
        """What to tell at `now` (monotonic); None where nothing has changed, or it is too early to look."""
        if now < self._next_look:
            return None
        self._next_look = now + LOOK_SECONDS
        found, wall = [], time()
        for processor in processors:
            if not processor.killed_for and not processor.finishing:
                call = long_call(processor, processor.longest(), now, self._settings)
                if call is not None:
                    found.append(replace(call, since=wall - (now - call.since)))
        known, self._told = self._told, tuple(found)
        same = [(call.processor, call.doing, call.index, call.tries) for call in known]
        if same == [(call.processor, call.doing, call.index, call.tries) for call in found]:
            return None
        return LongCalls(node=self._settings.node, time=wall, calls=self._told)


def long_call(
    processor: ProcessorHandle, last: Announcement, now: float, settings: ProcessorSettings
) -> LongCall | None:
    """What a processor that announced `last` has been doing for a while, its time on the monotonic clock."""
    if last.phase not in _DOING or now - last.since < LONG_SECONDS:
        return None
    return LongCall(
        processor=processor.number,
        doing=_DOING[Phase(last.phase)],
        index=last.index,
        since=last.since,
        limit=timeouts.time_limit(last.phase, settings),
        tries=processor.order.tries if processor.order is not None else 0,
    )
