"""Shares a rate of calls among the nodes of a step: pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from daskpar.value_classes import mutable

Rate = float
"""Calls a second."""


def shares(rate: Rate, asking: Mapping[str, int]) -> dict[str, Rate]:
    """What each node may do: by the number of its processors that ask for calls just now.

    A node that asks for none gets none, so that what is left at the end of a step has the whole rate.
    """
    total = sum(asking.values())
    return {node: rate * number / total if total else 0.0 for node, number in asking.items()}


@mutable
class RateShares:
    """The nodes of one step, as they ask."""

    rate: Rate
    _asking: dict[str, int] = field(default_factory=dict)
    _granted: dict[str, Rate] = field(default_factory=dict)

    def asks(self, node: str, processors: int) -> dict[str, Rate]:
        """So many processors of a node ask for calls from now on; the grants that change by that.

        What gets smaller comes first, so that the sum is never above the rate for long.
        """
        self._asking[node] = processors
        return self._changed()

    def lost(self, node: str) -> dict[str, Rate]:
        """A node is gone; the grants that change by that."""
        if self._asking.pop(node, None) is None:
            return {}
        return self._changed()

    def _changed(self) -> dict[str, Rate]:
        new = shares(self.rate, self._asking)
        changed = {node: share for node, share in new.items() if share != self._granted.get(node, 0.0)}
        rises = {node: share - self._granted.get(node, 0.0) for node, share in changed.items()}
        self._granted = new
        return dict(sorted(changed.items(), key=lambda item: rises[item[0]]))
