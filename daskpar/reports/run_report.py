"""Writes `report.html`: all about a run on one page that needs nothing else, for mails and archives."""

from __future__ import annotations

from pathlib import Path
from time import time

from daskpar import atomic
from daskpar.page.web_page import packed, report_html
from daskpar.paths import process_name
from daskpar.printable import printable_tree
from daskpar.reports.facts import Document, run_document, step_document
from daskpar.reports.log_places import tail_of
from daskpar.reports.mini_batch_rows import mini_batch_table
from daskpar.reports.step_facts import RunFacts, StepFacts
from daskpar.reports.wording import counts_in_words, local_time, status_after

ADVICE = "The run itself is as it was: `python -m daskpar report RUN --out FILE` writes the report elsewhere."
MOST_BYTES = 2_700_000
"""Of a report, so that it goes by mail."""
ROWS_AT_END = 10_000
"""Mini-batches in the table of a report that a run writes when it ends: it must not take long."""
ROWS_ASKED_FOR = 100_000
"""The same where somebody asks for a report."""
TAILS = 8
"""Processors of a step whose last words a report holds: those with the most failures, else the first ones."""
TAIL_BYTES = 4_000


def write_report(run: RunFacts, path: Path, *, rows: int) -> None:
    """Write the report of `run` to `path`; its tables have at most `rows` rows together.

    Raises RunDirectoryError, or InfrastructureLost, where it can't be written.
    """
    data = report_text(run, rows=rows).encode("utf-8", "replace")
    with (
        atomic.explained(f"The report {path} can't be written", ADVICE),
        atomic.writing(path, mode=atomic.OWNER_FILE) as fd,
    ):
        atomic.write_all(fd, data)


def report_text(run: RunFacts, *, rows: int, most_bytes: int = MOST_BYTES) -> str:
    """The report as HTML, of about `most_bytes` at most: what has no room is left out of the tables."""
    now = time()
    details = {step.name: _detail(step, now) for step in run.steps.values()}
    parallel = [step for step in run.steps.values() if step.kind == "parallel" and step.tally.tries]
    each = rows // max(1, len(parallel))
    texts = {name: packed(detail) for name, detail in details.items()}
    if sum(map(len, texts.values())) > most_bytes // 2:
        texts = {name: packed(printable_tree(_short(detail), 500)) for name, detail in details.items()}
    room = most_bytes - sum(map(len, texts.values())) - 200_000
    tables: dict[str, str] = {}
    while each:
        tables = {step.name: packed(mini_batch_table(step, each)) for step in parallel}
        taken = sum(map(len, tables.values()))
        if taken <= room:
            break
        each = min(each // 2, int(each * 0.9 * room / taken)) if room > 0 else 0
        tables = {}
    document = {
        "run": run_document(run, run.ended or now),
        "chosen": _first_to_show(run),
        "steps": texts,
        "tables": tables,
    }
    title = printable_tree(f"{run.name}: {run.status}")
    return report_html(document, title=title, summary=printable_tree(summary(run), 20_000))


def _detail(step: StepFacts, now: float) -> Document:
    return {**step_document(step, step.ended or now), "tails": tails(step)}


def _short(detail: Document) -> Document:
    return {**detail, "tails": [], "result": "", "failures": detail["failures"][:5]}


def _first_to_show(run: RunFacts) -> str:
    """The step that a reader wants to see first: one that did not complete, else one with failures."""
    begun = [step for step in run.steps.values() if step.started] or list(run.steps.values())
    bad = [step for step in begun if step.status not in ("completed", "waiting", "skipped")]
    failing = [step for step in begun if step.counts.failed]
    return next((step.name for step in [*bad, *failing, *begun]), "")


def tails(step: StepFacts) -> list[list[object]]:
    """[processor, [[stream, path, text], ...]]: what scripts have printed last, of some processors."""
    if not step.folder:
        return []
    logs = step.paths.logs
    if step.kind == "command":
        places = [("command", [("stdout", logs.command_stdout), ("stderr", logs.command_stderr)])]
    else:
        totals = step.tally.totals.known()
        chosen = sorted(totals, key=lambda place: (-totals[place].tries_failed, place))[:TAILS]
        chosen = (
            chosen or sorted({(init.node, init.processor) for init in step.inits if init.node >= 0})[:TAILS]
        )
        places = [
            (
                f"{node}/{process_name(number)}",
                [("stdout", logs.stdout(node, number)), ("stderr", logs.stderr(node, number))],
            )
            for node, number in chosen
        ]
    found: list[list[object]] = [
        [where, printable_tree([[what, str(path), tail_of(path, TAIL_BYTES)] for what, path in streams])]
        for where, streams in places
    ]
    return found


def summary(run: RunFacts) -> str:
    """What a reader without scripts sees."""
    lines = [
        f"{run.name}: {status_after(run.status, run.seconds)}",
        run.reason,
        f"spec: {run.spec}",
        f"run directory: {run.directory}",
    ]
    lines.append(f"started: {local_time(run.started)}")
    for step in run.steps.values():
        words = f": {counts_in_words(step.counts)}" if step.counts.planned else ""
        lines.append(f"{step.name}: {status_after(step.status, step.seconds)}{words}")
        lines += [f"  {step.reason}"] if step.reason else []
    return "\n".join(line for line in lines if line)
