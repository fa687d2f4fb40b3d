"""When data can't be reached: how long a node and a mini-batch wait, and when it has lasted too long.

Pure, fed with times on one monotonic clock. Not to reach data is nobody's try: what could not be loaded waits
and goes to other nodes first; a node that fails waits longer each time, until something is reached from it.
"""

from __future__ import annotations

from dataclasses import field

from daskpar.value_classes import mutable

Seconds = float

FIRST_PAUSE: Seconds = 0.5
LONGEST_PAUSE: Seconds = 15.0
"""Also how much later than the data a step may come back."""


def pause(failures: int) -> Seconds:
    """How long to wait after so many failures in a row (1 or more): twice as long each time."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 16))


@mutable
class _Backoff:
    failures: int = 0
    until: Seconds = float("-inf")

    def fail(self, now: Seconds) -> None:
        if now >= self.until:  # several processors of a node fail at one time: that counts once
            self.failures += 1
            self.until = now + pause(self.failures)


@mutable
class Outages:
    """What of a step could not be reached, and from where."""

    since: Seconds | None = None
    """Since when nothing was reached; None while something is."""
    trouble: str = ""
    """What stood in the way last."""
    _nodes: dict[str, _Backoff] = field(default_factory=dict)
    _mini_batches: dict[int, _Backoff] = field(default_factory=dict)
    _waiting: set[int] = field(default_factory=set)

    def failed(self, node: str, index: int, trouble: str, now: Seconds) -> bool:
        """Mini-batch `index` was not loaded on `node`, because of `trouble`; whether that is new of the node.

        It waits from now on, until `due` says its number.
        """
        self.trouble = trouble
        if self.since is None:
            self.since = now
        new = node not in self._nodes
        self._nodes.setdefault(node, _Backoff()).fail(now)
        self._mini_batches.setdefault(index, _Backoff()).fail(now)
        self._waiting.add(index)
        return new

    def reached(self, node: str) -> bool:
        """A mini-batch was loaded on `node`; whether that ends a failure of this node."""
        self.since = None
        return self._nodes.pop(node, None) is not None

    def due(self, now: Seconds) -> list[int]:
        """Mini-batches that have waited long enough, each said once."""
        found = sorted(index for index in self._waiting if now >= self._mini_batches[index].until)
        self._waiting.difference_update(found)
        return found

    def paused(self, now: Seconds) -> set[str]:
        """Nodes that get nothing now."""
        return {node for node, backoff in self._nodes.items() if now < backoff.until}

    def lasts(self, now: Seconds, limit: Seconds) -> bool:
        """Whether nothing was reached for `limit`."""
        return self.since is not None and now - self.since >= limit

    @property
    def any(self) -> bool:
        """Whether some node has failed and is not known to be well again."""
        return bool(self._nodes or self._waiting)
