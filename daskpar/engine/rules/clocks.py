"""Decides when a step has waited too long (its timeouts): pure, gets the times of one monotonic clock."""

from __future__ import annotations

from daskpar.value_classes import frozen, mutable

Seconds = float


@frozen(kw_only=True)
class Timeouts:
    """How long a step waits for what."""

    progress: Seconds
    """`progress_update_timeout`: without any progress of the processors."""
    nodes: Seconds = 300.0
    """Without any node, for the cluster to bring a new one."""
    left_out: Seconds = 60.0
    """The same where nodes are there, and none has been able to take part: a new one may lack the same."""
    outage: Seconds = 300.0
    """Without any mini-batch whose data can be reached."""
    stopping: Seconds = 15.0
    """For the nodes to end their blocks after they were told to stop."""


def progress_timeout(*, chosen: Seconds | None, run: Seconds, overhead: Seconds, init: Seconds) -> Seconds:
    """`progress_update_timeout`: what the user has `chosen`, else what follows from the other timeouts.

    That is three times what one mini-batch may take, and never less than one `init()` and a mini-batch.
    """
    return chosen if chosen is not None else max(3 * (run + overhead), init + run + overhead)


@mutable(kw_only=True)
class StepClocks:
    """Since when a step has been waiting for something; None: it is not waiting for that."""

    progress_since: Seconds
    nodes_since: Seconds | None = None
    none_can: bool = False
    """Whether there are nodes meanwhile, each of which had to be left out."""
    stopping_since: Seconds | None = None
    any_result: bool = False
    """Whether any mini-batch has ended."""

    def result_came(self, now: Seconds) -> None:
        """A processor has reported ended mini-batches."""
        self.progress_since = now
        self.any_result = True

    def processor_ready(self, now: Seconds) -> None:
        """A processor is past `init()`."""
        # Once mini-batches have run, processors that come and go without one are no progress.
        if not self.any_result:
            self.progress_since = now

    def node_came(self, now: Seconds) -> None:
        """A node has started its processors."""
        if not self.any_result:
            self.progress_since = now
        elif self.nodes_since is not None:
            # While there was no node, nobody could make progress: that time does not count.
            self.progress_since += now - self.nodes_since
        self.nodes_since = None

    def nodes_limit(self, timeouts: Timeouts) -> Seconds:
        """How long a step waits for a node."""
        short = self.none_can and not self.any_result
        return min(timeouts.nodes, timeouts.left_out) if short else timeouts.nodes

    def wait_for_node(self, timeouts: Timeouts, *, in_process: bool) -> str:
        """What is waited for when no node is there, and how long."""
        limit = f"up to {self.nodes_limit(timeouts):g} s"
        if in_process:
            return f"the node in this process does not answer; waiting for it ({limit})"
        what = "no node is left; waiting for the cluster to bring a new one"
        return f"{what} ({limit}; a worker may be started by hand)"

    def overdue(self, now: Seconds, timeouts: Timeouts) -> str:
        """Which of `timeouts` is over at `now`: `stopping`, `nodes`, `progress`, or an empty text."""
        if self.stopping_since is not None:
            return "stopping" if now - self.stopping_since > timeouts.stopping else ""
        if self.nodes_since is not None and now - self.nodes_since > self.nodes_limit(timeouts):
            return "nodes"
        if self.nodes_since is None and now - self.progress_since > timeouts.progress:
            return "progress"
        return ""
