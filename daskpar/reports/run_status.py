"""Reads from a run directory how its run is: the texts of `python -m daskpar status` and `logs`."""

from __future__ import annotations

import csv
import time
from pathlib import Path

from daskpar.errors import UsageError, nearest
from daskpar.outputs.commits import Commits
from daskpar.outputs.journal_reader import read_journal
from daskpar.paths import LogPaths, shell_path
from daskpar.printable import printable
from daskpar.reports.live_state import live_lines, read_live
from daskpar.reports.log_places import log_places
from daskpar.reports.summary import REPEATS, output_lines, partial_lines
from daskpar.reports.wording import clock, counted, counts_in_words, indent, local_time, number, status_after
from daskpar.results import Counts, Status
from daskpar.rundir.run_directory import RunDirectory
from daskpar.rundir.step_folder import StepFolder, StepState

ERROR_LINES = 200
"""Lines that are shown of a file of errors."""
UNFINISHED = "crashed (its driver is gone)"
"""Shown for a run whose driver died, and so could not write down how the run ended."""


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
    elif status != Status.COMPLETED and (later := not_started(run)):
        lines += ["", f"not started: {', '.join(later)}"]
    if status not in (Status.COMPLETED, Status.RUNNING):
        lines += ["", f"Go on with it: python -m daskpar resume {shell_path(run.path)}"]
    return printable("\n".join(lines))


def run_status(run: RunDirectory, holder: str | None) -> str:
    """The status for people; `holder` is who runs it now, None for nobody."""
    if holder is not None:
        return Status.RUNNING
    return UNFINISHED if run.identity.status == Status.RUNNING else run.identity.status


def step_status(state: StepState, of_run: str) -> str:
    """The status of a step of a run that has the status `of_run`.

    A step that still has the status "running" when its run has ended, ended as the run did.
    """
    return of_run if state.status == Status.RUNNING else state.status


def step_lines(folder: StepFolder, state: StepState, *, of_run: str) -> list[str]:
    """The lines about one step of a run that has the status `of_run`."""
    lines = [f"{state.step} ({state.kind}): {status_after(step_status(state, of_run), state.seconds)}"]
    if state.reason:
        lines.append(indent(f"reason: {state.reason}", "  "))
    if state.status == Status.RUNNING:
        lines += [f"  {text}" for text in running_lines(folder, state, alive=of_run == Status.RUNNING)]
    elif state.counts.planned:
        lines.append(f"  {counts_in_words(state.counts)}")
        lines += [f"  {REPEATS}"] if state.counts.repeats else []
    if state.exit_code is not None:
        lines.append(f"  exit code: {state.exit_code}")
    if state.status == Status.COMPLETED:
        lines += output_lines(state.outputs, folder)
    if state.status == Status.PARTIAL:
        lines += partial_lines(state.rows, state.outputs)
    return [*lines, f"  logs: {folder.logs.root}"]


def running_lines(folder: StepFolder, state: StepState, *, alive: bool) -> list[str]:
    """How far a step is that has not ended; `alive`: its driver is there, else it has crashed."""
    committed = [] if alive else committed_lines(folder)
    if committed:
        return committed  # what was written of the progress may be older
    live = read_live(folder, state)
    if live is not None:
        return live_lines(live, time.time(), alive=alive)
    return last_progress_lines(folder.logs, state.started) or committed_lines(folder)


def committed_lines(folder: StepFolder) -> list[str]:
    """What a running (or crashed) step has committed; a resume starts from there. A line, or none."""
    counts = committed_counts(folder)
    return [] if counts is None else [f"committed: {counts_in_words(counts)}"]


def committed_counts(folder: StepFolder) -> Counts | None:
    """The same in figures; None where nothing is committed."""
    if not folder.journal.exists():
        return None
    contents = read_journal(folder.journal)
    return Commits.load(contents.planned, contents).counts() if contents.found else None


def last_progress_lines(logs: LogPaths, started: float | None) -> list[str]:
    """How far a running (or crashed) step was when progress was last written: a line, or none.

    `started`: when the step began, seconds since the epoch.
    """
    tables = sorted(logs.root.glob(logs.ALL_METRICS))
    # A table of an earlier start of the step says nothing about this one.
    if not tables or (started is not None and tables[-1].stat().st_mtime < started):
        return []
    with tables[-1].open(encoding="utf-8", newline="") as file:
        # The last row may be half written, now or by a driver that was killed.
        rows = [row for row in csv.DictReader(file) if all(row.values())]
    try:
        row = rows[-1]
        failed, done = int(row["Failed Tasks"]), int(row["Completed Tasks"])
        planned, remaining = int(row["Total Tasks"]), row["Estimated Remaining Time"]
        left = "" if remaining == "N/A" else f", {clock(float(remaining))} left"
    except (IndexError, KeyError, ValueError):
        return []
    of_them = f", {number(failed)} of them failed" if failed else ""
    return [
        f"{number(done)} of {counted(planned, 'mini-batch')} done{of_them}{left} (written {row['Datetime']})"
    ]


def logs_text(path: Path | str, *, step: str | None = None, errors: bool = False) -> str:
    """Where the logs of a run are and how each step ended.

    `step`: only that one. `errors`: the errors themselves instead, oldest first.

    Raises RunDirectoryError for a folder that is no run directory, UsageError for an
    unknown step.
    """
    run = RunDirectory.open(path, lock=False)
    folders = steps_to_show(run, step)
    if not folders:
        return "No step has started, so there are no logs yet."
    status = run_status(run, run.holder())
    parts = [_errors(folder) if errors else _files(folder, status) for folder in folders]
    return printable("\n\n".join(parts))


def steps_to_show(run: RunDirectory, step: str | None) -> list[StepFolder]:
    """The started steps of a run, or the one that is asked for."""
    folders = run.steps()
    if step is None:
        return folders
    names = [folder.name for folder in folders]
    if step not in names:
        of_job = steps_of_job(run)
        if of_job and step not in of_job:
            hint = nearest(step, of_job) or f"Its steps: {', '.join(of_job)}."
            raise UsageError(f"there is no step {step!r} in the job of {run.path}. {hint}")
        hint = nearest(step, names) or f"Steps that have started: {', '.join(names) or 'none'}."
        raise UsageError(f"step {step!r} has not started in {run.path}. {hint}")
    return [run.step(step)]


def steps_of_job(run: RunDirectory) -> list[str]:
    """All steps of the run's job, in its order; empty where the run has not written them down."""
    import yaml

    try:
        jobs = yaml.safe_load(run.effective_spec.read_text())["jobs"]
        return [str(name) for name in jobs]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return []


def not_started(run: RunDirectory) -> list[str]:
    """The steps of the run's job that have not started, in its order."""
    started = {folder.name for folder in run.steps()}
    return [name for name in steps_of_job(run) if name not in started]


def _errors(folder: StepFolder) -> str:
    logs, state = folder.logs, folder.state()
    text = _head_of(logs.job_error)
    if not text and state is not None and state.status not in (Status.COMPLETED, Status.RUNNING):
        # import and init() have no mini-batch: their trace and log are there
        text = _head_of(logs.job_result)
    text = text or _head_of(logs.user_error)
    if not text:
        return f"{folder.name}: no errors"
    items = logs.failed_mini_batches
    every = f"\n\nEvery item of the failed mini-batches: {items}" if items.exists() else ""
    return f"{folder.name}: {text}{every}"


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
    logs, state = folder.logs, folder.state()
    status = "unknown" if state is None else step_status(state, of_run)
    lines = [f"{folder.name}: {status}", f"  logs: {logs.root} (readme.txt says what is what)"]
    lines += [f"  {name:<20} {path}" for name, path in log_places(logs) if path.exists()]
    result = _head_of(logs.job_result)
    if result and status not in (Status.COMPLETED, Status.RUNNING):
        lines.append(indent(result, "  | "))
    return "\n".join(lines)
