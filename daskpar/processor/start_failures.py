"""Counts what goes wrong before a processor is ready: when to try again, and when to give up."""

from __future__ import annotations

from time import monotonic, time

from daskpar.processor.protocol import ProcessorSettings
from daskpar.results import InitFailed

INIT_FAILURES = 3
"""Times processors: failures of `init()` in a row, with none that succeeded, that end the step."""
SERVER_DEATHS = 3
"""Deaths of fork servers in a row, with no processor that got ready between, with which a node gives up."""
PAUSE_SECONDS = 0.2
"""From a failure to the next start of a processor."""


def too_many_init_failures(in_a_row: int, processors: int) -> bool:
    """Whether to stop starting processors on this node."""
    return in_a_row >= INIT_FAILURES * processors


class StartFailures:
    """The failures of one step on one node, in a row."""

    def __init__(self, settings: ProcessorSettings) -> None:
        self._settings = settings
        self._inits = 0
        self._server_deaths = 0
        self._next_start = 0.0
        self._was_ready = False

    def may_start(self) -> bool:
        """Whether the pause after the last failure is over."""
        return monotonic() >= self._next_start

    def processor_ready(self) -> None:
        """An `init()` has returned: the row is broken."""
        self._inits = self._server_deaths = 0
        self._was_ready = True

    def server_died(self) -> bool:
        """Count the death of a fork server; returns whether these are too many."""
        self._server_deaths += 1
        return self._server_deaths >= SERVER_DEATHS

    def pause(self) -> None:
        """Start nothing for a moment."""
        self._next_start = monotonic() + PAUSE_SECONDS

    def init_failed(self, processor: int, message: str, trace: str, *, certain: bool = False) -> InitFailed:
        """Count a failure of import or `init()`, for which no mini-batch is charged; the message of it.

        `certain`: another try would end the same way; so unless a processor of this node got ready before.
        """
        self._inits += 1
        self.pause()
        settings = self._settings
        certain = certain and not self._was_ready
        fatal = certain or too_many_init_failures(self._inits, settings.processors)
        if fatal and not certain:
            message = f"{message} ({self._inits} times in a row on node {settings.node})"
        return InitFailed(
            node=settings.node,
            processor=processor,
            message=message,
            trace=trace,
            log=str(settings.log_paths.trace(settings.node, processor)),
            time=time(),
            fatal=fatal,
        )
