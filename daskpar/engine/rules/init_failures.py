"""What it means for a step that `init()` keeps failing on one of its nodes: pure bookkeeping."""

from __future__ import annotations

from dataclasses import field

from daskpar.value_classes import mutable

NODES = 3
"""Nodes on which `init()` failed each time, with none on which it ever succeeded, that end the step."""


@mutable
class InitFailures:
    """The nodes of one step, by number, as far as their processors got."""

    _succeeded: set[int] = field(default_factory=set)
    _failed: set[int] = field(default_factory=set)

    def succeeded(self, node: int) -> None:
        """A processor of the node is past `init()`."""
        self._succeeded.add(node)

    def ends(self, node: int, *, others: bool) -> bool:
        """The node gives up, for its `init()` fails each time: whether that ends the step, or leaves the
        node out.

        `others`: whether another node takes part, or could. A node may lack what `init()` needs, so one alone
        never decides while there are others; but a script that fails on several fails everywhere.
        """
        self._failed.add(node)
        return not others or (len(self._failed) >= NODES and not self._succeeded - self._failed)
