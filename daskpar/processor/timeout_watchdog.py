"""Kills processors that have passed a timeout; what that means for their blocks is decided when they exit."""

from __future__ import annotations

import contextlib
import os
from time import monotonic

from daskpar.processor import linux, timeouts
from daskpar.processor.exit_reasons import KillReason
from daskpar.processor.processor_handle import ProcessorHandle
from daskpar.processor.protocol import ProcessorSettings
from daskpar.processor.shared_page import KILL_PENDING, Announcement, Phase
from daskpar.processor.silent_data import ask_for
from daskpar.processor.stacks import STACK_SIGNAL

STACK_SECONDS = 0.05
"""How long nothing must have come of the stacks of a processor, for them to be whole."""
STACK_PATIENCE = 1.0
"""How long one that is about to be killed gets to write them: on a busy machine it may not run at once."""


class TimeoutWatchdog:
    """The timeouts of the processors of one step on one node."""

    def __init__(self, settings: ProcessorSettings) -> None:
        self._settings = settings

    def check(self, processor: ProcessorHandle, announcement: Announcement, now: float) -> bool:
        """Kill a processor whose time is up; returns whether it goes on."""
        if processor.kill_at is not None and self._has_spoken(processor, now) and self._knows_why(processor):
            processor.kill_at = None
            linux.kill_tree(processor.pid)
        if processor.killed_for or not processor.pid:
            return False
        if timeouts.is_overdue(announcement.phase, announcement.since, now, self._settings):
            self._time_out(processor, announcement)
            return False
        if self._ignores_its_order(processor, announcement, now):
            processor.killed_for = KillReason.DAMAGED
            linux.kill_tree(processor.pid)
            return False
        return True

    def _ignores_its_order(self, processor: ProcessorHandle, last: Announcement, now: float) -> bool:
        # A script that reads from descriptors that are not its own may have taken the order away.
        waiting = last.phase == Phase.IDLE and processor.order is not None
        return waiting and now - last.since > self._settings.overhead_timeout

    def _time_out(self, processor: ProcessorHandle, announcement: Announcement) -> None:
        # The signal for its stacks may interrupt the call that hangs. What the processor reports from here on
        # must not count, so the limit makes it wait for its end before it reports.
        now = processor.page.set_limit(KILL_PENDING)
        if not processor.sighting.is_still(now):
            # It has come back by itself in this very moment.
            processor.page.set_limit(processor.limit)
            return
        self.end(processor, announcement)

    def end(self, processor: ProcessorHandle, announcement: Announcement, index: int | None = None) -> None:
        """Kill a processor whose time is up, once it has had a moment to write its stacks, and the files of
        its mini-batch (`index`, else the one announced) have had one to answer.
        """
        processor.timed_out_at, processor.killed_for = announcement, KillReason.TIMEOUT
        if processor.order is not None and announcement.phase in (Phase.LOAD, Phase.RUN):
            index = announcement.index if index is None else index
            processor.silent = ask_for(self._settings.plan, index)
        processor.kill_at = monotonic()
        if STACK_SIGNAL is not None:
            processor.stacks = self._size_of_stacks(processor)
            with contextlib.suppress(ProcessLookupError):
                os.kill(processor.pid, STACK_SIGNAL)
                processor.kill_at += STACK_PATIENCE
        processor.kill_by = processor.kill_at

    def _has_spoken(self, processor: ProcessorHandle, now: float) -> bool:
        """Whether one that is about to be killed has written its stacks, or its time for that is over."""
        assert processor.kill_at is not None
        if now < processor.kill_at and (size := self._size_of_stacks(processor)) != processor.stacks:
            processor.stacks, processor.kill_at = size, min(processor.kill_by, now + STACK_SECONDS)
        return now >= processor.kill_at

    def _size_of_stacks(self, processor: ProcessorHandle) -> int:
        try:
            return os.stat(self._settings.log_paths.stacks(self._settings.node, processor.number)).st_size
        except OSError:
            return -1

    def _knows_why(self, processor: ProcessorHandle) -> bool:
        """Whether nothing is to be waited for before a processor is killed."""
        if processor.silent is None:
            return True
        trouble = processor.silent.trouble()
        if trouble is None:
            return False
        processor.silent, processor.unreached = None, trouble
        return True
