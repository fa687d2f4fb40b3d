"""What a run directory says about its run, finished, running or crashed: the texts of `python -m daskpar
status` and `logs`.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from daskpar.errors import UsageError, nearest
from daskpar.outputs.commits import Commits
from daskpar.outputs.journal_reader import read_journal
from daskpar.paths import LogPaths
from daskpar.reports.summary import remark
from daskpar.reports.wording import (
    clock,
    counts_in_words,
    duration,
    indent,
    local_time,
    printable,
    shell_path,
    some,
)
from daskpar.results import Counts
from daskpar.rundir.run_directory import RunDirectory, StepFolder, StepState

ERROR_LINES = 200
FOLLOW_SECONDS = 0.5


def status_text(path: Path | str) -> str:
    """How a run is: its status, and for each step status, counts, times, outputs, logs.

    Raises RunDirectoryError for a folder that is no run directory.
    """
    run = RunDirectory.open(path, lock=False)
    holder = run.holder()
    status = run_status(run, holder)
    identity = run.identity
    lines = [
        f"{identity.name}: {status}",
        f"  spec: {identity.spec}",
        f"  started: {local_time(identity.created)}",
    ]
    if identity.ended is not None and holder is None:
        lines.append(f"  ended: {local_time(identity.ended)}")
    if holder is not None:
        lines.append(f"  run by: {holder}")
    if identity.reason and holder is None:
        lines.append(indent(f"reason: {identity.reason}", "  "))
    for folder in run.steps():
        state = folder.state()
        if state is not None:
            lines += ["", *step_lines(folder, state, of_run=status)]
    if not run.steps():
        lines += ["", "No step has started."]
    if status not in ("completed", "running"):
        lines += ["", f"Go on with it: python -m daskpar resume {shell_path(run.path)}"]
    return printable("\n".join(lines))


def run_status(run: RunDirectory, holder: str | None) -> str:
    """The status, told apart: running now, or said to be running by a driver that is gone."""
    if holder is not None:
        return "running"
    return "crashed (its driver is gone)" if run.identity.status == "running" else run.identity.status


def step_lines(folder: StepFolder, state: StepState, *, of_run: str) -> list[str]:
    """What is said about one step of a run that has the status `of_run`: one that could not say how it ended,
    ended as the run did.
    """
    status = of_run if state.status == "running" else state.status
    lines = [
        f"{state.step} ({state.kind}): {status}"
        + (f" after {duration(state.seconds)}" if state.seconds else "")
    ]
    if state.reason:
        lines.append(indent(f"reason: {state.reason}", "  "))
    if state.status == "running":
        lines += [f"  {text}" for text in [*committed(folder), *measured(folder.logs, state.started)]]
    elif state.counts.planned:
        lines.append(f"  {counts_in_words(state.counts)}")
    if state.exit_code is not None:
        lines.append(f"  exit code: {state.exit_code}")
    if state.status == "completed":
        lines += [f"  {name}: {path}{remark(path, folder)}" for name, path in state.outputs.items()]
    return [*lines, f"  logs: {folder.logs.root}"]


def committed(folder: StepFolder) -> list[str]:
    """How far a running (or crashed) step is by its journal, which is what a resume goes by: a line, or none."""
    if not folder.journal.exists():
        return []
    contents = read_journal(folder.journal)
    if not contents.found:
        return []
    return [f"committed: {counts_in_words(Commits.load(contents.planned, contents).counts())}"]


def measured(layout: LogPaths, started: float | None) -> list[str]:
    """How far a running (or crashed) step was when progress was last written: a line, or none."""
    tables = sorted((layout.root / "sys" / "metrics").glob("*/progress.csv"))
    if not tables or (started is not None and tables[-1].stat().st_mtime < started):
        return []
    with tables[-1].open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if all(row.values())]
    if not rows:
        return []
    row = rows[-1]
    try:
        failed, done = int(row["Failed Tasks"]), int(row["Completed Tasks"])
        counts = Counts(planned=int(row["Total Tasks"]), succeeded=done - failed, failed=failed)
        left = (
            ""
            if row["Estimated Remaining Time"] == "N/A"
            else f", {clock(float(row['Estimated Remaining Time']))} left"
        )
    except (KeyError, ValueError):
        return []
    words = f"{counts.done:,} of {some(counts.planned, 'mini-batch')} done" + (
        f", {counts.failed:,} of them failed" if counts.failed else ""
    )
    return [f"{words}{left} (written {row['Datetime']})"]


def logs_text(path: Path | str, *, step: str | None = None, errors: bool = False) -> str:
    """Where the logs of a run are and how each step ended; with `errors`, the errors themselves, first in
    time first.

    `step`: only that one. Raises RunDirectoryError for a folder that is no run directory, UsageError for an
    unknown step.
    """
    run = RunDirectory.open(path, lock=False)
    folders = chosen(run, step)
    if not folders:
        return "No step has started, so there are no logs yet."
    status = run_status(run, run.holder())
    parts = [_errors(folder) if errors else _files(folder, status) for folder in folders]
    return printable("\n\n".join(parts))


def chosen(run: RunDirectory, step: str | None) -> list[StepFolder]:
    """The started steps of a run, or the one that is asked for."""
    folders = run.steps()
    if step is None:
        return folders
    names = [folder.name for folder in folders]
    if step not in names:
        hint = nearest(step, names) or f"Steps that have started: {', '.join(names) or 'none'}."
        raise UsageError(f"step {step!r} has not started in {run.path}. {hint}")
    return [run.step(step)]


def _errors(folder: StepFolder) -> str:
    layout = folder.logs
    state = folder.state()
    text = _head_of(layout.job_error)
    if not text and state is not None and state.status not in ("completed", "running"):
        text = _head_of(
            layout.job_result
        )  # import and init() have no mini-batch: their trace and log are there
    text = text or _head_of(layout.user_error)
    return f"{folder.name}: {text}" if text else f"{folder.name}: no errors"


def _head_of(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            lines = [line for _, line in zip(range(ERROR_LINES + 1), file, strict=False)]
    except OSError:
        return ""
    if len(lines) > ERROR_LINES:
        lines[-1] = f"... the rest is in {path}"
    return "".join(lines).rstrip("\n")


def _files(folder: StepFolder, of_run: str) -> str:
    layout = folder.logs
    state = folder.state()
    status = "unknown" if state is None else of_run if state.status == "running" else state.status
    lines = [f"{folder.name}: {status}", f"  logs: {layout.root} (readme.txt says what is what)"]
    overviews = sorted(layout.root.glob("job_progress_overview.*.txt"))
    known = [
        ("result", layout.job_result),
        ("progress", overviews[-1] if overviews else None),
        ("errors by kind", layout.job_error),
        ("full traces", layout.root / "user" / "error"),
        ("stdout", layout.root / "user" / "stdout"),
        ("stderr", layout.root / "user" / "stderr"),
        ("stdout", layout.command_stdout),
        ("stderr", layout.command_stderr),
        ("the script's logger", layout.root / "user" / "entry_script_log"),
        ("every try", layout.processed),
        ("the orchestrator", layout.master_role),
        ("resources", layout.root / "sys" / "perf"),
    ]
    there = [(name, path) for name, path in known if path is not None and path.exists()]
    lines += [f"  {name:<20} {path}" for name, path in there]
    result = _head_of(layout.job_result)
    return "\n".join(
        [*lines, indent(result, "  | ")] if result and status not in ("completed", "running") else lines
    )


def follow(
    path: Path | str,
    *,
    step: str | None = None,
    wait: Callable[[float], None] = time.sleep,
) -> Iterator[str]:
    """The progress overviews of a run, first what there is, then line by line as they grow, until nobody runs
    it any more.

    Raises as `logs_text`.
    """
    run = RunDirectory.open(path, lock=False)
    if step is not None:
        chosen(run, step)
    seen: dict[Path, int] = {}
    while True:
        over = run.holder() is None
        for folder in run.steps():
            if step is None or folder.name == step:
                for overview in sorted(folder.logs.root.glob("job_progress_overview.*.txt")):
                    yield from (f"{folder.name}: {line}" for line in _new_lines(overview, seen))
        if over:
            return
        wait(FOLLOW_SECONDS)


def _new_lines(path: Path, seen: dict[Path, int]) -> list[str]:
    with path.open("rb") as file:
        file.seek(seen.get(path, 0))
        data = file.read()
    whole = data[: data.rfind(b"\n") + 1]
    seen[path] = seen.get(path, 0) + len(whole)
    return [printable(line) for line in whole.decode("utf-8", "replace").splitlines()]
