"""When a step has waited long enough: pure, fed with times on one monotonic clock."""

from __future__ import annotations

from dataclasses import dataclass

Seconds = float


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a step waits for what."""

    progress: Seconds
    """`progress_update_timeout`: without any word of progress from the processors."""
    nodes: Seconds = 300.0
    """Without any node, for the cluster to bring a new one."""
    stopping: Seconds = 15.0
    """For the nodes to end their blocks after they were told to stop."""


def progress_timeout(*, given: Seconds | None, run: Seconds, overhead: Seconds, init: Seconds) -> Seconds:
    """`progress_update_timeout`, or three times what one mini-batch may take, and never less than one
    `init()` before it may take.
    """
    return given if given is not None else max(3 * (run + overhead), init + run + overhead)


@dataclass(kw_only=True)
class Waiting:
    """Since when a step has been waiting for something; None: it is not."""

    progress_since: Seconds
    nodes_since: Seconds | None = None
    stopping_since: Seconds | None = None

    def overdue(self, now: Seconds, patience: Patience) -> str:
        """Which patience is used up at `now`: `stopping`, `nodes`, `progress`, or empty."""
        if self.stopping_since is not None:
            return "stopping" if now - self.stopping_since > patience.stopping else ""
        if self.nodes_since is not None and now - self.nodes_since > patience.nodes:
            return "nodes"
        if self.nodes_since is None and now - self.progress_since > patience.progress:
            return "progress"
        return ""
