"""Turns what is known of a run into plain tables: the document that the page and `report.html` draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from daskpar.printable import printable_tree
from daskpar.reports.log_places import head_of, log_places
from daskpar.reports.looks import PROCESSORS_SHOWN, Look, label, number, processors
from daskpar.reports.record_columns import reason_name
from daskpar.reports.step_facts import RunFacts, StepFacts
from daskpar.reports.timeline import timeline
from daskpar.reports.try_tally import BARS, OUTCOMES, bar_edge, outcomes_of
from daskpar.reports.waiting import waiting_text
from daskpar.reports.wording import cut_lines
from daskpar.results import Status

Document = dict[str, Any]
KINDS_SHOWN = 20
TRACE_LINES = 60


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
            "gpus": step.kept.get("gpus", step.gpus.rows()),
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
            "limit": None if (limit := number(settings.get(name), none)) == none or limit < 0 else limit,
        }
        for name, what, value, none in found
    ]


def histogram(step: StepFacts) -> Document:
    """Run times: left edge of each bar in seconds, and how many tries of each outcome fall into it."""
    bars = step.tally.bars
    used = np.flatnonzero(bars.sum(axis=0))
    first, last = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 0)
    first, last = max(0, first - 1), min(BARS, last + 1) if last else 0
    return {
        "edges": [float(f"{bar_edge(place):.3g}") for place in range(first, last + 1)] if last else [],
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
            label(int(one["node"]), int(one["processor"])),
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


def result_text(step: StepFacts) -> str:
    """`job_result.txt`, empty where there is none."""
    return head_of(step.paths.logs.job_result) if step.folder else ""
