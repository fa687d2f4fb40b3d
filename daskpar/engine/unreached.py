"""Data that nodes could not reach: whose fault it is, what becomes of the mini-batch, and when it goes on."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import field

from daskpar.engine.rules.dispatch import Dispatcher
from daskpar.engine.rules.outages import Outages, Seconds
from daskpar.engine.try_results import TryResults
from daskpar.processor.protocol import Released
from daskpar.value_classes import mutable

STALLED_SECONDS = 30.0
"""After so long, a node that uploads nothing is left out, where others do upload."""
NO_MINI_BATCH = -1
"""Stands for the mini-batch where none waits to be run again."""


@mutable(kw_only=True)
class UnreachedData:
    """The mini-batches of one step whose data was not reached: held, and let go again in time."""

    dispatcher: Dispatcher
    results: TryResults
    warn: Callable[[str], None]
    outages: Outages = field(default_factory=Outages)
    _warned: set[str] = field(default_factory=set)
    """Nodes of which it was said."""
    _stalled: dict[str, Seconds] = field(default_factory=dict)
    """Nodes that upload nothing -> since when."""
    _reached: dict[str, Seconds] = field(default_factory=dict)
    """Node -> when results of it came last."""

    def released(self, address: str, number: int, released: Released, now: Seconds) -> bool:
        """A node gives back a range whose first mini-batch it could not load; whether that failed.

        It has where its file is certainly not there: nor does this process see it, but the folder it was in.
        """
        index = self.dispatcher.key_of(released.block, released.start)
        tries = self.dispatcher.take_out(released.block, released.token, released.start)
        self.dispatcher.release(released.block, released.token, released.start + 1, released.stop)
        if tries is None:
            return False
        if released.missing and is_gone(released.missing):
            self.results.input_gone(index, number, released.trouble)
            return True
        self.dispatcher.hold(index, tries)
        trouble = released.trouble
        if released.missing and os.path.exists(released.missing):
            trouble = f"{released.missing} is not seen there, and is seen here"
        if self.outages.failed(address, index, trouble, now) and address not in self._warned:
            self._warned.add(address)
            self.warn(
                f"node {address} can't reach its data: {trouble}. No try is charged; "
                "other nodes go on, and this one is asked again"
            )
        return False

    def not_uploaded(self, address: str, trouble: str, now: Seconds) -> bool:
        """A node can't upload what its mini-batches have written; whether that is the node's own trouble."""
        if self.outages.failed(address, NO_MINI_BATCH, trouble, now) and address not in self._warned:
            self._warned.add(address)
            trouble = trouble.rstrip(".")
            self.warn(f"node {address} waits with its outputs: {trouble}. Nothing is charged; it tries again")
        since = self._stalled.setdefault(address, now)
        elsewhere = max((when for node, when in self._reached.items() if node != address), default=since)
        return now - since > STALLED_SECONDS and elsewhere > since

    def reached(self, address: str, now: Seconds = 0.0) -> None:
        """A mini-batch was loaded on a node, and what it has written is where it belongs."""
        self._reached[address] = now
        self._stalled.pop(address, None)
        if self.outages.any and self.outages.reached(address):
            self.warn(f"node {address} reaches its data again")
            self._warned.discard(address)

    def let_go(self, now: Seconds) -> None:
        """Queue what has waited long enough, and say which nodes get nothing now."""
        if self.outages.any or self.dispatcher.paused:
            for index in self.outages.due(now):
                self.dispatcher.let_go(index)
            self.dispatcher.paused = self.outages.paused(now)


def is_gone(path: str) -> bool:
    """Whether a file is certainly not there: it is not seen, and the folder in which it was is."""
    return not os.path.exists(path) and os.path.isdir(os.path.dirname(path))
