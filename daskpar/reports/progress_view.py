"""What the display shows: the state of each step from events, and its lines as pure text for a given width."""

from __future__ import annotations

from dataclasses import dataclass, field

from daskpar.events import (
    Event,
    NodeEvent,
    ProcessorEvent,
    Progress,
    RunStarted,
    StepEnded,
    StepPlanned,
    StepStarted,
    TriesEnded,
    Warned,
)
from daskpar.reports.rates import Pace, Samples
from daskpar.reports.wording import clock, counts_in_words, duration, number, one_line, percent, rate, some
from daskpar.results import Counts, Failure, StepResult

BAR_WIDTH = 20
NAME_WIDTH = 24
MESSAGES_KNOWN = 10_000


@dataclass
class StepView:
    """One step that is running."""

    name: str
    kind: str
    started: float
    planned: int = 0
    counts: Counts = field(default_factory=Counts)
    running: int = 0
    doing: str = ""
    samples: Samples = field(default_factory=Samples)

    def pace(self, now: float) -> Pace:
        """How fast it is and how long it takes yet."""
        return self.samples.pace(now, self.planned)


class View:
    """State of the display: `hear` takes an event and returns lines to be said once, `steps` are the running
    ones.
    """

    def __init__(self) -> None:
        self.steps: dict[str, StepView] = {}
        self._said: set[str] = set()
        self._failed_once: set[str] = set()

    def hear(self, event: Event) -> list[str]:
        """Take in an event; the lines that it is worth, each text once in a run."""
        if isinstance(event, RunStarted):
            return run_started(event)
        if isinstance(event, StepStarted):
            self.steps[event.step] = StepView(event.step, event.kind, event.time)
            return []
        if isinstance(event, StepPlanned):
            return self._planned(event)
        if isinstance(event, Progress):
            self._progress(event)
            return []
        if isinstance(event, TriesEnded):
            return self._first_failure(event)
        if isinstance(event, StepEnded):
            self.steps.pop(event.step, None)
            return [step_ended(event.result)]
        return self._once(remark(event))

    def _planned(self, event: StepPlanned) -> list[str]:
        step = self.steps.setdefault(event.step, StepView(event.step, "parallel", event.time))
        step.planned = event.mini_batches
        step.samples.add(event.time, event.already_done)
        words = some(event.mini_batches, "mini-batch")
        words += f", {some(event.items, 'item')}" if event.items is not None else ""
        words += f", {number(event.already_done)} done before" if event.already_done else ""
        return [
            f"{event.step}: {words}; {some(event.processors, 'processor')} on {some(event.nodes, 'node')}"
        ]

    def _progress(self, event: Progress) -> None:
        step = self.steps.get(event.step)
        if step is None:
            return
        step.counts, step.running, step.doing = event.counts, event.running, event.doing
        step.planned = event.counts.planned or step.planned
        if not event.doing:
            step.samples.add(event.time, event.counts.done)

    def _first_failure(self, event: TriesEnded) -> list[str]:
        """The first failed try of a step is said at once: a user who watches can stop a job that is wrong."""
        if event.step in self._failed_once:
            return []
        failed = [failure for failure in event.failures if isinstance(failure, Failure)]
        if not failed:
            return []
        self._failed_once.add(event.step)
        first = min(failed, key=lambda failure: failure.time)
        what = "failed" if first.final else "failed and is tried again"
        log = f" ({first.log})" if first.log else ""
        return [
            f"{event.step}: mini-batch {first.index} {what}: {one_line(first.message)}{log}; later failures are counted only"
        ]

    def _once(self, text: str) -> list[str]:
        if not text or text in self._said or len(self._said) >= MESSAGES_KNOWN:
            return []
        self._said.add(text)
        return [text]


def run_started(event: RunStarted) -> list[str]:
    """The first lines: what runs, where, the dashboard, what was read and has no effect."""
    verb = "resuming" if event.resumed else "running"
    lines = [f"{verb} {event.name} ({', '.join(event.steps)}) in {event.run_directory}"]
    lines += [f"Dask dashboard: {event.dashboard}"] if event.dashboard else []
    return lines + [f"note: {note}" for note in event.notes]


def remark(event: Event) -> str:
    """What a rare event is worth saying: a warning, a lost node, an entry script that does not start."""
    if isinstance(event, Warned):
        return f"warning: {f'{event.step}: ' if event.step else ''}{event.text}"
    if isinstance(event, NodeEvent) and event.state == "lost":
        return f"warning: {event.step}: node {event.node} at {event.address} is lost; its mini-batches go elsewhere"
    if isinstance(event, ProcessorEvent) and event.state == "init_failed":
        return f"warning: {event.step}: import or init() of the entry script failed: {one_line(event.detail)}"
    return ""


def step_ended(result: StepResult) -> str:
    """A step's end in a line."""
    words = f": {counts_in_words(result.counts)}" if result.counts.planned else ""
    reason = f" ({one_line(result.reason)})" if result.reason else ""
    seconds = f" after {duration(result.seconds)}" if result.seconds else ""
    return f"{result.step}: {result.status}{seconds}{words}{reason}"


def plain_line(step: StepView, now: float) -> str:
    """A step's progress where lines can't be redrawn."""
    return f"{step.name}: {clock(now - step.started)}  {', '.join(_facts(step, now))}"


def live_line(step: StepView, now: float, width: int, name_width: int) -> str:
    """A step's progress in exactly one line of a terminal, at most `width` - 1 wide; what matters least is
    left out first.
    """
    name = step.name if len(step.name) <= name_width else step.name[: name_width - 1] + "…"
    facts = _facts(step, now)
    shown = f"{name:<{name_width}}  {clock(now - step.started)}"
    room = width - 1
    if step.planned and not step.doing and (width_of_bar := bar_width(room)):
        shown += f"  {bar(step.counts.done, step.planned, width_of_bar)}"
    for fact in facts:
        longer = f"{shown}  {fact}"
        if len(longer) > room:
            break
        shown = longer
    return shown[: max(room, 0)]


def _facts(step: StepView, now: float) -> list[str]:
    """In order of what matters most."""
    counts = step.counts
    if step.doing or not step.planned:
        return [step.doing or "starting"]
    pace = step.pace(now)
    of = f"{number(counts.done)}/{number(step.planned)} mini-batches"
    facts = [f"{percent(counts.done, step.planned)}", of]
    facts += [f"{number(counts.failed)} failed"] if counts.failed else []
    facts += [f"{clock(pace.seconds_left)} left"] if pace.seconds_left is not None else []
    facts += [rate(pace.per_second)] if pace.per_second else []
    facts += [f"{number(counts.retried)} retried"] if counts.retried else []
    facts += [some(counts.items, "item")] if counts.items else []
    facts += [f"{some(counts.failed_items, 'item')} failed"] if counts.failed_items else []
    return [*facts, f"{number(step.running)} busy"]


def bar_width(room: int) -> int:
    """A matter of the terminal alone, so that the line does not jump while its numbers grow."""
    return BAR_WIDTH if room >= 99 else BAR_WIDTH // 2 if room >= 69 else 0


def bar(done: int, planned: int, width: int = BAR_WIDTH) -> str:
    """`████████░░░░`: full only when all is done."""
    full = min(done, planned) * width // planned if planned > 0 else 0
    return "█" * full + "░" * (width - full)


def frame(view: View, now: float, width: int, height: int) -> list[str]:
    """The lines of all running steps, for a terminal of this size; steps that do not fit are counted in the
    last line.
    """
    steps = list(view.steps.values())
    room = max(height - 1, 1)
    shown = steps if len(steps) <= room else steps[: max(room - 1, 0)]
    name_width = min(max((len(step.name) for step in shown), default=0), NAME_WIDTH, max(width // 3, 1))
    lines = [live_line(step, now, width, name_width) for step in shown]
    if len(shown) < len(steps):
        lines.append(f"… and {some(len(steps) - len(shown), 'more step')}"[: max(width - 1, 0)])
    return lines
