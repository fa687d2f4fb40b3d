"""Nodes that were lost: whose last words are waited for, and how many came and went without a mini-batch
being done. Pure bookkeeping.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from daskpar.engine.rules.blame import LOSSES_AT_MOST
from daskpar.engine.rules.members import Member
from daskpar.processor.last_state import LastState


@dataclass(frozen=True)
class Dying:
    """A lost node of which it is not known yet what it was at."""

    node: Member
    running: int
    """How many of its processors were past `init()`."""


@dataclass
class Losses:
    """The losses of one step."""

    dying: dict[str, Dying] = field(default_factory=dict)
    """By address."""
    _new: set[int] = field(default_factory=set)
    """Numbers of the nodes that came since a mini-batch was done last."""
    _fruitless: int = 0
    """Of these, how many were lost."""
    _most: int = 0

    def joined(self, number: int, there: int) -> None:
        """A node has come; `there` are there now."""
        self._new.add(number)
        self._most = max(self._most, there)

    def done(self) -> None:
        """A mini-batch is done."""
        self._new.clear()
        self._fruitless = 0

    def lost(self, address: str, node: Member, running: int) -> None:
        """A node is lost."""
        self.dying[address] = Dying(node, running)

    def known(self, address: str, number: int | None, words: LastState | None) -> Dying | None:
        """What node `number` (None: whichever it was) at `address` was at is known, or never will be; None
        where nobody asks any more.
        """
        found = self.dying.get(address)
        if found is None or number not in (None, found.node.number):
            return None
        del self.dying[address]
        # A cluster that shrinks ends its nodes in order: that takes nobody down. And where a mini-batch ran,
        # its own losses are counted.
        if found.node.number in self._new and not (
            words is not None and (words.orderly or words.running or words.writing)
        ):
            self._fruitless += 1
        return found

    def verdict(self) -> str:
        """One sentence where nodes come and go for nothing, else an empty text: without an end to it, it
        would go on for ever.
        """
        if self._fruitless < max(LOSSES_AT_MOST, 2 * self._most):
            return ""
        return (
            f"{self._fruitless} nodes were lost one after the other, each before any mini-batch was done since it came: import or init() "
            "of the script may take them down, or the cluster ends them; look at the logs of the processors and of the workers"
        )
