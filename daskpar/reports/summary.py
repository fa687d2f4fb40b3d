"""How a run or a step ended, in words for people: the end of the terminal's output and `job_result.txt`.
Plain values in, text out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from daskpar.locations import filesystem, is_url
from daskpar.reports.wording import (
    counts_in_words,
    cut_lines,
    duration,
    indent,
    one_line,
    printable,
    shell_path,
)
from daskpar.results import Failure, InitFailed, StepResult
from daskpar.rundir.run_directory import STARTED_WITH, StepFolder


def summary_of_run(
    *,
    run_directory: Path | str,
    status: str,
    reason: str,
    seconds: float,
    results: Sequence[StepResult],
    warnings: Sequence[str] = (),
) -> str:
    """The summary at the end of a run, many lines without a final line break.

    Steps in the given order with counts, durations, outputs and logs; where the run did not complete: the
    first failure in time of its failed steps with traceback, mini-batch, items and log, and what to do next.
    `warnings`: what has to be seen before that.
    """
    run = Path(run_directory)
    parts = [_step(result, run) for result in results]
    first = first_failure(results) if status != "completed" else None
    if first is not None:
        parts.append(failure_in_full(*first))
    parts += [f"Warning: {warning}" for warning in warnings]
    parts.append(_ending(run, status, reason, seconds, results))
    return printable("\n".join(part for part in parts if part))


def _step(result: StepResult, run: Path) -> str:
    head = f"{result.step}: {result.status}"
    head += f" in {duration(result.seconds)}" if result.seconds else ""
    lines = [head]
    if result.reason and result.status != "completed":
        lines.append(indent(result.reason, "  "))
    if result.counts.planned:
        lines.append(f"  {counts_in_words(result.counts)}")
    if result.exit_code is not None:
        lines.append(f"  exit code {result.exit_code}")
    if result.status == "completed":
        lines += [
            f"  {name}: {path}{remark(path, StepFolder(run / 'steps' / result.step))}"
            for name, path in result.outputs.items()
        ]
    if result.status != "skipped":
        lines.append(f"  logs: {run / 'steps' / result.step / 'logs'}")
    return "\n".join(lines)


def remark(path: str, step: StepFolder) -> str:
    """What is to be said of an output of a completed step that is gone since, was left empty, or as it was;
    empty for any other.
    """
    try:
        if gone := step.rows_gone(path):
            return f" ({gone})"
    except Exception as error:  # whatever the store's own package raises
        return f" (what is there could not be looked at: {error})"
    if is_url(path):
        try:
            found, inner = filesystem(path)
            written = bool(found.exists(inner))
        except Exception as error:  # whatever the store's own package raises
            return f" (what is there could not be looked at: {error})"
    else:
        place = Path(path)
        written = place.is_file() or (place.is_dir() and any(place.iterdir()))
        begun = step.path.parent.parent / STARTED_WITH
        if place.is_file() and begun.exists() and place.stat().st_mtime < begun.stat().st_mtime:
            return " (there before; nothing was written there)"
    return "" if written else " (nothing is there)"


def first_failure(results: Sequence[StepResult]) -> tuple[str, Failure | InitFailed] | None:
    """The first failure in time of the steps that did not complete, with its step."""
    known = [
        (r.step, r.first_failure)
        for r in results
        if r.status != "completed" and isinstance(r.first_failure, Failure | InitFailed)
    ]
    return min(known, key=lambda entry: entry[1].time or float("inf"), default=None)


def failure_in_full(step: str, failure: Failure | InitFailed) -> str:
    """The failure as the user wants to see it: what, where, with which items, the traceback, the log."""
    if isinstance(failure, InitFailed):
        head = (
            f"First error, in step {step}: import or init() of the entry script failed on node {failure.node}"
        )
        items = ""
    else:
        head = f"First error, in step {step}, mini-batch {failure.index}"
        items = failure.items
    lines = ["", f"{head}:", indent(failure.message, "  ")]
    if items:
        lines.append(f"  items: {one_line(items, 1000)}")
    if failure.trace.strip() and failure.trace.strip() != failure.message.strip():
        lines.append(indent(cut_lines(failure.trace), "  "))
    if failure.log:
        lines.append(f"  log: {failure.log}")
    return "\n".join([*lines, ""])


def _ending(run: Path, status: str, reason: str, seconds: float, results: Sequence[StepResult]) -> str:
    verb = {"completed": "Completed", "failed": "Failed", "interrupted": "Interrupted", "lost": "Lost"}.get(
        status, status.capitalize()
    )
    lines = [f"{verb} after {duration(seconds)}: {run}"]
    if reason and status != "completed":
        lines.append(f"Reason: {reason}")
    if status != "completed" or any(result.counts.failed for result in results):
        lines.append("Next:")
        lines += [
            f"  {command:<{width}}  {what}" for command, what, width in _aligned(next_commands(run, results))
        ]
    return "\n".join(lines)


def next_commands(run: Path, results: Sequence[StepResult]) -> list[tuple[str, str]]:
    """Commands that help after a run that did not complete, each with what it does."""
    place = shell_path(run)
    go_on = " ".join(part for part in ("python -m daskpar resume", place, _cluster_of(run)) if part)
    if results and all(result.status == "completed" for result in results):
        return [
            (f"python -m daskpar logs {place} --errors", "show why mini-batches failed, and which"),
            (f"{go_on} --retry-failed", "run these again (--allow-changes after mending the code)"),
        ]
    stopped = bool(results) and all(
        result.status in ("completed", "skipped", "interrupted") for result in results
    )
    mended = ", once the cause is mended (--allow-changes where that changed the code)"
    commands = [
        (go_on, f"run what is not done{'' if stopped else mended}"),
        (f"python -m daskpar logs {place} --errors", "show the errors and where each log is"),
    ]
    if any(result.counts.succeeded for result in results if result.status not in ("completed", "skipped")):
        commands.append(
            (
                f"python -m daskpar export {place} --partial FILE",
                "write the rows that are done so far, in order",
            )
        )
    return commands


def _cluster_of(run: Path) -> str:
    """The option that names the cluster of the run, as it was started."""
    try:
        found = json.loads((run / STARTED_WITH).read_text()).get("cluster", "")
    except (OSError, ValueError):
        return ""
    return str(found)


def _aligned(commands: list[tuple[str, str]]) -> list[tuple[str, str, int]]:
    width = max(len(command) for command, _ in commands)
    return [(command, what, width) for command, what in commands]


def step_result(result: StepResult, kind: str = "parallel") -> str:
    """The text of `job_result.txt`."""
    lines = [f"Status: {result.status}"]
    if result.reason:
        lines.append(f"Reason: {result.reason}")
    lines.append(f"Duration: {duration(result.seconds)}")
    if result.exit_code is not None:
        lines.append(f"Exit code: {result.exit_code}")
    if kind == "parallel":
        lines.append(f"Counts: {counts_in_words(result.counts)}")
    if result.status == "completed":
        lines += [f"Output {name}: {path}" for name, path in result.outputs.items()]
    failure = result.first_failure
    if isinstance(failure, Failure | InitFailed):
        lines.append(failure_in_full(result.step, failure).rstrip("\n"))
    lines += ["", "Where to look:", *(f"  {line}" for line in _where(result, kind))]
    return "\n".join(lines) + "\n"


def _where(result: StepResult, kind: str) -> list[str]:
    if kind == "command":
        return [
            "user/std_out.txt, user/std_err.txt: what the command wrote",
            "readme.txt: what each file of this folder holds",
        ]
    where = []
    if result.counts.tries_failed or result.first_failure is not None:
        where += [
            "job_error.txt: the errors by kind",
            "user/error.txt: one line for each failed try",
            "user/error/<node>/<process>.txt: full traces",
            "user/stdout, user/stderr: what the script wrote",
        ]
    where.append("sys/job_report/processed_mini-batches.csv: one row for each try")
    where.append("readme.txt: what each file of this folder holds")
    return where
