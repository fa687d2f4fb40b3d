"""What is worth knowing at the end of a step: slow mini-batches, its memory, calls that are too short."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from pathlib import Path

import numpy as np

from daskpar.events import (
    ProcessorEvent,
    ProcessorState,
    StepEnded,
    StepKind,
    StepStarted,
    TriesEnded,
    Watcher,
)
from daskpar.reports.wording import duration, number, one_line
from daskpar.results import Status
from daskpar.sizes import readable_size
from daskpar.value_classes import mutable

SLOWEST = 3
"""How many of the slowest mini-batches are named."""
SLOW_SECONDS = 1.0
"""A shorter try is never named as slow."""
SLOW_FACTOR = 3.0
"""A try is slow when it took so many times as long as the average."""
SHORT_SECONDS = 0.005
"""Calls that take less on average are so short that what surrounds each is felt."""
MANY_CALLS = 1_000
"""With fewer, that does not matter."""


@mutable
class StepFacts:
    """What a step's tries took, added up."""

    by_keys: bool = False
    """Whether partition keys decide what a mini-batch is, and not a size."""
    tries: int = 0
    elapsed: float = 0.0
    """Seconds of all tries, loading included."""
    run: float = 0.0
    """Seconds inside `run()`."""
    slowest: list[tuple[float, int]] = field(default_factory=list)
    """Seconds and mini-batch of the slowest tries, each mini-batch once, the slowest first."""
    peak_bytes: int = 0
    """Largest resident memory of a processor."""

    def add(self, records: np.ndarray) -> None:
        """Count a bulk of tries in."""
        if not len(records):
            return
        elapsed = records["elapsed"]
        self.tries += len(records)
        self.elapsed += float(elapsed.sum(dtype=np.float64))
        self.run += float(records["run"].sum(dtype=np.float64))
        floor = self.slowest[-1][0] if len(self.slowest) == SLOWEST else SLOW_SECONDS
        if float(elapsed.max()) > floor:
            self._add_slow(records[elapsed > floor])

    def _add_slow(self, records: np.ndarray) -> None:
        times = dict((index, seconds) for seconds, index in self.slowest)
        found = zip(records["index"].tolist(), records["elapsed"].tolist(), strict=True)
        for index, seconds in found:
            times[index] = max(seconds, times.get(index, 0.0))
        ranked = sorted(((seconds, index) for index, seconds in times.items()), reverse=True)
        self.slowest = ranked[:SLOWEST]


class HintCollector(Watcher):
    """Collects them for the summary: `texts` has the hints of each step that has ended, by its name."""

    def __init__(self) -> None:
        self.texts: dict[str, list[str]] = {}
        self._facts: dict[str, StepFacts] = {}
        self._plans: dict[str, Path] = {}

    def step_started(self, event: StepStarted) -> None:
        if event.kind == StepKind.PARALLEL:
            self._facts[event.step] = StepFacts(by_keys=bool(event.settings.get("partition_keys")))
            self._plans[event.step] = Path(event.folder) / "plan"

    def tries_ended(self, event: TriesEnded) -> None:
        if event.step in self._facts:
            self._facts[event.step].add(event.records)

    def processor_changed(self, event: ProcessorEvent) -> None:
        facts = self._facts.get(event.step)
        if facts is not None and event.state == ProcessorState.ENDED:
            facts.peak_bytes = max(facts.peak_bytes, event.peak_bytes)

    def step_ended(self, event: StepEnded) -> None:
        facts = self._facts.pop(event.step, None)
        if facts is not None:
            texts = hints(facts, lambda index: name_of(self._plans[event.step], index))
            completed = event.result.status == Status.COMPLETED
            # Who has to mend a script does not care how fast it is.
            self.texts[event.step] = [text for text in texts if completed or not text.startswith("calls of")]


def hints(facts: StepFacts, name: Callable[[int], str]) -> list[str]:
    """The hints on a step, a line each; `name` says what a mini-batch holds."""
    if not facts.tries:
        return []
    average = facts.elapsed / facts.tries
    slow = [(s, index) for s, index in facts.slowest if s >= SLOW_FACTOR * average]
    lines = []
    if slow:
        named = ", ".join(f"{number(index)}{_in_brackets(name(index))} {duration(s)}" for s, index in slow)
        lines.append(
            f"slowest mini-batch{'es' if len(slow) > 1 else ''}: {named}; {_short(average)} on average"
        )
    if facts.peak_bytes:
        lines.append(f"peak memory of a processor: {readable_size(facts.peak_bytes)}")
    each = facts.run / facts.tries
    if facts.tries >= MANY_CALLS and each < SHORT_SECONDS:
        mend = "group by keys with fewer values" if facts.by_keys else "raise mini_batch_size"
        lines.append(f"calls of {_short(each)} on average: {mend}, so that each does more")
    return lines


def name_of(plan: Path, index: int) -> str:
    """What a mini-batch holds, in a few words; empty where the plan can't be read any more."""
    from daskpar.batches.names import MiniBatchNames

    try:
        return one_line(MiniBatchNames(plan).name(index), 60)
    except Exception:  # a hint is no reason to fail
        return ""


def _in_brackets(text: str) -> str:
    return f" ({text})" if text else ""


def _short(seconds: float) -> str:
    return f"{seconds * 1000:.2g} ms" if seconds < 0.1 else duration(seconds)
