"""Says when a worker is taken for frozen, by the heartbeats that Dask's scheduler has of it: pure."""

from __future__ import annotations

from daskpar.value_classes import mutable

LEAST_SECONDS = 10.0
"""Without a heartbeat, however often they are due: a worker may import for some seconds."""
BEATS = 10
"""How many heartbeats have to be missing, where they come more seldom."""
LOOKS = 2
"""How often that has to be found: a scheduler that has stood still itself has heard of nobody."""


def is_long(since: float, interval: float) -> bool:
    """Whether a worker is silent for long; arguments as of `Silence.look`."""
    return since >= max(LEAST_SECONDS, BEATS * interval)


@mutable
class Silence:
    """What was seen of one worker."""

    _looks: int = 0

    def look(self, since: float, interval: float) -> bool:
        """Whether it is frozen, as far as one can tell. `since`: seconds since its last heartbeat, which are
        due each `interval` seconds.
        """
        self._looks = self._looks + 1 if is_long(since, interval) else 0
        return self._looks >= LOOKS
