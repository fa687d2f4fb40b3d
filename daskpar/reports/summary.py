"""Words the summary: how a run ended, for the end of the output, and how a step did, in `job_result.txt`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from daskpar.events import StepKind
from daskpar.locations import filesystem, is_url, kind_at
from daskpar.named_places import know_configured
from daskpar.outputs.lost_output import rows_gone
from daskpar.paths import RunPaths, shell_path, step_path
from daskpar.printable import printable
from daskpar.reports.user_frames import users_frames
from daskpar.reports.wording import counted, counts_in_words, cut_lines, duration, indent, number, one_line
from daskpar.results import Failure, InitFailed, Status, StepResult
from daskpar.rundir.step_folder import StepFolder

REPEATS = "(a repeat: run again because its result was lost with its process or node; no failed try)"
NOTHING_THERE = " (nothing is there)"
_WELL = {Status.COMPLETED, Status.PARTIAL, Status.SKIPPED}
"""How steps end that did what was asked, or were not to begin: what rows they have are in a file."""


def summary_of_run(
    *,
    run_directory: Path | str,
    status: Status,
    reason: str,
    seconds: float,
    results: Sequence[StepResult],
    warnings: Sequence[str] = (),
    hints: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """The summary at the end of a run, many lines without a final line break.

    Steps in the order of `results` with counts, durations, outputs and logs. Where the run did not complete:
    its earliest failure with traceback, mini-batch, items and log, and what to do next. `seconds`: how long
    the run took. `warnings`: shown just before the last lines. `hints`: step -> what is worth knowing.
    """
    run = Path(run_directory)
    said = hints or {}
    parts = [
        _step(result, StepFolder(step_path(run, result.step)), said.get(result.step, ()))
        for result in results
    ]
    first = first_failure(results) if status != Status.COMPLETED else None
    if first is not None:
        parts.append(failure_in_full(*first))
    parts += [f"Warning: {warning}" for warning in warnings]
    parts += [f"Warning: {result.step}: {note}" for result in results for note in result.notes]
    parts.append(_ending(run, status, reason, seconds, results))
    return printable("\n".join(part for part in parts if part))


def _step(result: StepResult, folder: StepFolder, hints: Sequence[str] = ()) -> str:
    took = f" in {duration(result.seconds)}" if result.seconds else ""
    lines = [f"{result.step}: {result.status}{took}"]
    if result.reason and result.status != Status.COMPLETED:
        lines.append(indent(result.reason, "  "))
    if result.status == Status.PARTIAL:
        lines += partial_lines(result.partial_rows, result.outputs)
    if result.counts.planned:
        lines.append(f"  {counts_in_words(result.counts)}")
    if result.counts.repeats:
        lines.append(f"  {REPEATS}")
    if result.counts.failed_items and folder.failed_items.exists():
        alone = "" if result.counts.failed else f"{counted(result.counts.failed_items, 'item')} failed alone"
        lines.append(f"  {alone or 'failed items'}: {folder.failed_items}")
    if result.exit_code is not None and f"exit code {result.exit_code}" not in result.reason:
        lines.append(f"  exit code {result.exit_code}")
    if result.status == Status.COMPLETED:
        lines += output_lines(result.outputs, folder)
    lines += [f"  {hint}" for hint in hints]
    if result.status != Status.SKIPPED:
        lines.append(f"  logs: {folder.logs.root}")
    return "\n".join(lines)


def partial_lines(rows: str, outputs: Mapping[str, str]) -> list[str]:
    """Lines of a partial step: where its rows are, and what its outputs hold."""
    lines = [f"  rows of these: {rows}"] if rows else []
    made = {name: path for name, path in outputs.items() if not is_url(path) and Path(path).is_dir()}
    return lines + [f"  {name}: {path} (not complete)" for name, path in made.items()]


def output_lines(outputs: Mapping[str, str], folder: StepFolder) -> list[str]:
    """A line for each output (name -> path or URL) of a completed step, with a note where it needs one."""
    return [f"  {name}: {path}{output_note(path, folder)}" for name, path in outputs.items()]


def output_note(path: str, folder: StepFolder) -> str:
    """A note on an output of a completed step: it is gone, was left empty, or was there before.

    An empty text for an output that is there and to which the step wrote.
    """
    try:
        if gone := rows_gone(folder, path):
            return f" ({gone})"
        if is_url(path):
            know_configured()
            files, inner = filesystem(path)
            return "" if kind_at(files, inner) else NOTHING_THERE
    except Exception as error:  # whatever the store's own package raises
        return f" (what is there could not be looked at: {error})"
    place = Path(path)
    began = RunPaths(folder.path.parent.parent).started_with
    if place.is_file() and began.exists() and place.stat().st_mtime < began.stat().st_mtime:
        return " (there before; nothing was written there)"
    return "" if place.is_file() or (place.is_dir() and any(place.iterdir())) else NOTHING_THERE


def first_failure(results: Sequence[StepResult]) -> tuple[str, Failure | InitFailed] | None:
    """The earliest failure of the steps that did not complete, with its step."""
    known = [
        (r.step, r.first_failure)
        for r in results
        if r.status != Status.COMPLETED and r.first_failure is not None
    ]
    return min(known, key=lambda entry: entry[1].time or float("inf"), default=None)


def failure_in_full(step: str, failure: Failure | InitFailed) -> str:
    """The failure as the user wants to see it: what, where, with which items, the traceback, the log."""
    if isinstance(failure, InitFailed):
        where, items = f": import or init() of the entry script failed on node {failure.node}", ""
    else:
        where, items = f", mini-batch {failure.index}", failure.items
    lines = ["", f"First error, in step {step}{where}:", indent(failure.message, "  ")]
    if items:
        lines.append(f"  items: {one_line(items, 1000)}")
    if trace := trace_without(failure.trace, failure.message):
        lines.append(indent(cut_lines(users_frames(trace)), "  "))
    lines += printed_lines(failure.printed)
    if failure.log:
        lines.append(f"  log: {failure.log}")
    return "\n".join([*lines, ""])


def trace_without(trace: str, message: str) -> str:
    """The traceback without its last line, where that is the message, which has been said."""
    trace, message = trace.rstrip(), message.strip()
    if message and trace.endswith(message):
        # In front of it stands the module of the exception's class at most.
        return trace.removesuffix(message).rpartition("\n")[0].rstrip()
    return trace


def printed_lines(printed: str) -> list[str]:
    """What a script printed last, below the log in which that stands; no line where it printed nothing."""
    if not printed:
        return []
    return ["  the script printed last:", indent(printed, "    ")]


def _ending(run: Path, status: Status, reason: str, seconds: float, results: Sequence[StepResult]) -> str:
    lines = [f"{status.capitalize()}{_failed_of_all(status, results)} after {duration(seconds)}: {run}"]
    if reason and status != Status.COMPLETED:
        said = [r.step for r in results if reason == f"step {r.step}: {r.reason}"]
        lines.append(f"Reason: step {said[0]} {status}, as said above" if said else f"Reason: {reason}")
    if status != Status.COMPLETED or any(result.counts.to_retry for result in results):
        commands = next_commands(run, results)
        width = max(len(command) for command, _ in commands)
        lines += ["Next:", *(f"  {command:<{width}}  {what}" for command, what in commands)]
    return "\n".join(lines)


def _failed_of_all(status: Status, results: Sequence[StepResult]) -> str:
    """`, 2 of 60 mini-batches failed,` where some did in a run that is called completed all the same."""
    failed = sum(result.counts.failed for result in results)
    planned = sum(result.counts.planned for result in results)
    if status != Status.COMPLETED or not failed:
        return ""
    return f", {number(failed)} of {counted(planned, 'mini-batch')} failed,"


def next_commands(run: Path, results: Sequence[StepResult]) -> list[tuple[str, str]]:
    """Commands that help after a run that did not complete, each with what it does."""
    place = shell_path(run)
    go_on = " ".join(part for part in ("python -m daskpar resume", place, _cluster_of(run)) if part)
    logs = f"python -m daskpar logs {place} --errors"
    statuses = {result.status for result in results}
    debug = (f"python -m daskpar debug {place}", "stop in a debugger where the first one failed")
    if statuses == {Status.COMPLETED}:
        only_items = not any(result.counts.failed for result in results)
        again = "run the failed items again" if only_items else "run these again"
        return [
            (logs, "show why mini-batches failed, and which"),
            debug,
            (f"{go_on} --retry-failed", f"{again} (--allow-changes after mending the code)"),
        ]
    failed = any(result.counts.failed for result in results)
    if statuses <= {Status.COMPLETED, Status.SKIPPED, Status.PARTIAL} and not failed:
        return [(go_on, "run all the others")]
    only_stopped = bool(results) and statuses <= {*_WELL, Status.INTERRUPTED}
    mended = ", once the cause is mended (--allow-changes where that changed the code)"
    commands = [
        (go_on, f"run what is not done{'' if only_stopped else mended}"),
        (logs, "show the errors and where each log is"),
        *([debug] if failed or any(_could_not_begin(result) for result in results) else []),
    ]
    if any(r.counts.succeeded for r in results if r.status not in _WELL):
        export = f"python -m daskpar export {place} --partial FILE"
        commands.append((export, "write the rows that are done so far, in order"))
    return commands


def _could_not_begin(result: StepResult) -> bool:
    """Whether a step ended because its script could not be imported, or its `init()` failed."""
    return isinstance(result.first_failure, InitFailed) and result.status in (Status.FAILED, Status.LOST)


def _cluster_of(run: Path) -> str:
    """The option that names the cluster of the run, as it was started."""
    try:
        found = json.loads(RunPaths(run).started_with.read_text()).get("cluster", "")
    except (OSError, ValueError):
        return ""
    return str(found)


def job_result_text(result: StepResult, kind: StepKind = StepKind.PARALLEL) -> str:
    """The text of `job_result.txt`."""
    lines = [f"Status: {result.status}"]
    if result.reason:
        lines.append(f"Reason: {result.reason}")
    lines += [f"Warning: {note}" for note in result.notes]
    lines.append(f"Duration: {duration(result.seconds)}")
    if result.exit_code is not None:
        lines.append(f"Exit code: {result.exit_code}")
    if kind == StepKind.PARALLEL:
        lines.append(f"Counts: {counts_in_words(result.counts)}")
    if result.status == Status.COMPLETED:
        lines += [f"Output {name}: {path}" for name, path in result.outputs.items()]
    elif result.status == Status.PARTIAL and result.partial_rows:
        lines.append(f"Rows of these: {result.partial_rows}")
    if result.first_failure is not None:
        lines.append(failure_in_full(result.step, result.first_failure).rstrip("\n"))
    lines += ["", "Where to look:", *(f"  {line}" for line in _where_to_look(result, kind))]
    return "\n".join(lines) + "\n"


def _where_to_look(result: StepResult, kind: StepKind) -> list[str]:
    if kind == StepKind.COMMAND:
        where = ["user/std_out.txt, user/std_err.txt: what the command wrote"]
    elif result.counts.tries_failed or result.first_failure is not None:
        where = [
            "job_error.txt: the errors by kind",
            *(["failed_mini-batches.csv: every item of failed mini-batches"] if result.counts.failed else []),
            "user/error.txt: one line for each failed try",
            "user/error/<node>/<process>.txt: full traces",
            "user/stdout, user/stderr: what the script wrote",
        ]
    else:
        where = []
    if result.counts.failed_items:
        where.append("../failed_items.jsonl: each failed item, as data")
    if kind == StepKind.PARALLEL:
        where.append("sys/job_report/processed_mini-batches.csv: one row for each try")
    return [*where, "readme.txt: what each file of this folder holds"]
