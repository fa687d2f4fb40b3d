"""What the display shows: keeps the state of each step, from events, and words its lines for a width."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import field

from daskpar.cells import cells, cut_to, padded, shortened
from daskpar.events import (
    LongCall,
    LongCallsChanged,
    NodeEvent,
    NodeState,
    ProcessorEvent,
    ProcessorState,
    Progress,
    RunStarted,
    StepEnded,
    StepPlanned,
    StepStarted,
    TriesEnded,
    Warned,
    Watcher,
)
from daskpar.printable import printable
from daskpar.reports.rates import Pace, Samples
from daskpar.reports.waiting import Quiet, awaited, starting_text, waiting_texts
from daskpar.reports.wording import (
    clock,
    counted,
    failed_mini_batch,
    number,
    one_line,
    percent,
    plan_in_words,
    rate,
    result_in_words,
)
from daskpar.results import Counts, Failure
from daskpar.value_classes import mutable

BAR_WIDTH = 20
"""Characters of a full bar; half of it on a terminal of medium width."""
WIDE = 99
"""Characters of a line in which there is room for words that say what could be guessed."""
WAITING = "waiting for"
Facts = list[tuple[str, ...]]
"""What a line says of a step, in order of what matters most, each in words and then shorter."""
NAME_WIDTH = 24
"""Characters of a step's name at most."""
MOST_WARNINGS = 10_000
"""Different warnings that are shown at most: a script that always makes new ones must not fill the memory."""


@mutable
class StepView:
    """One step that is running."""

    name: str
    started: float
    """Seconds since the epoch."""
    planned: int = 0
    """Mini-batches of its plan, 0 before there is one."""
    counts: Counts = field(default_factory=Counts)
    running: int = 0
    """Processors busy."""
    doing: str = ""
    """A phase other than running mini-batches."""
    samples: Samples = field(default_factory=Samples)
    place: str = ""
    """`1/3` in a run of several steps."""
    ready: bool = False
    """Whether a processor is past `init()`, or a result has come."""
    long_calls: dict[int, tuple[LongCall, ...]] = field(default_factory=dict)
    """Node -> what takes long there."""
    quiet_since: float = 0.0
    """When the last result came, or the first processor got ready."""

    @property
    def calls(self) -> Iterator[LongCall]:
        """What takes long, on all nodes."""
        return (call for calls in self.long_calls.values() for call in calls)

    @property
    def has_progress(self) -> bool:
        """Whether there is anything to show but that it has started."""
        return bool(self.planned or self.doing)

    def pace(self, now: float) -> Pace:
        """How fast it is, and how long it will still take."""
        return self.samples.pace(now, self.planned)


class ProgressView(Watcher):
    """State of the display, taken from events: `steps` are the running ones, by name.

    `summary_follows`: whether the summary of the run is printed at its end; what stands there is not said
    here too.
    """

    def __init__(self, *, summary_follows: bool = False) -> None:
        self.steps: dict[str, StepView] = {}
        self._summary_follows = summary_follows
        self._of_run: tuple[str, ...] = ()
        self._run_began = 0.0
        self._steps_ended = 0
        self._messages: list[str] = []
        self._warnings_shown: set[str] = set()
        self._failed_once: set[str] = set()

    def take_messages(self) -> list[str]:
        """New messages since the last call, each a line that is shown once."""
        messages, self._messages = self._messages, []
        return messages

    def run_started(self, event: RunStarted) -> None:
        self._messages += first_lines(event)
        self._of_run, self._run_began = event.steps, event.time

    def step_started(self, event: StepStarted) -> None:
        place = self._place(event.step)
        self.steps[event.step] = StepView(event.step, event.time, place=place)
        if place and self._steps_ended:
            so_far = clock(event.time - self._run_began)
            self._messages.append(f"{event.step}: step {place.replace('/', ' of ')}, {so_far} so far")

    def step_planned(self, event: StepPlanned) -> None:
        step = self.steps.setdefault(event.step, StepView(event.step, event.time))
        step.planned, step.doing = event.mini_batches, ""
        step.quiet_since = event.time
        # What an earlier process has done does not count as speed.
        step.samples.add(event.time, event.already_done)
        self._messages.append(f"{event.step}: {plan_in_words(event)}")

    def progress(self, event: Progress) -> None:
        step = self.steps.get(event.step)
        if step is None:
            return
        if event.counts.done > step.counts.done:
            step.quiet_since = event.time
            step.ready = True
        step.counts, step.running, step.doing = event.counts, event.running, event.doing
        step.planned = event.counts.planned or step.planned
        if not event.doing:  # the time that listing or grouping took says nothing about mini-batches
            step.samples.add(event.time, event.counts.done)

    def tries_ended(self, event: TriesEnded) -> None:
        """Show the first failed try of a step at once: a user who watches can stop a job that is wrong."""
        if not event.failures or event.step in self._failed_once:
            return
        self._failed_once.add(event.step)
        # A bulk is in the order of the commits, and processors send their failures when they can.
        first = min(event.failures, key=lambda failure: failure.time)
        self._messages.append(first_failure_line(event.step, first))

    def warned(self, event: Warned) -> None:
        self._warn(event.step, event.text)

    def node_changed(self, event: NodeEvent) -> None:
        if event.state == NodeState.LOST:
            if event.step in self.steps:
                self.steps[event.step].long_calls.pop(event.node, None)
            lost = f"node {event.node} at {event.address} is lost; its mini-batches go elsewhere"
            self._warn(event.step, lost)

    def long_calls_changed(self, event: LongCallsChanged) -> None:
        if event.step in self.steps:
            self.steps[event.step].long_calls[event.node] = event.calls

    def processor_changed(self, event: ProcessorEvent) -> None:
        step = self.steps.get(event.step)
        if event.state == ProcessorState.READY and step is not None and step.planned and not step.ready:
            step.ready, step.quiet_since = True, event.time
            step.samples.processor_ready(event.time)
        if event.state == ProcessorState.INIT_FAILED:
            why = one_line(_IN_A_ROW.sub("", event.detail))
            self._warn(event.step, f"import or init() of the entry script failed: {why}")

    def step_ended(self, event: StepEnded) -> None:
        self.steps.pop(event.step, None)
        self._steps_ended += 1
        if not self._summary_follows:
            reason = f" ({one_line(event.result.reason)})" if event.result.reason else ""
            self._messages.append(f"{event.step}: {result_in_words(event.result)}{reason}")
        elif self._steps_ended < len(self._of_run):
            self._messages.append(f"{event.step}: {event.result.status}")

    def _place(self, name: str) -> str:
        """`2/3`: which step it is of those of the run; empty where there is only one."""
        if len(self._of_run) < 2 or name not in self._of_run:
            return ""
        return f"{self._of_run.index(name) + 1}/{len(self._of_run)}"

    def _warn(self, step: str, text: str) -> None:
        """Show a warning, each text once in a run: a thousand processors may say the same."""
        line = f"warning: {step}: {text}" if step else f"warning: {text}"
        if line not in self._warnings_shown and len(self._warnings_shown) < MOST_WARNINGS:
            self._warnings_shown.add(line)
            self._messages.append(line)


_IN_A_ROW = re.compile(r" \(\d+ times in a row on node \d+\)$")


def first_lines(event: RunStarted) -> list[str]:
    """The first lines: what runs, where, the dashboard, what was read and has no effect."""
    verb = "resuming" if event.resumed else "running"
    lines = [f"{verb} {event.name} ({', '.join(event.steps)}) in {event.run_directory}"]
    lines += [f"Dask dashboard: {event.dashboard}"] if event.dashboard else []
    return lines + [f"note: {note}" for note in event.notes]


def first_failure_line(step: str, failure: Failure) -> str:
    """The first failed try of a step in a line."""
    what = "failed" if failure.final else "failed and is tried again"
    log = f" ({failure.log})" if failure.log else ""
    return (
        f"{step}: {failed_mini_batch(failure)} {what}: {one_line(failure.message)}{log}; "
        "later failures are counted only"
    )


def plain_line(step: StepView, now: float) -> str:
    """A step's progress where lines can't be redrawn."""
    place = f"step {step.place.replace('/', ' of ')}, " if step.place else ""
    facts = ", ".join(texts[0] for texts in _facts(step, now))
    return printable(f"{place}{step.name}: {clock(now - step.started)}  {facts}")


def live_line(step: StepView, now: float, width: int, name_width: int) -> str:
    """A step's progress in exactly one line of a terminal that is `width` cells wide.

    What matters least is left out first.
    """
    name = shortened(step.name, name_width)
    # A cell less than the terminal has: at its last column some fold the line.
    room = width - 1
    if step.place:
        name_width += len(step.place) + 1
        name = f"{step.place} {name}"
        if room >= WIDE:
            name, name_width = f"step {name.replace('/', ' of ', 1)}", name_width + len("step  of ") - 1
    head = f"{padded(name, name_width)}  {clock(now - step.started)}"
    with_bar = head
    if step.planned and not step.doing and (width_of_bar := bar_width(room)):
        with_bar += f"  {bar(step.counts.done, step.planned, width_of_bar)}"
    facts = _facts(step, now)
    needed = next((place for place, texts in enumerate(facts) if texts[0].startswith(WAITING)), -1)
    for start, texts in _attempts(with_bar, head, facts, needed):
        line, shown = _joined(start, texts, room)
        if shown > needed:
            break
    return cut_to(line, room)


def _attempts(with_bar: str, head: str, facts: Facts, needed: int) -> Iterator[tuple[str, Facts]]:
    """Ways to write a line, the best first; what all wait for, the fact number `needed`, matters more than
    the bar and than words that can be guessed.
    """
    if needed < 0:
        yield with_bar, facts
        return
    waiting = tuple(text for text in facts[needed] if text.startswith(WAITING))
    said = [waiting if place == needed else texts for place, texts in enumerate(facts)]
    yield with_bar, said
    yield head, said
    yield head, [texts[:-1] if place == needed else texts for place, texts in enumerate(facts)]
    yield head, [texts[-1:] if place < needed else texts for place, texts in enumerate(facts)]
    yield with_bar, facts


def _joined(start: str, facts: Facts, room: int) -> tuple[str, int]:
    """As many of the facts behind `start` as there is room for, each as long as may be; and how many."""
    for place, texts in enumerate(facts):
        longer = next((text for fact in texts if cells(text := f"{start}  {fact}") <= room), "")
        if not longer:
            return start, place
        start = longer
    return start, len(facts)


def _facts(step: StepView, now: float) -> Facts:
    """In order of what matters most; each in words, then shorter for a line with little room."""
    counts = step.counts
    if step.doing or not step.planned:
        return [(step.doing or "starting",)]
    if not step.ready and counts.done < step.planned:
        return [(starting_text(step.calls, now), "starting")]
    pace = step.pace(now)
    of = f"{number(counts.done)}/{number(step.planned)}"
    facts: Facts = [(percent(counts.done, step.planned),), (f"{of} mini-batches", of)]
    facts += [(f"{number(counts.failed)} failed",)] if counts.failed else []
    if call := awaited_call(step, now):
        facts.append(waiting_texts(call, now))
    else:
        facts += [(f"{clock(pace.seconds_left)} left",)] if pace.seconds_left is not None else []
    facts += [(rate(pace.per_second),)] if pace.per_second else []
    facts += [(f"{number(counts.retried)} retried",)] if counts.retried else []
    facts += [(f"{number(counts.throttled)} throttled",)] if counts.throttled else []
    facts += [(counted(counts.items, "item"),)] if counts.items else []
    facts += [(f"{counted(counts.failed_items, 'item')} failed",)] if counts.failed_items else []
    return [*facts, (f"{number(step.running)} busy",)]


def awaited_call(step: StepView, now: float) -> LongCall | None:
    """The call that the step waits for, where it is one."""
    if not step.long_calls or step.doing:
        return None
    quiet = Quiet(
        left=step.planned - step.counts.done,
        running=step.running,
        since_result=now - step.quiet_since,
        # The silence itself says nothing about how long a mini-batch usually takes.
        per_second=step.samples.pace_until(step.quiet_since).per_second,
    )
    return awaited(step.calls, quiet)


def bar_width(room: int) -> int:
    """Depends on the terminal's width alone, so that the line does not jump while its numbers grow."""
    return BAR_WIDTH if room >= WIDE else BAR_WIDTH // 2 if room >= 69 else 0


def bar(done: int, planned: int, width: int = BAR_WIDTH) -> str:
    """`████████░░░░`: full only when all is done."""
    full = min(done, planned) * width // planned if planned > 0 else 0
    return "█" * full + "░" * (width - full)


def frame(view: ProgressView, now: float, width: int, height: int) -> list[str]:
    """The lines of all running steps, for a terminal of this size (characters, lines).

    Steps that do not fit are counted in the last line.
    """
    steps = list(view.steps.values())
    # The cursor stands in the line below them.
    room = max(height - 1, 1)
    shown = steps if len(steps) <= room else steps[: max(room - 1, 0)]
    name_width = min(max((cells(step.name) for step in shown), default=0), NAME_WIDTH, max(width // 3, 1))
    lines = [cut_to(printable(live_line(step, now, width, name_width)), width - 1) for step in shown]
    if len(shown) < len(steps):
        lines.append(f"… and {counted(len(steps) - len(shown), 'more step')}"[: max(width - 1, 0)])
    return lines
