"""Counts lost nodes, and decides when a step gives up because of them: pure bookkeeping.

What the loss of one node means for the mini-batches that ran there is decided in `blame` and `dispatch`.
"""

from __future__ import annotations

from dataclasses import field

from daskpar.engine.rules.blame import LOSSES_AT_MOST
from daskpar.engine.rules.members import Member
from daskpar.processor.last_state import LastState
from daskpar.value_classes import frozen, mutable


@frozen
class LostNode:
    """A lost node of which it is not known yet what it was running."""

    node: Member
    ready: int
    """How many of its processors were past `init()`."""


@mutable
class NodeLosses:
    """The lost nodes of one step."""

    awaited: dict[str, LostNode] = field(default_factory=dict)
    """By address: lost nodes whose last state (what they were running) is not known yet."""
    _new: set[int] = field(default_factory=set)
    """Numbers of the nodes that joined since a mini-batch was done last."""
    _fruitless: int = 0
    """How many of these were lost."""
    _most: int = 0
    """The most nodes that there were at a time."""

    def node_joined(self, number: int, there: int) -> None:
        """Node `number` has joined; `there` nodes take part now."""
        self._new.add(number)
        self._most = max(self._most, there)

    def mini_batch_done(self) -> None:
        """A mini-batch has ended: the nodes have done something, so counting starts again."""
        self._new.clear()
        self._fruitless = 0

    def node_lost(self, address: str, node: Member, ready: int) -> None:
        """`node`, with `ready` processors past `init()`, is lost; its last state is looked for now."""
        self.awaited[address] = LostNode(node, ready)

    def last_state_known(
        self, address: str, number: int | None, last_state: LastState | None
    ) -> LostNode | None:
        """The lost node at `address`, once its last state is known or will never be (`last_state` None).

        `number` is that of the node that was asked about, None for whichever was lost there. None where this
        node is not awaited, or no longer.
        """
        found = self.awaited.get(address)
        if found is None or number not in (None, found.node.number):
            return None
        del self.awaited[address]
        # A cluster that shrinks ends its nodes in order: nothing took them down. And where a mini-batch was
        # running, the losses of that mini-batch are counted instead.
        if found.node.number in self._new and not (
            last_state is not None and (last_state.orderly or last_state.running or last_state.writing)
        ):
            self._fruitless += 1
        return found

    def verdict(self) -> str:
        """One sentence where nodes come and are lost without ending a mini-batch, else an empty text."""
        # Without this end, a script that takes down each node before `run()` would go on for ever. All nodes
        # of a large cluster may be lost once, and come again, before it counts as hopeless.
        if self._fruitless < max(LOSSES_AT_MOST, 2 * self._most):
            return ""
        return (
            f"{self._fruitless} nodes were lost one after the other, each before any mini-batch was done "
            "since it came: import or init() of the script may take them down, or the cluster ends them; "
            "look at the logs of the processors and of the workers"
        )
