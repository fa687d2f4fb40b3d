"""The card of a run: HTML by which a notebook shows how it is or how it ended. All text of others is escaped.

Styles stand at each element, and colours suit light and dark: notebooks drop style sheets of outputs that
they do not trust, and have their own background.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from daskpar.errors import DaskparError
from daskpar.masking import hidden
from daskpar.outputs.journal_reader import read_journal
from daskpar.paths import RunPaths, StepPaths, step_path
from daskpar.printable import printable
from daskpar.reports.wording import counted, cut_lines, duration, number, one_line
from daskpar.results import Counts, Failure, InitFailed, Status, StepResult

GREEN, RED, AMBER, GREY = "#2da44e", "#e5534b", "#c69026", "#808080"
COLOURS = {
    Status.COMPLETED: GREEN,
    Status.FAILED: RED,
    Status.LOST: RED,
    Status.INTERRUPTED: AMBER,
}
CELL = "text-align:left;padding:2px 14px 2px 0;border:none;background:none;vertical-align:top"
SMALL = "opacity:.75;font-size:90%"
FRAME = "font:13px/1.5 system-ui,sans-serif;border-left:4px solid {};padding:2px 12px"
PRE = (
    "margin:4px 0;padding:6px 10px;overflow-x:auto;background:rgba(128,128,128,.12);"
    "font:12px/1.4 ui-monospace,Menlo,Consolas,monospace"
)
REPORT = "report.html"


def run_card(
    path: Path, *, status: Status, reason: str, seconds: float, results: Sequence[StepResult]
) -> str:
    """The run in `path` in full: status, counts against limits, outputs, the first error, the report.

    `seconds`: how long it took.
    """
    colour = COLOURS.get(status, GREY)
    limits = limits_of(path)
    parts = [headline(path, status, seconds)]
    if reason and status != Status.COMPLETED:
        parts.append(f"<div>{text(one_line(reason, 600))}</div>")
    parts.append(_steps(results, limits))
    parts += _outputs(results)
    if (first := first_error(path, results)) is not None:
        parts.append(_error(*first, folded=status == Status.COMPLETED))
    parts += _failed_items(path, results)
    parts.append(where(path))
    return f'<div class="daskpar-run" style="{FRAME.format(colour)}">{"".join(parts)}</div>'


def short_card(path: Path, *, status: Status, seconds: float, results: Sequence[StepResult]) -> str:
    """A run that needs no more than two lines."""
    steps = "; ".join(f"{result.step}: {_done(result.counts)}" for result in results if result.counts.planned)
    body = headline(path, status, seconds) + (f"<div>{text(steps)}</div>" if steps else "") + where(path)
    return f'<div class="daskpar-run" style="{FRAME.format(COLOURS.get(status, GREY))}">{body}</div>'


def headline(path: Path, status: Status, seconds: float) -> str:
    """Status, time and the run's folder in one line."""
    colour = COLOURS.get(status, GREY)
    return (
        f'<div><b style="color:{colour}">● {text(status.capitalize())}</b> after {duration(seconds)}'
        f' <span style="{SMALL}">{text(path.name)}</span></div>'
    )


def where(path: Path) -> str:
    """Links to the report and the folder of the run."""
    report = path / REPORT
    links = [f'<a href="{link(report)}" target="_blank">report</a>'] if report.is_file() else []
    links.append(f'<span style="user-select:all">{text(str(path))}</span>')
    return f'<div style="{SMALL}">{" · ".join(links)}</div>'


def link(path: Path) -> str:
    """An address that a notebook opens: below the working folder relative to it, as the notebook's server and
    an exported page look for it.
    """
    relative = os.path.relpath(path)
    place = relative if not relative.startswith("..") else path.absolute().as_uri()
    return escape(place if place.startswith("file:") else quote(place), quote=True)


def text(value: str) -> str:
    """Text of others as HTML."""
    return escape(printable(value), quote=True)


# -- steps ---------------------------------------------------------------------------------------------------


def _steps(results: Sequence[StepResult], limits: Mapping[str, Limits]) -> str:
    rows = [_step(result, limits.get(result.step, Limits())) for result in results]
    if not rows:
        return "<div>No step has started.</div>"
    return f'<table style="border-collapse:collapse;margin:4px 0">{"".join(rows)}</table>'


def _step(result: StepResult, limits: Limits) -> str:
    colour = COLOURS.get(result.status, GREY)
    counts = result.counts
    took = duration(result.seconds) if result.seconds else ""
    cells = [
        f"<b>{text(result.step)}</b>",
        f'<span style="color:{colour}">{text(result.status)}</span>',
        took,
        text(_done(counts)) if counts.planned else "",
        "<br>".join(limits.lines(counts)) if counts.planned else "",
    ]
    if result.exit_code is not None:
        cells[3] = f"exit code {result.exit_code}"
    return "<tr>" + "".join(f'<td style="{CELL}">{cell}</td>' for cell in cells) + "</tr>"


def _done(counts: Counts) -> str:
    parts = [f"{number(counts.succeeded)} of {counted(counts.planned, 'mini-batch')} succeeded"]
    parts += [f"{number(counts.failed)} failed"] if counts.failed else []
    parts += [f"{number(counts.empty)} empty"] if counts.empty else []
    left = counts.planned - counts.done
    parts += [f"{number(left)} not run"] if left > 0 else []
    parts += [f"{number(counts.retried)} retried"] if counts.retried else []
    parts += [f"{number(counts.throttled)} throttled"] if counts.throttled else []
    return ", ".join(parts)


class Limits:
    """What a step tolerates."""

    def __init__(self, items: int = -1, mini_batches: int = -1, percent: float = 100.0) -> None:
        self.items = items
        """Failed items; -1: any number."""
        self.mini_batches = mini_batches
        """Failed mini-batches; -1: any number."""
        self.percent = percent
        """Failed mini-batches in percent of the planned ones."""

    def lines(self, counts: Counts) -> list[str]:
        """Each limit that there is with what is counted against it; red where it is exceeded."""
        whole = counts.planned - counts.empty
        share = 100.0 * counts.failed / whole if whole else 0.0
        found = []
        if counts.failed or self.mini_batches >= 0:
            found.append(_against("failed mini-batches", counts.failed, self.mini_batches))
        if self.percent < 100:
            what = f"failed mini-batches: {share:.3g} % of {self.percent:g} % allowed"
            found.append(_red(what, share > self.percent))
        if counts.failed_items or self.items >= 0:
            found.append(_against("failed items", counts.failed_items, self.items))
        return found


def _against(what: str, count: int, limit: int) -> str:
    if limit < 0:
        return f"{what}: {number(count)} (no limit)"
    return _red(f"{what}: {number(count)} of {number(limit)} allowed", count > limit)


def _red(what: str, exceeded: bool) -> str:
    return f'<span style="color:{RED}">{what}</span>' if exceeded else what


def limits_of(run: Path) -> dict[str, Limits]:
    """Step -> its limits, as the run was started with; those that nobody can read are left out."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        jobs = yaml.load(RunPaths(run).effective_spec.read_bytes(), loader)["jobs"]
        return {name: _limits(job) for name, job in jobs.items() if job.get("type") == "parallel"}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError):
        return {}


def _limits(job: Mapping[str, Any]) -> Limits:
    return Limits(
        items=int(job.get("error_threshold", -1)),
        mini_batches=int(job.get("mini_batch_error_threshold", -1)),
        percent=float(job.get("driver", {}).get("allowed_failed_percent", 100.0)),
    )


# -- outputs and errors --------------------------------------------------------------------------------------


def _outputs(results: Sequence[StepResult]) -> list[str]:
    return [
        f'<div><span style="{SMALL}">{text(f"{result.step}.{name}")}</span> '
        f'<span style="user-select:all">{text(hidden(str(place)))}</span></div>'
        for result in results
        if result.status == Status.COMPLETED
        for name, place in result.outputs.items()
    ]


def first_error(run: Path, results: Sequence[StepResult]) -> tuple[str, Failure | InitFailed] | None:
    """The earliest failure of all steps with its step, from an earlier process of the run too."""
    found: list[tuple[str, Failure | InitFailed]] = []
    for result in results:
        if result.first_failure is not None:
            found.append((result.step, result.first_failure))
        elif result.counts.failed:
            with suppress(DaskparError, OSError, ValueError):  # a damaged journal must not hide the rest
                kept = read_journal(StepPaths(step_path(run, result.step)).journal).failures()
                found += [(result.step, failure) for failure in kept]
    return min(found, key=lambda entry: entry[1].time or float("inf"), default=None)


def _failed_items(run: Path, results: Sequence[StepResult]) -> list[str]:
    """Where all items of failed mini-batches are listed."""
    tables = [
        (result.step, StepPaths(step_path(run, result.step)).logs.failed_mini_batches) for result in results
    ]
    return [
        f'<div style="{SMALL}">every failed item of {text(step)}: {text(str(table))}</div>'
        for step, table in tables
        if table.is_file()
    ]


def _error(step: str, failure: Failure | InitFailed, *, folded: bool) -> str:
    if isinstance(failure, InitFailed):
        what, items = "import or init() of the entry script failed", ""
    else:
        what, items = f"mini-batch {failure.index}", one_line(failure.items, 300)
    lines = [failure.message.strip()]
    if failure.trace.strip() and failure.trace.strip() != failure.message.strip():
        lines = [cut_lines(failure.trace.strip())]
        if failure.message.strip().splitlines()[-1:] != failure.trace.strip().splitlines()[-1:]:
            lines.insert(0, failure.message.strip())
    about = f"First error, in {step}, {what}" + (f" ({items})" if items else "")
    log = f'<div style="{SMALL}">log: {text(failure.log)}</div>' if failure.log else ""
    body = f'<pre style="{PRE}">{text(chr(10).join(lines))}</pre>{log}'
    return f"<details{'' if folded else ' open'}><summary>{text(about)}</summary>{body}</details>"
