"""Lists runs: the table and the JSON of `daskpar ls`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from daskpar.cells import cells, padded
from daskpar.errors import DaskparError
from daskpar.paths import shell_path
from daskpar.reports.run_status import run_status, step_status
from daskpar.reports.wording import duration, iso, number
from daskpar.results import Status
from daskpar.rundir.find_runs import FoundRun
from daskpar.rundir.run_directory import RunDirectory


@dataclass(frozen=True, kw_only=True)
class ListedRun:
    """What the list says of one run."""

    path: Path
    name: str = ""
    status: str = "unreadable"
    trouble: str = ""
    """Why it can't be read."""
    started: float | None = None
    """Seconds since the epoch."""
    ended: float | None = None
    steps: tuple[tuple[str, str], ...] = ()
    """Names and statuses of the steps that have started."""
    done: int = 0
    """Mini-batches with an outcome, of steps that have ended."""
    failed: int = 0


def looked_at(found: FoundRun) -> ListedRun:
    """The run as it is now."""
    if found.identity is None:
        return ListedRun(path=found.path, trouble=found.trouble)
    try:
        run = RunDirectory.open(found.path, lock=False)
        holder = run.holder()
        status = run_status(run, holder)
        states = [state for folder in run.steps() if (state := folder.state()) is not None]
    except DaskparError as error:
        return ListedRun(path=found.path, name=found.identity.name, trouble=str(error))
    return ListedRun(
        path=found.path,
        name=run.identity.name,
        status=status,
        started=run.identity.created,
        ended=None if holder is not None else run.identity.ended,
        steps=tuple((state.step, step_status(state, status)) for state in states),
        done=sum(state.counts.done for state in states),
        failed=sum(state.counts.failed for state in states),
    )


def list_text(runs: Sequence[ListedRun], width: int | None) -> str:
    """A line for each run. `width`: characters of a terminal, on which what matters least is left out."""
    rows = [_cells(run) for run in runs]
    head = ("RUN", "STATUS", "STARTED", "TOOK", "MINI-BATCHES", "STEPS")
    table = [head, *rows]
    widths = [max(cells(row[column]) for row in table) for column in range(len(head))]
    shown = len(head)
    while width is not None and shown > 2 and sum(widths[:shown]) + 2 * (shown - 1) >= width:
        shown -= 1
    lines = []
    for row in table:
        line = [padded(cell, size) for cell, size in zip(row[:shown], widths, strict=False)]
        lines.append("  ".join(line).rstrip())
    lines += [f"{shell_path(run.path)}: {run.trouble}" for run in runs if run.trouble]
    return "\n".join(lines)


def _cells(run: ListedRun) -> tuple[str, ...]:
    started = "" if run.started is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(run.started))
    end = run.ended if run.ended is not None else time.time() if run.status == Status.RUNNING else None
    took = "" if end is None or run.started is None else duration(max(end - run.started, 0.0))
    done = f"{number(run.done)} done" if run.done else ""
    if run.failed:
        done += f", {number(run.failed)} failed"
    ended = sum(status == Status.COMPLETED for _, status in run.steps)
    steps = f"{ended} of {len(run.steps)} completed" if run.steps else ""
    return shell_path(run.path), run.status.partition(" (")[0], started, took, done, steps


def list_json(folder: Path, runs: Sequence[ListedRun]) -> dict[str, object]:
    """The list as values."""
    return {
        "folder": str(folder),
        "runs": [
            {
                "run": str(run.path),
                "name": run.name,
                "status": run.status.partition(" (")[0],
                "trouble": run.trouble,
                "started": None if run.started is None else iso(run.started),
                "ended": None if run.ended is None else iso(run.ended),
                "steps": [{"name": name, "status": status.partition(" (")[0]} for name, status in run.steps],
                "mini_batches": {"done": run.done, "failed": run.failed},
            }
            for run in runs
        ],
    }
