"""Turns what is known of a run into plain tables: the document that the page and `report.html` draw."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from daskpar.paths import LogPaths, process_name
from daskpar.printable import printable, printable_tree
from daskpar.processor.protocol import LookRow
from daskpar.processor.shared_page import Phase
from daskpar.reports import record_columns
from daskpar.reports.record_columns import reason_name
from daskpar.reports.step_facts import RunFacts, StepFacts
from daskpar.reports.try_tally import BARS, OUTCOMES, SPANS, bar_edge, outcomes_of
from daskpar.reports.waiting import waiting_text
from daskpar.reports.wording import cut_lines
from daskpar.results import Status, TryStatus

Document = dict[str, Any]
KINDS_SHOWN = 20
TRACE_LINES = 60
PROCESSORS_SHOWN = 200
ALMOST = 0.5
"""Part of its time limit after which a call that still runs is shown as slow."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a processor is doing, as its node saw it just now."""

    step: str
    node: int
    processor: int
    pid: int
    phase: int
    """A `processor.shared_page.Phase`."""
    index: int
    """Mini-batch; -1: none."""
    age: float
    """Seconds since that began."""
    memory: int
    """Resident bytes."""
    cpu: float
    """Cores that it has used since the look before; -1: this is the first one."""
    calls: int = 0
    """Calls in flight, where there may be several; `index` and `age` are then those of the oldest one."""


def run_document(run: RunFacts, now: float) -> Document:
    """The head of a run and a line for each of its steps."""
    document: Document = printable_tree(
        {
            "id": run.id,
            "name": run.name,
            "spec": run.spec,
            "directory": run.directory,
            "status": str(run.status),
            "reason": run.reason,
            "started": run.started,
            "ended": run.ended,
            "seconds": run.seconds or max((run.ended or now) - run.started, 0.0),
            "now": now,
            "resumed": run.resumed,
            "notes": list(run.notes),
            "warnings": [list(warning) for warning in run.warnings],
            "steps": [step_line(step, run, now) for step in run.steps.values()],
        }
    )
    return document


def step_line(step: StepFacts, run: RunFacts, now: float) -> Document:
    """A step as the graph of the pipeline shows it."""
    pace = step.pace(now)
    counts = step.counts
    running = step.status == Status.RUNNING
    call = step.waits_for(now)
    return {
        "name": step.name,
        "kind": step.kind,
        "needs": list(run.needs.get(step.name, ())),
        "status": str(step.status),
        "reason": step.reason,
        "started": step.started,
        "seconds": step.seconds if step.ended else max(now - step.started, 0.0) if step.started else 0.0,
        "counts": {**asdict(counts), "done": counts.done, "left": max(counts.planned - counts.done, 0)},
        "running": step.running if running else 0,
        "doing": step.doing,
        "rate": pace.per_second if running else 0.0,
        "time_left": pace.seconds_left if running and call is None else None,
        "waits_for": waiting_text(call, now, named=True) if call is not None else "",
        "exit_code": step.exit_code,
        "nodes": step.nodes,
        "processors": step.processors,
    }


def step_document(step: StepFacts, now: float, looks: Sequence[Look] = ()) -> Document:
    """Everything that is drawn of one step."""
    document: Document = printable_tree(
        {
            "name": step.name,
            "limits": limits(step),
            "timeline": timeline(step, now, looks),
            "histogram": histogram(step),
            "slowest": slowest(step),
            "failures": failures(step),
            "other_failures": step.kept.get("other_failures", step.kinds.others),
            "init_failures": step.kept.get("init_failures", init_failures(step)),
            "processors": processors(step, looks),
            "nodes": nodes(step),
            "settings": [list(row) for row in step.sources],
            "outputs": [[name, path] for name, path in step.outputs.items()],
            "notes": list(step.notes),
            "logs": logs(step),
            "result": result_text(step),
        },
        width=16_000,
    )
    return document


def init_failures(step: StepFacts) -> list[list[str]]:
    """[processor, message, traceback] of the first failures of `init()`."""
    return [[where, what, cut_lines(trace)] for where, what, trace in step.init_failures]


def limits(step: StepFacts) -> list[Document]:
    """How near each failure limit is: [name, value, limit], limit None where there is none."""
    if not step.counts.planned and step.kind != "parallel":
        return []
    counts, settings = step.counts, step.settings
    share = 100.0 * counts.failed / max(1, counts.planned - counts.empty)
    found = [
        ("error_threshold", "failed items", counts.failed_items, -1.0),
        ("mini_batch_error_threshold", "failed mini-batches", counts.failed, -1.0),
        ("allowed_failed_percent", "failed mini-batches, %", round(share, 3), 100.0),
    ]
    return [
        {
            "setting": name,
            "what": what,
            "value": value,
            "limit": None if (limit := _number(settings.get(name), none)) == none or limit < 0 else limit,
        }
        for name, what, value, none in found
    ]


def _number(value: object, default: float) -> float:
    try:
        return float(str(value))
    except ValueError:
        return default


def timeline(step: StepFacts, now: float, looks: Sequence[Look] = ()) -> Document:
    """What ran when on each processor: single tries where they are few, else shares of columns of time.

    Times are seconds from `start`.
    """
    if step.tally.tries > SPANS:
        return _busy_timeline(step, now)
    records = step.tally.kept
    records = records[records["started"] > 0]
    places = {
        (int(node), int(number)) for node, number in zip(records["node"], records["processor"], strict=True)
    }
    places |= {(init.node, init.processor) for init in step.inits} | {
        (look.node, look.processor) for look in looks
    }
    rows = sorted(place for place in places if place[0] >= 0)[:PROCESSORS_SHOWN]
    number = {place: row for row, place in enumerate(rows)}
    starts = [*records["started"].tolist(), *(init.start for init in step.inits)]
    start = min(starts, default=step.started or now)
    spans: list[list[Any]] = []
    tries = zip(
        records["node"].tolist(),
        records["processor"].tolist(),
        records["started"].tolist(),
        records["elapsed"].tolist(),
        records["run"].tolist(),
        outcomes_of(records).tolist(),
        records["index"].tolist(),
        strict=True,
    )
    for node, processor, began, elapsed, run, outcome, index in tries:
        row = number.get((node, processor))
        if row is not None:
            ran = min(run, elapsed) if run else (0.0 if outcome else elapsed)
            spans.append(
                [
                    row,
                    round(began - start, 4),
                    round(elapsed - ran, 4),
                    round(elapsed, 4),
                    OUTCOMES[outcome],
                    index,
                ]
            )
    for init in step.inits:
        row = number.get((init.node, init.processor))
        if row is not None:
            kind = "init" if init.well else "init failed"
            spans.append([row, round(init.start - start, 4), 0, round(init.end - init.start, 4), kind, -1])
    for look in looks:
        row = number.get((look.node, look.processor))
        if row is not None and look.phase in _BUSY:
            spans.append(
                [
                    row,
                    round(now - look.age - start, 4),
                    0,
                    round(look.age, 4),
                    phase_word(look, step),
                    look.index,
                ]
            )
    end = max([step.ended or now, *(start + span[1] + span[3] for span in spans)])
    return {"start": start, "end": end, "rows": [_label(*place) for place in rows], "spans": spans}


_BUSY = (Phase.INIT, Phase.LOAD, Phase.RUN, Phase.FLUSH, Phase.SHUTDOWN)


def phase_word(look: Look, step: StepFacts) -> str:
    """What a processor is doing, `slow` for a call that has used most of its time."""
    limit = _number(step.settings.get("timeout"), 0.0)
    if look.phase == Phase.RUN and limit and look.age > ALMOST * limit:
        return "slow"
    words = {Phase.IDLE: "idle", Phase.INIT: "init", Phase.LOAD: "loading", Phase.RUN: "running"}
    return words.get(Phase(look.phase), Phase(look.phase).name.lower())


def _label(node: int, processor: int) -> str:
    return f"{node}/{process_name(processor)}"


def _busy_timeline(step: StepFacts, now: float) -> Document:
    table = step.tally.busy()
    end = step.ended or now
    columns = min(max(int((end - table.start) / table.width) + 1, 1), table.shares.shape[-1])
    shares = np.rint(table.shares[:, :, :columns] * 100).astype(int)
    return {
        "start": table.start,
        "end": end,
        "rows": [_label(*place) for place in table.rows],
        "width": table.width,
        "shares": shares.tolist(),
    }


def histogram(step: StepFacts) -> Document:
    """Run times: left edge of each bar in seconds, and how many tries of each outcome fall into it."""
    bars = step.tally.bars
    used = np.flatnonzero(bars.sum(axis=0))
    first, last = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 0)
    first, last = max(0, first - 1), min(BARS, last + 1) if last else 0
    return {
        "edges": [float(f"{bar_edge(number):.3g}") for number in range(first, last + 1)] if last else [],
        "bars": {name: bars[row, first:last].tolist() for row, name in enumerate(OUTCOMES)},
    }


def slowest(step: StepFacts) -> list[list[object]]:
    """[mini-batch, name, seconds, outcome, processor] of the slowest tries."""
    records = step.tally.slowest
    indices = [int(index) for index in records["index"]]
    order = sorted(set(indices))
    names = dict(zip(order, step.names(order), strict=True))
    outcomes = outcomes_of(records).tolist()
    return [
        [
            index,
            names[index],
            round(float(one["elapsed"]), 6),
            OUTCOMES[outcome],
            _label(int(one["node"]), int(one["processor"])),
        ]
        for index, one, outcome in zip(indices, records, outcomes, strict=True)
    ]


def failures(step: StepFacts) -> list[Document]:
    """The kinds of failures, oldest first, each with its first one in full."""
    if isinstance(step.kept.get("failures"), list):
        return list(step.kept["failures"])
    kinds = step.kinds.oldest_first[:KINDS_SHOWN]
    order = sorted({kind.first.index for kind in kinds})
    names = dict(zip(order, step.names(order), strict=True))
    return [
        {
            "reason": reason_name(kind.first.reason),
            "tries": kind.tries,
            "final": kind.final,
            "index": kind.first.index,
            "name": names[kind.first.index],
            "where": kind.where,
            "time": kind.first.time,
            "message": kind.first.message,
            "items": kind.first.items,
            "trace": cut_lines(kind.first.trace, TRACE_LINES),
            "log": str(kind.first.log),
        }
        for kind in kinds
    ]


def processors(step: StepFacts, looks: Sequence[Look] = ()) -> list[Document]:
    """Each processor: where it is, what it does and has done."""
    totals = step.tally.totals.known()
    seen = {(look.node, look.processor): look for look in looks}
    places = sorted({*step.processors_now, *totals, *seen})[:PROCESSORS_SHOWN]
    indices = sorted({look.index for look in looks if look.index >= 0})
    names = dict(zip(indices, step.names(indices), strict=True))
    rows = []
    for place in places:
        known, total, look = step.processors_now.get(place), totals.get(place), seen.get(place)
        row: Document = {
            "name": _label(*place),
            "node": place[0],
            "processor": place[1],
            "address": known.address if known else "",
            "pid": known.pid if known else 0,
            "state": str(known.state) if known else "",
            "detail": known.detail if known else "",
            "tries": total.succeeded + total.empty + total.tries_failed if total else 0,
            "failed": total.tries_failed if total else 0,
            "busy": total.elapsed if total else 0.0,
        }
        if look is not None:
            row |= {"pid": look.pid, "state": phase_word(look, step), "memory": look.memory, "cpu": look.cpu}
            row |= {"calls": look.calls} if look.calls else {}
            if look.phase in _BUSY:
                row |= {"age": look.age}
            if look.index >= 0 and look.phase in (Phase.LOAD, Phase.RUN, Phase.FLUSH):
                row |= {"index": look.index, "mini_batch": names.get(look.index, "")}
        rows.append(row)
    return rows


def nodes(step: StepFacts) -> list[Document]:
    """Each node with its last sample."""
    rows = []
    for node in sorted({*step.node_addresses, *step.usage})[:PROCESSORS_SHOWN]:
        address, state = step.node_addresses.get(node, ("", ""))
        sample = step.usage.get(node)
        use = sample.node_usage if sample else {}
        rows.append(
            {
                "node": node,
                "address": address,
                "state": state,
                "cpu": use.get("Cpu Percent"),
                "memory": use.get("Memory Used (MB)"),
                "memory_total": use.get("Memory Total (MB)"),
                "time": sample.time if sample else 0.0,
            }
        )
    return rows


def logs(step: StepFacts) -> list[list[str]]:
    """[what it is, path] of each log that is there."""
    if not step.folder:
        return []
    found = [("failed items", step.paths.failed_items), *log_places(step.paths.logs)]
    return [[what, str(path)] for what, path in found if path.exists()]


def log_places(logs: LogPaths) -> list[tuple[str, Path]]:
    """What is in the log tree of a step, and where."""
    return [
        ("how it ended", logs.job_result),
        ("errors by kind", logs.job_error),
        ("full traces", logs.traces),
        ("stdout", logs.all_stdout),
        ("stderr", logs.all_stderr),
        ("stdout", logs.command_stdout),
        ("stderr", logs.command_stderr),
        ("the script's logger", logs.script_logs),
        ("every try", logs.processed),
        ("the orchestrator", logs.master_role),
        ("resources", logs.resources),
    ]


def result_text(step: StepFacts) -> str:
    """`job_result.txt`, empty where there is none."""
    return head_of(step.paths.logs.job_result) if step.folder else ""


def head_of(path: Path, size: int = 16_000) -> str:
    """The beginning of a text file, empty where it can't be read."""
    try:
        with path.open("rb") as file:
            return file.read(size).decode("utf-8", "replace")
    except OSError:
        return ""


def tail_of(path: Path, size: int = 16_000) -> str:
    """The end of a text file, from the beginning of a line on; empty where it can't be read."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            length = file.tell()
            file.seek(max(length - size, 0))
            data = file.read(size)
    except OSError:
        return ""
    if length > size:
        data = data.partition(b"\n")[2] or data
    return data.decode("utf-8", "replace")


NAME_CHARACTERS = 500
"""Of a name in a table."""
TABLE_COLUMNS = (
    "mini-batch",
    "name",
    "outcome",
    "tries",
    "items",
    "failed items",
    "seconds",
    "in run()",
    "processor",
    "started",
    "reason",
)
WORDS = {TryStatus.SUCCEEDED: "succeeded", TryStatus.EMPTY: "empty", TryStatus.FAILED: "failed"}


def mini_batch_table(step: StepFacts, most: int) -> Document:
    """A row for each mini-batch, of its last try: at most `most`, failed and retried ones before others."""
    records = step.tally.kept
    # The last try of each: a stable sort, then the last of each index.
    records = records[np.lexsort((records["tries"], records["index"]))]
    last = np.ones(len(records), bool)
    last[:-1] = records["index"][1:] != records["index"][:-1]
    records = records[last]
    if len(records) > most:
        matter = (records["status"] == TryStatus.FAILED) | (records["tries"] > 0)
        chosen = np.lexsort((records["index"], ~matter))[:most]
        records = records[np.sort(chosen)]
    indices = records["index"].tolist()
    failed = records["status"] == TryStatus.FAILED
    places, which = record_columns.processors(records)
    labels = [_label(*place) for place in places]
    reasons = [reason_name(reason) for reason in range(int(records["reason"].max(initial=0)) + 1)]
    final = (records["final"] != 0) | ~failed
    columns: list[Sequence[object]] = [
        indices,
        [printable(name)[:NAME_CHARACTERS] for name in step.names(indices)],
        [
            WORDS.get(status, "") if ends else "to be retried"
            for status, ends in zip(records["status"].tolist(), final.tolist(), strict=True)
        ],
        (records["tries"].astype(int) + 1).tolist(),
        records["items"].tolist(),
        records["failed_items"].tolist(),
        _rounded(records["elapsed"]),
        _rounded(records["run"]),
        [labels[number] for number in which.tolist()],
        np.round(records["started"], 3).tolist(),
        [
            reasons[reason] if bad else ""
            for reason, bad in zip(records["reason"].tolist(), failed.tolist(), strict=True)
        ],
    ]
    return {
        "columns": list(TABLE_COLUMNS),
        "values": columns,
        "rows": len(records),
        "of": step.counts.done or len(records),
    }


def _rounded(seconds: np.ndarray) -> list[float]:
    """With three digits that count: more say nothing, and take room."""
    values = seconds.astype(np.float64)
    powers = 10.0 ** (2 - np.floor(np.log10(np.maximum(values, 1e-9))))
    return [float(f"{value:.9g}") for value in (np.rint(values * powers) / powers).tolist()]


def looks_from(rows: Iterable[LookRow], step: str) -> list[Look]:
    """The looks of plain rows, as nodes send them, at the processors of one step: a node may run several."""
    names = ("step", "node", "processor", "pid", "phase", "index", "age", "memory", "cpu", "calls")
    return [Look(**dict(zip(names, row, strict=False))) for row in rows if row[0] == step]
