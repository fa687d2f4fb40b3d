"""Writes the log tree of each step: passes every event to the watchers that write the logs of its step."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Iterable
from pathlib import Path

from daskpar.events import Event, RunEvent, StepEnded, StepStarted, Watcher
from daskpar.paths import StepPaths, step_path
from daskpar.reports.event_bus import WatcherGroup
from daskpar.reports.failed_mini_batches import FailedMiniBatches
from daskpar.reports.job_report import JobReport
from daskpar.reports.live_state import LiveState
from daskpar.reports.master_role import MasterRole
from daskpar.reports.node_logs import NodeLogs
from daskpar.reports.overview import Overview
from daskpar.reports.resource_log import ResourceLog
from daskpar.reports.user_errors import UserErrors


class LogTree(Watcher):
    """Writes `steps/STEP/logs` of a run directory; a log that can't be written is dropped alone.

    `copy_logs`: names of the steps whose logs are copied to `logs/STEP` of the run directory when they end.
    """

    def __init__(self, run_directory: Path, copy_logs: Collection[str] = ()) -> None:
        self._run = run_directory
        self._copied = frozenset(copy_logs)
        self._steps: dict[str, WatcherGroup] = {}

    def handle(self, event: Event) -> None:
        """Hand the event to the logs of its step; a warning of the run goes to those of all running steps."""
        super().handle(event)  # opens the logs of a step, or closes them
        for logs in self._logs_for(event):
            logs.handle(event)

    def step_started(self, event: StepStarted) -> None:
        self._steps[event.step] = logs_of_step(StepPaths(Path(event.folder)), logging_level(event))

    def step_ended(self, event: StepEnded) -> None:
        logs = self._steps.pop(event.step, None)
        if logs is None:
            return
        logs.handle(event)
        logs.close()
        if event.step in self._copied:
            written = StepPaths(step_path(self._run, event.step)).logs.root
            copy_tree(written, self._run / "logs" / event.step)

    def close(self) -> None:
        for logs in self._steps.values():
            logs.close()

    def _logs_for(self, event: Event) -> Iterable[WatcherGroup]:
        if isinstance(event, RunEvent):
            return ()
        if not event.step:
            return self._steps.values()
        return (self._steps[event.step],) if event.step in self._steps else ()


def logs_of_step(step: StepPaths, level: str) -> WatcherGroup:
    """All watchers that write into one step's log tree; a new report is added here."""
    logs = step.logs
    return WatcherGroup(
        [
            Overview(logs),
            MasterRole(logs, level),
            UserErrors(logs),
            FailedMiniBatches(step),
            NodeLogs(logs, level),
            JobReport(logs, step.plan),
            ResourceLog(logs),
            LiveState(step.progress),
        ]
    )


def logging_level(event: StepStarted) -> str:
    """The step's logging level. In the settings for display, text may follow the level."""
    found = re.search(r"DEBUG|INFO|WARNING", str(event.settings.get("logging_level", "")))
    return found.group() if found else "INFO"


def copy_tree(source: Path, target: Path) -> None:
    """Copy a log tree over an earlier copy of it; a file that still grows is copied as far as it is."""
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
