"""The node's side of the rate limit: says how many of its processors ask for calls, and takes its share."""

from __future__ import annotations

from daskpar.processor.processor_set import ProcessorSet
from daskpar.processor.protocol import ProcessorSettings, RateAsked

ASKED_SECONDS = 1.0
"""A processor that has asked so lately is one that asks."""
LOOK_SECONDS = 0.25


class RateWatch:
    """Of one step on one node."""

    def __init__(self, settings: ProcessorSettings, processors: ProcessorSet) -> None:
        self._node = settings.node
        self._processors = processors
        self._next_look = 0.0
        self._told = 0

    def grant(self, rate: float) -> None:
        """The node's share is `rate` calls a second from now on."""
        if self._processors.rate_page is not None:
            self._processors.rate_page.set_rate(rate)

    def look(self, now: float) -> RateAsked | None:
        """What to tell at `now` (monotonic); None where nothing has changed, or it is too early to look."""
        page = self._processors.rate_page
        # The first one that asks waits for nobody's look.
        if page is None or (now < self._next_look and self._told):
            return None
        self._next_look = now + LOOK_SECONDS
        asking = page.asking(now - ASKED_SECONDS)
        if asking == self._told:
            return None
        self._told = asking
        return RateAsked(node=self._node, processors=asking)
