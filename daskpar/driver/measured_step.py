"""What was seen of a step while some of its mini-batches ran, and what that says of the whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING

from daskpar.driver.estimates import Estimate, on_processors, total
from daskpar.events import ProcessorEvent, ProcessorState, StepPlanned, TriesEnded, Watcher
from daskpar.reports.wording import counted, duration
from daskpar.results import StepResult, TryStatus
from daskpar.sizes import readable_size
from daskpar.value_classes import mutable

if TYPE_CHECKING:
    from daskpar.batches.plan import PlanSummary

PROCESSORS = (1, 8, 32, 128)
"""For so many the time is told, beside those of this machine."""
UNSURE = 0.3
"""A range that is wider is said to be unsure."""


@mutable(kw_only=True)
class Measured(Watcher):
    """What was seen of one step while some of its mini-batches ran."""

    step: str
    planned: int = 0
    processors: int = 1
    nodes: int = 1
    calls: int = 1
    """In flight in each processor."""
    rate_limit: str | None = None
    seconds: dict[int, float] = field(default_factory=dict)
    """Mini-batch -> what its last try took, loading included; of those that did not fail."""
    items: dict[int, int] = field(default_factory=dict)
    returned: dict[int, int] = field(default_factory=dict)
    failed: set[int] = field(default_factory=set)
    starting: dict[int, float] = field(default_factory=dict)
    """Process -> when it was started."""
    init_seconds: float = 0.0
    peak_bytes: int = 0
    """Of the processor that took most memory."""
    rows_bytes: int | None = None
    """Of the rows of these mini-batches; None where nothing is appended."""
    summary: PlanSummary | None = None
    result: StepResult | None = None
    whole_items: int = 0
    """Of all mini-batches, where they differ by what they hold; else 0."""

    def step_planned(self, event: StepPlanned) -> None:
        if event.step == self.step:
            self.planned, self.processors, self.nodes = event.mini_batches, event.processors, event.nodes

    def tries_ended(self, event: TriesEnded) -> None:
        for record in event.records if event.step == self.step else ():
            index = int(record["index"])
            if record["status"] == TryStatus.FAILED:
                self.failed.add(index)
                continue
            self.failed.discard(index)
            self.seconds[index] = float(record["elapsed"])
            self.items[index] = int(record["items"])
            self.returned[index] = int(record["returned"])

    def processor_changed(self, event: ProcessorEvent) -> None:
        if event.step != self.step:
            return
        self.peak_bytes = max(self.peak_bytes, event.peak_bytes)
        if event.state == ProcessorState.STARTED:
            self.starting[event.pid] = event.time
        elif event.state == ProcessorState.READY and event.pid in self.starting:
            self.init_seconds = max(self.init_seconds, event.time - self.starting[event.pid])

    def estimate(self, values: Mapping[int, float]) -> Estimate:
        """The sum of such values over the whole step."""
        indices = list(values)
        weights = [float(self.items[index]) for index in indices] if self.whole_items else []
        return total([values[index] for index in indices], self.planned, weights, self.whole_items)

    def time_on(self, processors: int) -> Estimate:
        """Seconds that the whole step would take on so many processors."""
        longest = max(self.seconds.values())
        side_by_side = processors * self.calls
        return on_processors(
            self.estimate(self.seconds), side_by_side, self.planned, self.init_seconds, longest
        )

    @property
    def trouble(self) -> str:
        """Why there is nothing to tell; empty where there is."""
        if self.seconds:
            return ""
        reason = self.result.reason if self.result is not None else "it did not begin"
        return f"step {self.step} could not be measured: {reason}"

    @property
    def first_error(self) -> str:
        """What the first failure says, and where."""
        first = self.result.first_failure if self.result is not None else None
        return "" if first is None else first.message


def measured_lines(measured: Measured) -> list[str]:
    """What `plan` shows of a step that was measured."""
    seconds = measured.seconds
    if not seconds:
        return [measured.trouble, *measured.first_error.splitlines()[:1]]
    tried = sorted([*seconds, *measured.failed])
    shown = ", ".join(map(str, tried[:10])) + (", ..." if len(tried) > 10 else "")
    whole = counted(measured.planned, "mini-batch")
    memory = f" and {readable_size(measured.peak_bytes)} of memory" if measured.peak_bytes else ""
    fast, slow = min(seconds.values()), max(seconds.values())
    lines = [
        f"measured: {len(tried)} of {whole} ({shown}); what they wrote is removed",
        f"  one takes {_short(sum(seconds.values()) / len(seconds))} ({_short(fast)} to {_short(slow)}), "
        f"a processor {_short(measured.init_seconds)} to start{memory}",
    ]
    if measured.failed:
        failed = f"{len(measured.failed)} of them failed, and are not in these figures"
        lines.append(f"  {failed}: {measured.first_error}")
    here = measured.processors
    if measured.calls > 1:
        lines.append(
            f"  {measured.calls} of them are in flight in each processor, as if they slowed none other"
        )
    if measured.rate_limit is not None:
        lines.append(f"  the rate limit ({measured.rate_limit}) is not in what follows: it may take longer")
    for processors in sorted({here, *(p for p in PROCESSORS if p < 2 * measured.planned)}):
        where = " (this machine)" if processors == here else ""
        memory = (
            f", {readable_size(measured.peak_bytes * processors)} of memory" if measured.peak_bytes else ""
        )
        on = f"{counted(processors, 'processor')}{where}"
        lines.append(f"  the whole on {on}: {_time(measured.time_on(processors))}{memory}")
    if measured.rows_bytes is not None:
        rows = measured.estimate({i: float(n) for i, n in measured.returned.items()})
        share = measured.rows_bytes / max(1, sum(measured.returned.values()))
        size = readable_size(rows.value * share)
        lines.append(f"  the output: about {rows.value:,.0f} rows, {size}")
    return [*lines, f"  {_sureness(measured)}"]


def _short(seconds: float) -> str:
    return f"{1000 * seconds:.2g} ms" if seconds < 0.0995 else duration(seconds)


def _time(estimate: Estimate) -> str:
    value, low, high = (_short(each) for each in (estimate.value, estimate.low, min(estimate.high, 1e12)))
    if estimate.high == float("inf"):
        return f"about {value}"
    return value if low == high else f"about {value} ({low} to {high})"


def _sureness(measured: Measured) -> str:
    """How far these figures can be trusted."""
    number, busy = len(measured.seconds), measured.estimate(measured.seconds)
    if number == measured.planned:
        return "sure: these are all there are"
    if number == 1:
        return "how sure: one mini-batch says nothing of how much they differ; measure more"
    left = measured.planned - number - len(measured.failed)
    more = (
        f"; unsure: --measure {min(measured.planned, 4 * number)} tells more"
        if busy.unsure > UNSURE and left > 0
        else ""
    )
    return (
        f"how sure: ± {100 * busy.unsure:.0f} % by how much these {number} differ, 19 times out of 20; "
        f"the start of the run comes on top{more}"
    )
