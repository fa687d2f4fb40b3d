"""What went wrong in the user's script: `user/error.txt`, `user/error/` with full traces, `job_error.txt`."""

from __future__ import annotations

import os
from pathlib import Path

from daskpar.events import ProcessorEvent, ProcessorState, Progress, StepEnded, TriesEnded, Watcher
from daskpar.paths import LogPaths, process_name
from daskpar.reports.failure_kinds import FailureKind, FailureKinds
from daskpar.reports.log_files import append, replace
from daskpar.reports.record_columns import reason_name, with_rows
from daskpar.reports.user_frames import users_frames
from daskpar.reports.wording import counted, cut_lines, failed_mini_batch, indent, iso, number, one_line
from daskpar.results import Failure

FILE_LIMIT_BYTES = 32 * 1024**2
"""A file of errors grows no further than about this: a million failing mini-batches must not fill the disk.
"""
TRACES_KNOWN = 200
"""Different traces of a processor that are recognized when they come again."""
KINDS_SECONDS = 5.0
"""Between two writes of `job_error.txt`, which is written as a whole each time."""


class UserErrors(Watcher):
    """Writes each failed try once; a trace that comes again from one processor is not written again."""

    def __init__(self, logs: LogPaths) -> None:
        self._logs = logs
        self._kinds = FailureKinds()
        self._sizes: dict[Path, int] = {}
        """File -> its bytes."""
        self._traces: dict[Path, dict[int, int]] = {}
        """File -> hash of a trace -> mini-batch with which it was written."""
        self._changed = False
        self._written = 0.0

    def tries_ended(self, event: TriesEnded) -> None:
        if event.failures:
            self._add_failures(event)
        self._write_kinds_when_due(event.time)

    def processor_changed(self, event: ProcessorEvent) -> None:
        if event.state == ProcessorState.INIT_FAILED:
            self._add_failed_init(event)

    def progress(self, event: Progress) -> None:
        self._write_kinds_when_due(event.time)

    def step_ended(self, event: StepEnded) -> None:
        if self._changed:
            self._write_kinds(event.time)

    def close(self) -> None:
        if self._changed:
            self._write_kinds(self._written)

    def _add_failures(self, event: TriesEnded) -> None:
        lines: list[str] = []
        traces: dict[Path, list[str]] = {}
        for row, failure in with_rows(event.records, event.failures):
            record = event.records[row]
            node, processor = int(record["node"]), int(record["processor"])
            where = f"{node}/{process_name(processor)}"
            lines.append(error_line(failure, where, event.time))
            path = self._logs.trace(node, processor)
            traces.setdefault(path, []).append(
                self._trace(path, failure, int(record["tries"]) + 1, event.time)
            )
            self._kinds.add_one(failure, where)
            self._changed = True
        self._append(self._logs.user_error, "".join(lines))
        for path, texts in traces.items():
            self._append(path, "".join(texts))

    def _trace(self, path: Path, failure: Failure, attempt: int, now: float) -> str:
        # Hashes, since traces may have 64 kB each.
        known = self._traces.setdefault(path, {})
        mark = hash(failure.trace)
        same = known.get(mark)
        if same is None and len(known) < TRACES_KNOWN:
            known[mark] = failure.index
        return trace_text(failure, attempt, failure.time or now, same if failure.trace else None)

    def _add_failed_init(self, event: ProcessorEvent) -> None:
        where = f"{event.node}/{process_name(event.processor)}"
        self._append(
            self._logs.user_error,
            f"{iso(event.time)} {where}: import or init() failed: {one_line(event.detail, 1000)}\n",
        )
        self._append(
            self._logs.trace(event.node, event.processor),
            f"{iso(event.time)} import or init() failed\n{indent(event.detail)}\n"
            + (f"{indent(event.trace)}\n\n" if event.trace.strip() else "\n"),
        )

    def _append(self, path: Path, text: str) -> None:
        # What an earlier process of the run has written counts too.
        size = self._sizes[path] if path in self._sizes else (path.stat().st_size if path.exists() else 0)
        if not text or size > FILE_LIMIT_BYTES:
            return
        size += len(text.encode("utf-8", "backslashreplace"))
        if size > FILE_LIMIT_BYTES:
            text += (
                "... more errors are not written here; "
                "sys/job_report/processed_mini-batches.csv has one row for each try.\n"
            )
        self._sizes[path] = size
        append(path, text)

    def _write_kinds_when_due(self, now: float) -> None:
        if self._changed and now - self._written >= KINDS_SECONDS:
            self._write_kinds(now)

    def _write_kinds(self, now: float) -> None:
        self._changed, self._written = False, now
        replace(self._logs.job_error, kinds_text(self._kinds.oldest_first, self._kinds.others))


def error_line(failure: Failure, where: str, now: float) -> str:
    """A failed try on one line of `user/error.txt`."""
    final = "failed" if failure.final else "failed try"
    what = f"{failed_mini_batch(failure)} {final} ({reason_name(failure.reason)})"
    return f"{iso(failure.time or now)} {where}: {what}: {one_line(failure.message, 1000)}\n"


def trace_text(failure: Failure, attempt: int, seconds: float, same_as: int | None) -> str:
    """A failed try in full; `same_as` names the mini-batch with which its trace was written already."""
    lines = [
        f"{iso(seconds)} mini-batch {failure.index}, try {attempt}: {reason_name(failure.reason)}",
        indent(failure.message),
    ]
    if failure.items:
        lines.append(indent(f"items: {failure.items}"))
    if same_as is not None:
        lines.append(indent(f"trace as for mini-batch {same_as} above"))
    elif failure.trace:
        lines.append(indent(failure.trace))
    return "\n".join([*lines, *printed_lines(failure)]) + "\n\n"


def printed_lines(failure: Failure) -> list[str]:
    """What the script printed last before a failure, where that is known."""
    if not failure.printed:
        return []
    return [indent("the script printed last:"), indent(failure.printed, "        ")]


def kinds_text(kinds: list[FailureKind], other_tries: int) -> str:
    """`job_error.txt`: the failures by kind, oldest first."""
    total = sum(kind.tries for kind in kinds) + other_tries
    lines = [
        f"{counted(total, 'failed try')} of run() or of loading, by kind. "
        "Full traces: user/error/<node>/<process>.txt",
        "",
    ]
    for place, kind in enumerate(kinds, 1):
        first = kind.first
        lines.append(
            f"{place}. {reason_name(first.reason)}: {counted(kind.tries, 'failed try')}, "
            f"{number(kind.final)} of them final. First: mini-batch {first.index} on {kind.where}"
            + (f" at {iso(first.time)}" if first.time else "")
        )
        lines.append(indent(first.message))
        lines += [indent(f"items: {first.items}")] if first.items else []
        lines += [indent(cut_lines(users_frames(first.trace)))] if first.trace else []
        lines += printed_lines(first)
        lines += [indent(f"log: {os.fspath(first.log)}")] if first.log else []
        lines.append("")
    if other_tries:
        lines.append(f"... and {counted(other_tries, 'failed try')} of other kinds: see user/error.txt")
    return "\n".join(lines).rstrip("\n") + "\n"
