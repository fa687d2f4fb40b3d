"""`progress.json` in a running step's folder: how far it is now, for `daskpar status` in another process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from itertools import islice
from pathlib import Path
from typing import Any

from daskpar.errors import DaskparError
from daskpar.events import Event, LongCall, LongCallsChanged, Progress, StepEnded, StepPlanned, Watcher
from daskpar.masking import hidden_tree
from daskpar.reports.log_files import replace
from daskpar.reports.progress_view import ProgressView, awaited_call
from daskpar.reports.waiting import waiting_text
from daskpar.reports.wording import clock, counted, iso, number, rate
from daskpar.results import Counts
from daskpar.rundir.json_files import read_json
from daskpar.rundir.step_folder import StepFolder, StepState
from daskpar.value_classes import frozen

WRITE_SECONDS = 1.0
"""Between two writes."""
MOST_CALLS = 1_000
"""Of those that take long, so many are written."""
FRESH_SECONDS = 10.0
"""What is older is shown with the time at which it was written."""


class LiveState(Watcher):
    """Writes how far one step is, at most once a second; the file goes when the step has ended."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._view = ProgressView()
        self._written = float("-inf")

    def handle(self, event: Event) -> None:
        """The state is kept by the same code as the display's."""
        self._view.handle(event)
        self._view.take_messages()
        super().handle(event)

    def step_planned(self, event: StepPlanned) -> None:
        self._written = float("-inf")  # how many there are is known from the first second on
        self._write_when_due(event.step, event.time)

    def progress(self, event: Progress) -> None:
        self._write_when_due(event.step, event.time)

    def long_calls_changed(self, event: LongCallsChanged) -> None:
        self._write_when_due(event.step, event.time)

    def step_ended(self, event: StepEnded) -> None:
        self._path.unlink(missing_ok=True)

    def _write_when_due(self, name: str, now: float) -> None:
        step = self._view.steps.get(name)
        # Below 0: the clock was set back.
        if step is None or 0 <= now - self._written < WRITE_SECONDS:
            return
        self._written = now
        pace = step.pace(now)
        call = awaited_call(step, now)
        value = {
            "time": now,
            "planned": step.planned,
            "counts": asdict(step.counts),
            "running": step.running,
            "doing": step.doing,
            "ready": step.ready or step.counts.done > 0,
            "per_second": pace.per_second,
            "seconds_left": pace.seconds_left,
            "waiting_for": None if call is None else asdict(call),
            "long_calls": [asdict(each) for each in islice(step.calls, MOST_CALLS)],
        }
        # Secrets are hidden before JSON escapes what is in them.
        replace(self._path, json.dumps(hidden_tree(value)))


@frozen(kw_only=True)
class Live:
    """How far a step is, as its driver wrote it last."""

    time: float
    """When, in seconds since the epoch."""
    planned: int
    counts: Counts
    running: int
    """Mini-batches under way."""
    doing: str
    """As in `Progress`."""
    ready: bool
    """Whether a processor is past `init()`."""
    per_second: float
    seconds_left: float | None
    waiting_for: LongCall | None
    """The call that all wait for."""
    long_calls: tuple[LongCall, ...] = ()
    """What takes more than a few seconds."""

    @property
    def waiting(self) -> int:
        """Mini-batches that are neither done nor under way."""
        return max(self.planned - self.counts.done - self.running, 0)


def read_live(folder: StepFolder, state: StepState) -> Live | None:
    """What `progress.json` of a step says; None where it has none that can be read, or only that of an
    earlier start.
    """
    try:
        value = read_json(folder.progress)
        if value is None or value["time"] < (state.started or 0.0):
            return None
        call, counts, calls = value["waiting_for"], value["counts"], value.get("long_calls", ())
        return Live(
            **{
                **{f.name: value[f.name] for f in fields(Live) if f.name != "long_calls"},
                "counts": Counts(**_known(Counts, counts)),
                "waiting_for": None if call is None else LongCall(**_known(LongCall, call)),
                "long_calls": tuple(LongCall(**_known(LongCall, each)) for each in calls),
            }
        )
    except (DaskparError, OSError, KeyError, TypeError, ValueError):
        return None


def _known(kind: type, value: Mapping[str, Any]) -> dict[str, Any]:
    names = {f.name for f in fields(kind)}
    return {name: each for name, each in value.items() if name in names}


def live_lines(live: Live, now: float, *, alive: bool = True) -> list[str]:
    """How far the step is, in lines that agree with each other; not `alive`: how far it was."""
    written = f" (written {iso(live.time)})" if now - live.time > FRESH_SECONDS else ""
    if live.doing or not live.planned:
        return [f"{live.doing or 'starting'}{written}"]
    counts = live.counts
    of_them = f", {number(counts.failed)} of them failed" if counts.failed else ""
    lines = [f"{number(counts.done)} of {counted(live.planned, 'mini-batch')} done{of_them}{written}"]
    if not alive:
        return lines
    if not live.ready and counts.done < live.planned:
        return [*lines, "starting (import, init)"]
    facts = [f"{number(live.running)} running, {number(live.waiting)} waiting"]
    facts += [f"{number(counts.retried)} retried"] if counts.retried else []
    facts += [f"{number(counts.throttled)} throttled"] if counts.throttled else []
    if live.waiting_for is not None:
        facts.append(waiting_text(live.waiting_for, now, named=True))
    elif live.seconds_left is not None:
        facts.append(f"{clock(live.seconds_left)} left")
    facts += [rate(live.per_second)] if live.per_second else []
    return [*lines, "; ".join(facts)]
