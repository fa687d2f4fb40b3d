"""Ends processors whose time is up, and the largest one where memory runs out; what that means for their
blocks is told by their exit.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection
from time import monotonic

from daskpar.processor import host, linux, policies
from daskpar.processor.child import Supervised
from daskpar.processor.protocol import ProcessorSettings
from daskpar.processor.resource_usage import free_memory, resident_bytes
from daskpar.processor.shared_page import CONDEMNED, Announced

MEMORY_SECONDS = 0.2
"""How often the memory is looked at."""
STACK_SECONDS = 0.05
"""What a processor that is about to be killed gets to write its stacks."""


class Deadlines:
    """The clocks and the memory of the processors of one step on one node."""

    def __init__(self, settings: ProcessorSettings) -> None:
        self._settings = settings
        self._next_memory = 0.0

    def look(self, processor: Supervised, said: Announced, now: float) -> bool:
        """Kill a processor whose time is up; whether it goes on."""
        if processor.kill_at is not None and now >= processor.kill_at:
            processor.kill_at = None
            linux.kill_tree(processor.pid)
        if processor.killed_for or not processor.pid:
            return False
        if policies.overdue(said.phase, said.since, now, self._settings):
            self._condemn(processor, said)
            return False
        return True

    def look_at_memory(self, processors: Collection[Supervised], now: float) -> None:
        """Kill the largest processor when the node is about to run out of memory."""
        if now < self._next_memory or any(p.killed_for == "memory" for p in processors):
            return  # one at a time: what the last one held may not be free yet
        self._next_memory = now + MEMORY_SECONDS
        available, total = free_memory()
        if available >= policies.MEMORY_FLOOR * total:
            return
        there = {p.number: p for p in processors if p.pid and not p.killed_for}
        victim = policies.memory_victim(
            available, total, {number: held(p.pid) for number, p in there.items()}
        )
        if victim is not None:
            there[victim].killed_for = "memory"
            linux.kill_tree(there[victim].pid)

    def _condemn(self, processor: Supervised, said: Announced) -> None:
        """Its time is up, unless it has come back by itself in this very moment.

        The signal for its stacks may wake what it hangs in: what it says from here on must not count, and it
        waits for its end.
        """
        now = processor.page.set_limit(CONDEMNED)
        if (now.index, now.phase) != (said.index, said.phase):
            processor.page.set_limit(processor.limit)
            return
        processor.doomed, processor.killed_for = said, "timeout"
        if host.STACK_SIGNAL is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(processor.pid, host.STACK_SIGNAL)
                processor.kill_at = monotonic() + STACK_SECONDS
                return
        linux.kill_tree(processor.pid)


def held(pid: int) -> int:
    """Resident memory of a processor and of all that its script has started, in bytes."""
    return sum(map(resident_bytes, [pid, *linux.descendants_of(pid)]))
