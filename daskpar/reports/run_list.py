"""Lists runs: the table and the JSON of `daskpar ls`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from daskpar.cells import cells, padded
from daskpar.errors import DaskparError
from daskpar.paths import shell_path
from daskpar.reports.live_state import read_live
from daskpar.reports.run_status import committed_counts, run_status, step_status
from daskpar.reports.wording import duration, iso, number
from daskpar.results import Counts, Status
from daskpar.rundir.find_runs import FoundRun
from daskpar.rundir.run_directory import RunDirectory
from daskpar.rundir.step_folder import StepFolder, StepState
from daskpar.value_classes import frozen


@frozen(kw_only=True)
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
    planned: int = 0
    """Mini-batches of the steps that have started."""
    done: int = 0
    """Those with an outcome."""
    failed: int = 0


def looked_at(found: FoundRun) -> ListedRun:
    """The run as it is now."""
    if found.identity is None:
        return ListedRun(path=found.path, trouble=found.trouble)
    try:
        run = RunDirectory.open(found.path, lock=False)
        holder = run.holder()
        status = run_status(run, holder)
        states = [(folder, state) for folder in run.steps() if (state := folder.state()) is not None]
        counts = [_counts(folder, state, alive=holder is not None) for folder, state in states]
    except DaskparError as error:
        return ListedRun(path=found.path, name=found.identity.name, trouble=str(error))
    return ListedRun(
        path=found.path,
        name=run.identity.name,
        status=status,
        started=run.identity.created,
        ended=None if holder is not None else run.identity.ended,
        steps=tuple((state.step, step_status(state, status)) for _, state in states),
        planned=sum(each.planned for each in counts),
        done=sum(each.done for each in counts),
        failed=sum(each.failed for each in counts),
    )


def _counts(folder: StepFolder, state: StepState, *, alive: bool) -> Counts:
    """How far a step is: as it ended, as its driver wrote last, or as it has committed."""
    if state.status != Status.RUNNING:
        return state.counts
    live = read_live(folder, state)
    if live is not None:
        return replace(live.counts, planned=max(live.planned, live.counts.planned))
    return state.counts if alive else committed_counts(folder) or state.counts


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
    of_all = f" of {number(run.planned)}" if run.done < run.planned else ""
    done = f"{number(run.done)}{of_all} done" if run.done or of_all else ""
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
                "mini_batches": {"planned": run.planned, "done": run.done, "failed": run.failed},
            }
            for run in runs
        ],
    }
