"""`daskpar status --json`: how a run is, as values of a shape that stays."""

from __future__ import annotations

from dataclasses import asdict

from daskpar.reports.live_state import Live, read_live
from daskpar.reports.one_mini_batch import planned
from daskpar.reports.run_status import committed_counts, not_started, run_status, step_status
from daskpar.reports.wording import iso
from daskpar.results import Status
from daskpar.rundir.run_directory import RunDirectory
from daskpar.rundir.step_folder import StepFolder, StepState


def status_json(run: RunDirectory) -> dict[str, object]:
    """The run, and each of its steps that has started. Times are in UTC, ISO 8601."""
    holder = run.holder()
    status, identity = run_status(run, holder), run.identity
    ended = identity.ended if holder is None else None
    states = [(folder, state) for folder in run.steps() if (state := folder.state()) is not None]
    return {
        "run": str(run.path),
        "name": identity.name,
        "status": _word(status),
        "reason": identity.reason if holder is None else "",
        "exit_code": identity.exit_code if holder is None else None,
        "spec": identity.spec,
        "started": iso(identity.created),
        "ended": None if ended is None else iso(ended),
        "run_by": holder,
        "not_started": [] if status == Status.COMPLETED else not_started(run),
        "steps": [_step(folder, state, status) for folder, state in states],
    }


def _step(folder: StepFolder, state: StepState, of_run: str) -> dict[str, object]:
    status = step_status(state, of_run)
    live = read_live(folder, state) if state.status == Status.RUNNING else None
    alive = status == Status.RUNNING
    counts = state.counts if live is None else live.counts
    if state.status == Status.RUNNING and not alive:
        counts = committed_counts(folder) or counts
    running = live.running if live is not None and alive else 0
    of_plan = counts.planned
    if state.status == Status.RUNNING and not of_plan:
        of_plan = live.planned if live is not None else planned(folder)
    return {
        "name": state.step,
        "kind": str(state.kind),
        "status": _word(status),
        "reason": state.reason,
        "started": None if state.started is None else iso(state.started),
        "ended": None if state.ended is None else iso(state.ended),
        "seconds": round(state.seconds, 3),
        "exit_code": state.exit_code,
        "mini_batches": {
            "planned": of_plan,
            "succeeded": counts.succeeded,
            "failed": counts.failed,
            "empty": counts.empty,
            "running": running,
            "waiting": max(of_plan - counts.done - running, 0),
        },
        "items": {"done": counts.items, "failed": counts.failed_items},
        "tries": {
            "failed": counts.tries_failed,
            "retried": counts.retried,
            "repeats": counts.repeats,
            "throttled": counts.throttled,
            "copies": counts.copies,
            "copies_first": counts.copies_first,
        },
        "progress": _progress(live, state) if alive else None,
        "outputs": dict(state.outputs) if state.status == Status.COMPLETED else {},
        "logs": str(folder.logs.root),
    }


def _progress(live: Live | None, state: StepState) -> dict[str, object]:
    if live is None:  # nothing is written yet, or the step is a command
        return {
            "written": iso(state.started or 0.0),
            "doing": "running" if state.kind == "command" else "starting",
            "per_second": 0.0,
            "seconds_left": None,
            "waiting_for": None,
        }
    call = live.waiting_for
    return {
        "written": iso(live.time),
        "doing": live.doing or ("running" if live.ready else "starting"),
        "per_second": live.per_second,
        "seconds_left": live.seconds_left,
        "waiting_for": None
        if call is None
        else {**asdict(call), "since": iso(call.since), "seconds": max(live.time - call.since, 0.0)},
    }


def _word(status: str) -> str:
    """`crashed` without the words that explain it."""
    return status.partition(" (")[0]
