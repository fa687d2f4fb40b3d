"""The log tree of each step: gives every event to the writers of the step that it belongs to."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection
from pathlib import Path

from daskpar.events import Event, Group, RunEnded, RunStarted, StepEnded, StepStarted, Warned, Watcher
from daskpar.paths import LogPaths, StepPaths, step_path
from daskpar.reports.job_report import JobReport
from daskpar.reports.node_logs import NodeLogs
from daskpar.reports.overview import MasterRole, Overview
from daskpar.reports.resource_log import Resources
from daskpar.reports.user_errors import UserErrors


class LogTree(Watcher):
    """Writes `steps/STEP/logs` of a run directory; a writer that fails is dropped alone.

    `copy_logs`: names of the steps whose logs are copied to `logs/STEP` of the run directory when they end.
    """

    def __init__(self, run_directory: Path, copy_logs: Collection[str] = ()) -> None:
        self._run = run_directory
        self._copied = frozenset(copy_logs)
        self._steps: dict[str, Group] = {}

    def hear(self, event: Event) -> None:
        if isinstance(event, RunStarted | RunEnded):
            return
        if isinstance(event, StepStarted):
            self._steps[event.step] = writers(StepPaths(Path(event.folder)).logs, logging_level(event))
        if isinstance(event, Warned) and not event.step:
            for group in self._steps.values():
                group.hear(event)
            return
        group_of_step = self._steps.get(event.step)
        if group_of_step is None:
            return
        group_of_step.hear(event)
        if isinstance(event, StepEnded):
            group_of_step.close()
            del self._steps[event.step]
            if event.step in self._copied:
                copy_tree(
                    StepPaths(step_path(self._run, event.step)).logs.root, self._run / "logs" / event.step
                )

    def close(self) -> None:
        for group in self._steps.values():
            group.close()


def writers(layout: LogPaths, level: str) -> Group:
    """Everything that writes into one step's log tree."""
    return Group(
        [
            Overview(layout),
            MasterRole(layout, level),
            UserErrors(layout),
            NodeLogs(layout, level),
            JobReport(layout),
            Resources(layout),
        ]
    )


def logging_level(event: StepStarted) -> str:
    """The step's logging level; its shown settings may say beside the value where it came from."""
    found = re.search(r"DEBUG|INFO|WARNING", str(event.settings.get("logging_level", "")))
    return found.group() if found else "INFO"


def copy_tree(source: Path, target: Path) -> None:
    """Copy a log tree over an earlier copy of it; a processor's file that is still written to is copied as
    far as it is.
    """
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
