"""Tells processors that die with their node from those that die alone, where SIGTERM goes to all at once.

SLURM at a time limit, systemd and others send it to every process of a job. The processors are gone by the
time their node says goodbye, and their mini-batches have not failed.
"""

from __future__ import annotations

import signal

from daskpar.processor.fork_protocol import Exited
from daskpar.processor.processor_handle import ProcessorHandle

GOODBYE_SECONDS = 1.0
"""How long a node that was sent the same signal takes to begin to end, at most."""


class Goodbyes:
    """Processors of one node that SIGTERM from outside has ended, until it is clear what that was."""

    def __init__(self) -> None:
        self._held: list[tuple[float, ProcessorHandle, Exited]] = []

    def holds(self, processor: ProcessorHandle, exited: Exited, now: float) -> bool:
        """Whether this is such an end: `due` gives it when the node has gone on for a while."""
        # Also where a handler of its script's ends it, in the call during which the signal came.
        signalled = processor.page.terminated()
        by_handler = signalled > 0 and signalled >= processor.longest().since
        by_term = exited.status & 0x7F == signal.SIGTERM or by_handler
        if not by_term or processor.killed_for or processor.order is None:
            return False
        self._held.append((now + GOODBYE_SECONDS, processor, exited))
        return True

    def due(self, now: float) -> list[tuple[ProcessorHandle, Exited]]:
        """Those that died alone, after all."""
        if not self._held:
            return []
        found = [(processor, exited) for due, processor, exited in self._held if due <= now]
        self._held = [one for one in self._held if one[0] > now]
        return found
