"""`sys/node`: what each processor ran, and how the processors of each node started and ended."""

from __future__ import annotations

import threading
from collections import defaultdict

import numpy as np

from daskpar.events import (
    NodeEvent,
    NodeState,
    ProcessorEvent,
    ProcessorState,
    Progress,
    StepEnded,
    TriesEnded,
    Watcher,
)
from daskpar.paths import LogPaths
from daskpar.reports import record_columns
from daskpar.reports.log_files import SystemLog, append
from daskpar.reports.wording import (
    counted,
    failed_mini_batch,
    log_line,
    node_in_words,
    one_line,
    processor_in_words,
)
from daskpar.results import Failure, TryStatus

WAITING_RECORDS = 10_000
WAITING_SECONDS = 2.0
"""Tries are written when this many wait, or when the oldest of them has waited this long."""


class NodeLogs(Watcher):
    """One file for each processor, and one for each node.

    A processor's file has its failed tries; at INFO also a line for each bulk, at DEBUG one for each try.
    """

    def __init__(self, logs: LogPaths, level: str = "INFO") -> None:
        self._logs = logs
        self._log = SystemLog(level)
        self._waiting: list[TriesEnded] = []
        self._waiting_records = 0
        self._pids: dict[tuple[int, int], tuple[str, int]] = {}
        """Node and processor -> address and pid."""

    def processor_changed(self, event: ProcessorEvent) -> None:
        self._pids[event.node, event.processor] = (event.address, event.pid)
        level = "ERROR" if event.state == ProcessorState.INIT_FAILED else "INFO"
        self._log.write(self._logs.node(event.node), event.time, level, processor_in_words(event))

    def node_changed(self, event: NodeEvent) -> None:
        level = "WARNING" if event.state == NodeState.LOST else "INFO"
        self._log.write(self._logs.node(event.node), event.time, level, node_in_words(event))

    def tries_ended(self, event: TriesEnded) -> None:
        self._waiting.append(event)
        self._waiting_records += len(event.records)
        self._write_when_due(event.time)

    def progress(self, event: Progress) -> None:
        self._write_when_due(event.time)

    def step_ended(self, event: StepEnded) -> None:
        self._write()

    def close(self) -> None:
        self._write()

    def _write_when_due(self, now: float) -> None:
        if not self._waiting:
            return
        if self._waiting_records >= WAITING_RECORDS or now - self._waiting[0].time >= WAITING_SECONDS:
            self._write()

    def _write(self) -> None:
        if not self._waiting:
            return
        waiting, self._waiting, self._waiting_records = self._waiting, [], 0
        records = np.concatenate([bulk.records for bulk in waiting])
        failures = record_columns.with_rows(
            records, [failure for bulk in waiting for failure in bulk.failures]
        )
        processors, which = record_columns.processors(records)
        failures_of: dict[int, list[Failure]] = defaultdict(list)
        for row, failure in failures:
            failures_of[int(which[row])].append(failure)
        # Records sorted by processor: those of each are one slice.
        order = np.argsort(which, kind="stable")
        ends = np.cumsum(np.bincount(which, minlength=len(processors))).tolist()
        for number, (processor, start, end) in enumerate(zip(processors, [0, *ends], ends, strict=False)):
            text = self._text(processor, records[order[start:end]], failures_of[number], waiting[-1].time)
            if text:
                append(self._logs.processor(*processor), text)

    def _text(
        self, processor: tuple[int, int], records: np.ndarray, failures: list[Failure], now: float
    ) -> str:
        address, pid = self._pids.get(processor, ("", 0))
        thread = threading.get_ident()
        lines = [
            log_line(failure.time or now, "ERROR", pid, thread, failure_line(failure)) for failure in failures
        ]
        if self._log.level == "DEBUG":
            return try_lines(records, address, pid, thread) + "".join(lines)
        if self._log.level == "INFO":
            lines.append(log_line(now, "INFO", pid, thread, bulk_line(records)))
        return "".join(lines)


def failure_line(failure: Failure) -> str:
    """A failed try in one sentence."""
    end = "no tries left" if failure.final else "goes back to the queue"
    reason = record_columns.reason_name(failure.reason)
    return f"{failed_mini_batch(failure)}: {reason}, {end}: {one_line(failure.message, 1000)}"


def bulk_line(records: np.ndarray) -> str:
    """A bulk of tries in one sentence."""
    done = int((records["status"] == TryStatus.SUCCEEDED).sum())
    failed = int((records["status"] == TryStatus.FAILED).sum())
    parts = [f"{counted(done, 'mini-batch')} done"]
    parts += [counted(failed, "failed try")] if failed else []
    span = (int(records["index"].min()), int(records["index"].max()))
    items = int(records["items"].sum())
    seconds = f"{float(records['run'].sum()):.3f} s in run(), {float(records['elapsed'].sum()):.3f} s in all"
    return f"{', '.join(parts)} (indices {span[0]} to {span[1]}), {counted(items, 'item')}, {seconds}"


def try_lines(records: np.ndarray, address: str, pid: int, thread: int) -> str:
    """One DEBUG line for each try, at the time of its end."""
    text = record_columns.join_rows(
        len(records),
        record_columns.log_times(records["started"] + records["elapsed"]),
        f"|DEBUG|{pid}|{thread}|mini-batch ",
        record_columns.whole_numbers(records["index"]),
        f" ip={address or 'N/A'} pid={pid} try=",
        record_columns.whole_numbers(records["tries"] + np.uint32(1)),
        " status=",
        record_columns.try_status(records),
        " total=",
        record_columns.whole_numbers(records["items"]),
        " succeeded=",
        record_columns.whole_numbers(np.maximum(records["items"] - records["failed_items"], 0)),
        " failed=",
        record_columns.whole_numbers(records["failed_items"]),
        " start=",
        record_columns.iso_times(records["started"]),
        " duration=",
        record_columns.seconds_text(records["elapsed"]),
        " process_time=",
        record_columns.seconds_text(records["cpu"]),
        " run_time=",
        record_columns.seconds_text(records["run"]),
        "\n",
    )
    return text.decode()
