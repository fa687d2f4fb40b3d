"""Formats numbers, times, counts and events as text: pure functions, used by every report."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable

from daskpar.events import NodeEvent, ProcessorEvent, StepPlanned
from daskpar.paths import process_name
from daskpar.printable import in_brackets, printable
from daskpar.results import Counts, Failure, StepResult
from daskpar.sizes import readable_size

TRACE_LINES = 60
"""Lines of a traceback that are shown where it is one of several things to read."""


def number(value: int) -> str:
    """Grouped by thousands: 1,204."""
    return f"{value:,}"


def counted(value: int, noun: str) -> str:
    """`1 item`, `1,204 items`, `2 tries`."""
    if value == 1:
        return f"1 {noun}"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        plural = f"{noun[:-1]}ies"
    else:
        plural = f"{noun}es" if noun.endswith("ch") else f"{noun}s"
    return f"{number(value)} {plural}"


def percent(part: int, whole: int) -> str:
    """Rounded down, so that 100 % means all: `99 %`; empty where `whole` is 0."""
    return f"{min(part, whole) * 100 // whole} %" if whole > 0 else ""


def clock(seconds: float) -> str:
    """`0:00:07`, `27:46:40`: hours, minutes, seconds."""
    whole = max(int(seconds), 0)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def duration(seconds: float) -> str:
    """`0.42 s`, `12.3 s`, `2 min 5 s`, `3 h 20 min`."""
    if seconds < 9.995:
        return f"{max(seconds, 0):.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole // 60 % 60} min"


def rate(per_second: float) -> str:
    """Mini-batches per second, or per minute where that is the clearer number."""
    if per_second <= 0:
        return ""
    if per_second < 0.5:
        return f"{per_second * 60:.2g}/min"
    return f"{per_second:,.0f}/s" if per_second >= 100 else f"{per_second:.1f}/s"


def iso(seconds: float) -> str:
    """UTC with microseconds and a Z: `2026-11-23T13:03:23.000120Z`."""
    micros = round(seconds * 1e6)  # whole numbers, so that .9999996 s becomes the next second
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(micros // 1_000_000))}.{micros % 1_000_000:06d}Z"


def local_time(seconds: float) -> str:
    """For people: `2026-11-23 13:03:23` in the machine's own time zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def log_line(seconds: float, level: str, pid: int, thread: int, message: str) -> str:
    """One line of a system log: `timestamp,ms|LEVEL|pid|threadid|message` in UTC, on one line."""
    millis = round(seconds * 1e3)
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(millis // 1000))
    return f"{stamp},{millis % 1000:03d}|{level}|{pid}|{thread}|{one_line(message, 4000)}\n"


def one_line(text: str, width: int = 300) -> str:
    """The text on one line of at most `width` characters."""
    flat = printable(" ".join(text.split()))
    return flat if len(flat) <= width else flat[: width - 1] + "…"


def indent(text: str, by: str = "    ") -> str:
    """Each line of the text moved right."""
    return "\n".join(by + line if line else line for line in text.rstrip("\n").split("\n"))


def failed_mini_batch(failure: Failure) -> str:
    """Which mini-batch a failure is about, by number and by what people know: `mini-batch 7 (a/x.txt)`."""
    return f"mini-batch {failure.index}{in_brackets(failure.items)}"


def cut_lines(text: str, limit: int = TRACE_LINES) -> str:
    """A long text without its middle: how a traceback starts, and above all how it ends."""
    lines = text.rstrip("\n").split("\n")
    if len(lines) <= limit:
        return "\n".join(lines)
    head = limit // 3
    tail = limit - head - 1
    return "\n".join([*lines[:head], f"... {len(lines) - head - tail} lines left out ...", *lines[-tail:]])


def counts_in_words(counts: Counts) -> str:
    """`1,900 of 2,000 mini-batches succeeded, 3 failed, 97 empty; 19,000 items, 30 failed; 12 failed tries, 9
    retried, 1 repeat`.
    """
    parts = [f"{number(counts.succeeded)} of {counted(counts.planned, 'mini-batch')} succeeded"]
    parts += [f"{number(counts.failed)} failed"] if counts.failed else []
    parts += [f"{number(counts.empty)} empty"] if counts.empty else []
    left = counts.planned - counts.done
    parts += [f"{number(left)} not run"] if left > 0 else []
    items = counted(counts.items, "item") + (
        f", {number(counts.failed_items)} failed" if counts.failed_items else ""
    )
    tries = [counted(counts.tries_failed, "failed try")] if counts.tries_failed else []
    tries += [f"{number(counts.retried)} retried"] if counts.retried else []
    tries += [counted(counts.repeats, "repeat")] if counts.repeats else []
    tries += [f"{counted(counts.throttled, 'call')} throttled"] if counts.throttled else []
    if counts.copies:
        first = f" ({number(counts.copies_first)} first)" if counts.copies_first else ""
        tries.append(f"{counted(counts.copies, 'second copy')}{first}")
    return "; ".join([", ".join(parts), items, *([", ".join(tries)] if tries else [])])


def result_in_words(result: StepResult) -> str:
    """`completed after 1 min 0 s: 20 of 20 mini-batches succeeded; 200 items`, without the reason."""
    counts = f": {counts_in_words(result.counts)}" if result.counts.planned else ""
    return f"{status_after(result.status, result.seconds)}{counts}"


def status_after(status: str, seconds: float) -> str:
    """`completed after 3.50 s`; the status alone of what never ran."""
    return f"{status} after {duration(seconds)}" if seconds else status


def plan_in_words(event: StepPlanned) -> str:
    """`2,000 mini-batches, 20,000 items, 1.5 GB; 40 done before; 8 processors on 2 nodes`."""
    parts = [counted(event.mini_batches, "mini-batch")]
    parts += [counted(event.items, "item")] if event.items is not None else []
    parts += [readable_size(event.size_bytes)] if event.size_bytes is not None else []
    before = [f"{number(event.already_done)} done before"] if event.already_done else []
    before += [f"up to {number(event.asked)}, as asked"] if event.asked is not None else []
    where = f"{counted(event.processors, 'processor')} on {counted(event.nodes, 'node')}"
    return "; ".join([", ".join(parts), *before, where])


def node_in_words(event: NodeEvent) -> str:
    """`node 1 at tcp://10.0.0.5:4000 lost: connection closed`."""
    return f"node {event.node} at {event.address} {event.state}{after_colon(event.detail)}"


def processor_in_words(event: ProcessorEvent) -> str:
    """`process007 (pid 4711) init failed: KeyError: 'MODEL'`."""
    state = event.state.replace("_", " ")
    return f"{process_name(event.processor)} (pid {event.pid}) {state}{after_colon(event.detail)}"


def after_colon(text: str) -> str:
    """`: text`; empty where there is no text."""
    return f": {text}" if text else ""


def as_json(value: object) -> str:
    """Compact JSON for a table's cell; text outside ASCII stays readable."""
    return json.dumps(value, ensure_ascii=False, default=str)


def csv_row(values: Iterable[object]) -> str:
    """One CSV line; cells are quoted where they must be; None is the report's missing value."""
    return ",".join(cell("N/A" if value is None else str(value)) for value in values) + "\n"


def cell(text: str) -> str:
    """A CSV cell on one line: quoted where it holds a comma, a quote or an edge blank.

    Line breaks become blanks, so that each row of a table is a line for `grep` and `tail` too.
    """
    flat = text.replace("\r\n", " ").replace("\n", " ").replace("\r", " ")
    if '"' in flat or "," in flat or flat != flat.strip():
        return '"' + flat.replace('"', '""') + '"'
    return flat
