"""What a reader of a step's log folder opens first: readme, progress over time, and the result."""

from __future__ import annotations

from pathlib import Path

from daskpar.events import (
    ProcessorEvent,
    ProcessorState,
    Progress,
    StepEnded,
    StepKind,
    StepPlanned,
    StepStarted,
    Watcher,
)
from daskpar.paths import LogPaths
from daskpar.reports.log_files import append, replace
from daskpar.reports.rates import Pace, Samples
from daskpar.reports.readme_texts import README_TEXTS
from daskpar.reports.summary import job_result_text
from daskpar.reports.wording import (
    clock,
    counted,
    csv_row,
    iso,
    number,
    one_line,
    percent,
    plan_in_words,
    rate,
    result_in_words,
)
from daskpar.results import Counts

OVERVIEW_SECONDS = 10.0
"""Between two lines of progress."""
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

    def __init__(self, logs: LogPaths) -> None:
        self._logs = logs
        self._kind = StepKind.PARALLEL
        self._started = 0.0
        self._planned = 0
        self._written = float("-inf")
        self._doing = ""
        self._samples = Samples()
        self._metrics: Path | None = None

    def step_started(self, event: StepStarted) -> None:
        self._kind, self._started = event.kind, event.time
        replace(self._logs.readme, README_TEXTS[event.kind])
        replace(self._logs.job_result, "Status: running\n")
        self._write_line(event.time, f"step {event.step} started")

    def step_planned(self, event: StepPlanned) -> None:
        self._planned = event.mini_batches
        self._write_line(event.time, plan_in_words(event))

    def processor_changed(self, event: ProcessorEvent) -> None:
        if event.state == ProcessorState.READY:
            self._samples.processor_ready(event.time)

    def progress(self, event: Progress) -> None:
        self._samples.add(event.time, event.counts.done)
        # `grouping 40 %` and `grouping 41 %` are one phase.
        phase, before = event.doing.split(" ")[0], self._doing.split(" ")[0]
        if event.time - self._written >= OVERVIEW_SECONDS or phase != before:
            self._doing = event.doing
            self._write_progress(event)

    def step_ended(self, event: StepEnded) -> None:
        result = event.result
        if result.counts.planned and self._kind == StepKind.PARALLEL:
            left = 0.0 if result.counts.done >= result.counts.planned else None
            self._write_metrics(event.time, result.counts, result.counts.planned, 0, Pace(0.0, left))
        self._write_line(event.time, f"step {result.step} {result_in_words(result)}")
        if result.reason:
            self._write_line(event.time, f"reason: {result.reason}; start with job_result.txt")
        replace(self._logs.job_result, job_result_text(result, self._kind))

    def _write_progress(self, event: Progress) -> None:
        self._written = event.time
        planned = event.counts.planned or self._planned
        pace = self._samples.pace(event.time, planned)
        self._write_line(event.time, progress_in_words(event, planned, pace))
        if self._kind == StepKind.PARALLEL and planned:
            self._write_metrics(event.time, event.counts, planned, event.running, pace)

    def _write_metrics(self, now: float, counts: Counts, planned: int, running: int, pace: Pace) -> None:
        text = ""
        if self._metrics is None:
            self._metrics = self._logs.metrics(now)
            text = "" if self._metrics.exists() else csv_row(METRIC_COLUMNS)
        left = None if pace.seconds_left is None else f"{pace.seconds_left:.1f}"
        scheduled = min(counts.done + running, planned)
        row = [iso(now), planned, scheduled, counts.done, counts.failed, f"{now - self._started:.1f}", left]
        append(self._metrics, text + csv_row(row))

    def _write_line(self, now: float, text: str) -> None:
        # One file for each start of the step, whatever hour it has become: a reader follows one file.
        append(self._logs.overview(self._started or now), f"{iso(now)} {one_line(text, 4000)}\n")


def progress_in_words(event: Progress, planned: int, pace: Pace) -> str:
    """Progress in a line of the overview."""
    counts = event.counts
    if event.doing:
        return f"{event.doing}; {counted(event.running, 'processor')} busy" if event.running else event.doing
    if not counts.done:
        return f"nothing processed yet; {counted(event.running, 'processor')} busy"
    parts = [
        f"{number(counts.done)} of {counted(planned, 'mini-batch')} processed"
        f" ({percent(counts.done, planned)})"
    ]
    parts += [f"{number(counts.failed)} failed"] if counts.failed else []
    parts += [f"{number(counts.retried)} retried"] if counts.retried else []
    parts += [f"{number(counts.throttled)} throttled"] if counts.throttled else []
    parts.append(
        counted(counts.items, "item")
        + (f" ({number(counts.failed_items)} failed)" if counts.failed_items else "")
    )
    parts += [rate(pace.per_second)] if pace.per_second else []
    parts += [f"{clock(pace.seconds_left)} left"] if pace.seconds_left is not None else []
    return ", ".join(parts)
