"""Tells a broken node from bad mini-batches, by what succeeds elsewhere of what has failed there: pure.

A processor that is broken is replaced by its node. A node on which fresh processes fail too (a lost GPU, a
missing mount or library) is known by this: what fails there succeeds on other nodes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field

from daskpar.results import TryStatus
from daskpar.value_classes import mutable

PROOFS = 3
"""Mini-batches that failed on a node and succeeded on another one, since the node last succeeded at any."""
ROW = 10
"""Mini-batches that fail on a node in a row while none fails elsewhere: enough without proofs, of which there
are none where nothing is tried again.
"""
ROW_PER_PROCESSOR = 4
MOST_KEPT = 10_000
"""Mini-batches of a row that are remembered."""


@mutable
class NodeRecord:
    """How the calls on one node have ended since it last succeeded."""

    row: set[int] = field(default_factory=set)
    """Mini-batches that failed."""
    proofs: int = 0
    """Those of them that then succeeded elsewhere."""
    others_done: int = 0
    """Mini-batches that succeeded elsewhere meanwhile."""
    others_failed: int = 0


@mutable
class NodeHealth:
    """The nodes of one step, by address. Only those in a row of failures are kept."""

    _failing: dict[str, NodeRecord] = field(default_factory=dict)

    def ended(self, node: str, tries: Iterable[tuple[int, int]]) -> None:
        """Count tries of a node: (mini-batch, `TryStatus`)."""
        for index, status in tries:
            if status == TryStatus.SUCCEEDED:
                self._failing.pop(node, None)
                for other in self._failing.values():
                    other.others_done += 1
                    other.proofs += index in other.row
            elif status == TryStatus.FAILED:
                for name, other in self._failing.items():
                    other.others_failed += name != node
                row = self._failing.setdefault(node, NodeRecord()).row
                if len(row) < MOST_KEPT:
                    row.add(index)

    @property
    def failing(self) -> list[str]:
        """The nodes that are in a row of failures; where there are none, successes need not be told."""
        return list(self._failing)

    def is_broken(self, node: str, processors: int) -> bool:
        """Whether a node with so many processors is better left out."""
        record = self._failing.get(node)
        if record is None or not record.others_done:
            return False
        if record.proofs >= PROOFS:
            return True
        row = len(record.row)
        return (
            row >= max(ROW, ROW_PER_PROCESSOR * processors)
            and not record.others_failed
            and record.others_done >= row
        )

    def failing_of(self, node: str) -> int:
        """How many mini-batches have failed on a node since it last succeeded at any."""
        record = self._failing.get(node)
        return 0 if record is None else len(record.row)

    def forget(self, node: str) -> None:
        """A node takes no more part."""
        self._failing.pop(node, None)
