"""What a reader of a step's log folder opens first: readme, progress over time, the result; and what the
orchestrator did.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

from daskpar.events import (
    Event,
    NodeEvent,
    ProcessorEvent,
    Progress,
    StepEnded,
    StepPlanned,
    StepStarted,
    TriesEnded,
    Warned,
    Watcher,
)
from daskpar.paths import LogPaths, process_name
from daskpar.reports.log_files import COMMAND_README, README, append, replace
from daskpar.reports.rates import Pace, Samples
from daskpar.reports.summary import step_result
from daskpar.reports.wording import (
    clock,
    counts_in_words,
    csv_row,
    duration,
    iso,
    log_line,
    number,
    one_line,
    percent,
    rate,
    size,
    some,
)
from daskpar.results import Counts, Failure

OVERVIEW_SECONDS = 10.0
METRIC_COLUMNS = (
    "Datetime",
    "Total Tasks",
    "Scheduled Tasks",
    "Completed Tasks",
    "Failed Tasks",
    "Elapsed Time",
    "Estimated Remaining Time",
)
"""Of `progress.csv`; a task is a mini-batch; times in seconds."""


class Overview(Watcher):
    """`readme.txt`, `job_progress_overview...`, `metrics/.../progress.csv` and `job_result.txt`."""

    def __init__(self, layout: LogPaths) -> None:
        self._layout = layout
        self._kind = "parallel"
        self._started = 0.0
        self._planned = 0
        self._last: Progress | None = None
        self._shown = float("-inf")
        self._doing = ""
        self._samples = Samples()
        self._metrics: Path | None = None

    def hear(self, event: Event) -> None:
        if isinstance(event, StepStarted):
            self._kind, self._started = event.kind, event.time
            replace(self._layout.readme, COMMAND_README if event.kind == "command" else README)
            replace(self._layout.job_result, "Status: running\n")
            self._say(event.time, f"step {event.step} started")
        elif isinstance(event, StepPlanned):
            self._planned = event.mini_batches
            self._say(event.time, planned_in_words(event))
        elif isinstance(event, Progress):
            self._progress(event)
        elif isinstance(event, StepEnded):
            self._end(event)

    def _progress(self, event: Progress) -> None:
        self._last = event
        self._samples.add(event.time, event.counts.done)
        phase, before = event.doing.split(" ")[0], self._doing.split(" ")[0]
        if event.time - self._shown >= OVERVIEW_SECONDS or phase != before:
            self._doing = event.doing
            self._show(event)

    def _show(self, event: Progress) -> None:
        self._shown = event.time
        planned = event.counts.planned or self._planned
        pace = self._samples.pace(event.time, planned)
        self._say(event.time, overview_line(event, planned, pace))
        if self._kind == "parallel" and planned:
            self._measure(event.time, event.counts, planned, event.running, pace)

    def _measure(self, now: float, counts: Counts, planned: int, running: int, pace: Pace) -> None:
        text = ""
        if self._metrics is None:
            self._metrics = self._layout.metrics(now)
            text = "" if self._metrics.exists() else csv_row(METRIC_COLUMNS)
        left = None if pace.seconds_left is None else f"{pace.seconds_left:.1f}"
        scheduled = min(counts.done + running, planned)
        row = [iso(now), planned, scheduled, counts.done, counts.failed, f"{now - self._started:.1f}", left]
        append(self._metrics, text + csv_row(row))

    def _end(self, event: StepEnded) -> None:
        result = event.result
        counts = result.counts
        if counts.planned and self._kind == "parallel":
            left = 0.0 if counts.done >= counts.planned else None
            self._measure(event.time, counts, counts.planned, 0, Pace(0.0, left))
        words = f": {counts_in_words(counts)}" if counts.planned else ""
        self._say(event.time, f"step {result.step} {result.status} after {duration(result.seconds)}{words}")
        if result.reason:
            self._say(event.time, f"reason: {result.reason}; start with job_result.txt")
        replace(self._layout.job_result, step_result(result, self._kind))

    def _say(self, now: float, text: str) -> None:
        append(self._layout.overview(self._started or now), f"{iso(now)} {one_line(text, 4000)}\n")


def planned_in_words(event: StepPlanned) -> str:
    """What the plan holds: `2,000 mini-batches, 20,000 items, 1.5 GB; 40 done before; on 2 nodes with 8
    processors`.
    """
    parts = [some(event.mini_batches, "mini-batch")]
    parts += [some(event.items, "item")] if event.items is not None else []
    parts += [size(event.size_bytes)] if event.size_bytes is not None else []
    before = [f"{number(event.already_done)} done before"] if event.already_done else []
    where = f"on {some(event.nodes, 'node')} with {some(event.processors, 'processor')}"
    return "; ".join([", ".join(parts), *before, where])


def overview_line(event: Progress, planned: int, pace: Pace) -> str:
    """Progress in a line of the overview."""
    counts = event.counts
    if event.doing:
        return f"{event.doing}; {some(event.running, 'processor')} busy" if event.running else event.doing
    if not counts.done:
        return f"nothing processed yet; {some(event.running, 'processor')} busy"
    parts = [
        f"{number(counts.done)} of {some(planned, 'mini-batch')} processed ({percent(counts.done, planned)})"
    ]
    parts += [f"{number(counts.failed)} failed"] if counts.failed else []
    parts += [f"{number(counts.retried)} retried"] if counts.retried else []
    parts.append(
        some(counts.items, "item")
        + (f" ({number(counts.failed_items)} failed)" if counts.failed_items else "")
    )
    parts += [rate(pace.per_second)] if pace.per_second else []
    parts += [f"{clock(pace.seconds_left)} left"] if pace.seconds_left is not None else []
    return ", ".join(parts)


class MasterRole(Watcher):
    """`sys/master_role.txt`: settings, plan, nodes, processors, warnings, result; at DEBUG each bulk of
    tries.
    """

    def __init__(self, layout: LogPaths, level: str = "INFO") -> None:
        self._layout = layout
        self._level = level

    def hear(self, event: Event) -> None:
        for level, text in master_lines(event):
            if level == "DEBUG" and self._level != "DEBUG":
                continue
            if level == "INFO" and self._level == "WARNING":
                continue
            append(
                self._layout.master_role,
                log_line(event.time, level, os.getpid(), threading.get_ident(), text),
            )


def master_lines(event: Event) -> list[tuple[str, str]]:
    """Level and text of what the orchestrator's log says about an event."""
    if isinstance(event, StepStarted):
        settings = [("INFO", f"setting {name} = {value}") for name, value in event.settings.items()]
        return [("INFO", f"step {event.step} ({event.kind}) started in {event.folder}"), *settings]
    if isinstance(event, StepPlanned):
        return [("INFO", f"planned: {planned_in_words(event)}")]
    if isinstance(event, NodeEvent):
        detail = f": {event.detail}" if event.detail else ""
        return [
            (
                "WARNING" if event.state == "lost" else "INFO",
                f"node {event.node} at {event.address} {event.state}{detail}",
            )
        ]
    if isinstance(event, ProcessorEvent):
        level = "ERROR" if event.state == "init_failed" else "DEBUG"
        detail = f": {event.detail}" if event.detail else ""
        return [
            (level, f"{event.node}/{process_name(event.processor)} (pid {event.pid}) {event.state}{detail}")
        ]
    if isinstance(event, Warned):
        return [("WARNING", event.text)]
    if isinstance(event, TriesEnded):
        failed = sum(isinstance(failure, Failure) for failure in event.failures)
        words = some(len(event.records), "try") + f" committed, {number(failed)} of them failed"
        return [("DEBUG", words)]
    if isinstance(event, StepEnded):
        result = event.result
        lines = [
            (
                "INFO",
                f"step {result.step} {result.status} after {duration(result.seconds)}: {counts_in_words(result.counts)}",
            )
        ]
        return [*lines, ("ERROR", f"reason: {result.reason}")] if result.reason else lines
    return []
