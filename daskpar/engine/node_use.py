"""Tells a cluster how many nodes a step can use, and people how many of those are there."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from daskpar.engine.cluster import Cluster
from daskpar.engine.introductions import in_words
from daskpar.engine.rules.allocation import processors_per_node
from daskpar.engine.rules.cluster_size import NodeWait, nodes_for
from daskpar.engine.rules.dispatch import Dispatcher
from daskpar.engine.rules.members import Members

LOOK_SECONDS = 1.0
"""How often it is looked at."""


class NodeUse:
    """The nodes that one step can use; `look` is called in each turn of the driver's loop."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        step: str,
        dispatcher: Dispatcher,
        members: Members,
        say: Callable[[str], None],
    ) -> None:
        self._cluster = cluster
        self._step = step
        self._dispatcher = dispatcher
        self._members = members
        self._say = say
        self._wait = NodeWait(monotonic())
        self._next_look = 0.0
        self._told = ""
        self._silent: set[str] = set()
        """Workers of which it was said that they do not answer."""

    def look(self, now: float) -> None:
        """Look at what is left to do, once a second."""
        if now < self._next_look:
            return
        self._next_look = now + LOOK_SECONDS
        if self._cluster.local:
            self._next_look = float("inf")  # its nodes are there from the start, and stay
            return
        if silent := self._cluster.silent - self._silent:
            self._silent |= silent
            self._say(in_words(silent))
        left = self._dispatcher.waiting + self._dispatcher.due
        wanted = nodes_for(left, self._processors(), self._members.instance_count)
        self._cluster.sizing.want(self._step, wanted)
        asked = self._cluster.sizing.asked
        if said := self._wait.look(asked, len(self._cluster.facts), now):
            self._say(f"{said}; the step goes on with what is here" if self._cluster.facts else said)
        if (trouble := self._cluster.sizing.trouble) and trouble != self._told:
            self._told = trouble
            self._say(f"no further node can be started: {trouble}")

    def _processors(self) -> int:
        """Of one node, as far as that is known."""
        there = list(self._cluster.facts.values())[:1]
        found = processors_per_node(there, self._members.processors_wanted, self._members.shares)
        return next(iter(found.values()), self._members.processors_wanted or 1)

    def end(self) -> None:
        """The step has ended."""
        if not self._cluster.local:
            self._cluster.sizing.release(self._step)
