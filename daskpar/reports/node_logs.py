"""`sys/node`: what each processor ran, and the life of the processors of each node."""

from __future__ import annotations

import os
import threading
from collections import defaultdict

import numpy as np

from daskpar.events import Event, NodeEvent, ProcessorEvent, StepEnded, TriesEnded, Watcher
from daskpar.paths import LogPaths, process_name
from daskpar.reports import record_columns
from daskpar.reports.log_files import append
from daskpar.reports.wording import log_line, one_line, some
from daskpar.results import Failure, TryStatus

HELD_RECORDS = 10_000
HELD_SECONDS = 2.0


class NodeLogs(Watcher):
    """One file for each processor: at INFO its failed tries and a line for each bulk, at DEBUG a line for
    each try; else failed tries.
    """

    def __init__(self, layout: LogPaths, level: str = "INFO") -> None:
        self._layout = layout
        self._level = level
        self._held: list[TriesEnded] = []
        self._held_records = 0
        self._pids: dict[tuple[int, int], tuple[str, int]] = {}

    def hear(self, event: Event) -> None:
        if isinstance(event, ProcessorEvent):
            self._pids[event.node, event.processor] = (event.address, event.pid)
            if self._level != "WARNING" or event.state == "init_failed":
                level = "ERROR" if event.state == "init_failed" else "INFO"
                detail = f": {event.detail}" if event.detail else ""
                text = f"{process_name(event.processor)} (pid {event.pid}) {event.state.replace('_', ' ')}{detail}"
                append(
                    self._layout.node(event.node),
                    log_line(event.time, level, os.getpid(), threading.get_ident(), text),
                )
        elif isinstance(event, NodeEvent):
            level = "WARNING" if event.state == "lost" else "INFO"
            text = f"node {event.node} at {event.address} {event.state}" + (
                f": {event.detail}" if event.detail else ""
            )
            append(
                self._layout.node(event.node),
                log_line(event.time, level, os.getpid(), threading.get_ident(), text),
            )
        elif isinstance(event, TriesEnded):
            self._held.append(event)
            self._held_records += len(event.records)
        if self._held and (
            self._held_records >= HELD_RECORDS or event.time - self._held[0].time >= HELD_SECONDS
        ):
            self._write()
        if isinstance(event, StepEnded):
            self._write()

    def close(self) -> None:
        self._write()

    def _write(self) -> None:
        if not self._held:
            return
        held, self._held, self._held_records = self._held, [], 0
        records = np.concatenate([bulk.records for bulk in held])
        failures = record_columns.pair(records, [failure for bulk in held for failure in bulk.failures])
        told: dict[int, list[tuple[int, Failure]]] = defaultdict(list)
        who, where = record_columns.processors(records)
        for row, failure in failures:
            told[int(where[row])].append((row, failure))
        order = np.argsort(where, kind="stable")
        ends = np.cumsum(np.bincount(where, minlength=len(who)))
        for number, (place, end) in enumerate(zip(who, ends.tolist(), strict=True)):
            rows = order[(int(ends[number - 1]) if number else 0) : end]
            text = self._text(place, records[rows], told[number], held[-1].time)
            if text:
                append(self._layout.processor(*place), text)

    def _text(
        self, place: tuple[int, int], records: np.ndarray, failures: list[tuple[int, Failure]], now: float
    ) -> str:
        address, pid = self._pids.get(place, ("", 0))
        thread = threading.get_ident()
        lines = [
            log_line(failure.time or now, "ERROR", pid, thread, failure_line(failure))
            for _, failure in failures
        ]
        if self._level == "DEBUG":
            return try_lines(records, address, pid, thread) + "".join(lines)
        if self._level == "INFO":
            lines.append(log_line(now, "INFO", pid, thread, bulk_line(records)))
        return "".join(lines)


def failure_line(failure: Failure) -> str:
    """A failed try in one sentence."""
    end = "no tries left" if failure.final else "goes back to the queue"
    return f"mini-batch {failure.index}: {record_columns.reason_name(failure.reason)}, {end}: {one_line(failure.message, 1000)}"


def bulk_line(records: np.ndarray) -> str:
    """A bulk of tries in one sentence."""
    done = int((records["status"] == TryStatus.SUCCEEDED).sum())
    failed = int((records["status"] == TryStatus.FAILED).sum())
    parts = [f"{some(done, 'mini-batch')} done"]
    parts += [some(failed, "failed try")] if failed else []
    span = (int(records["index"].min()), int(records["index"].max()))
    items = int(records["items"].sum())
    seconds = f"{float(records['run'].sum()):.3f} s in run(), {float(records['elapsed'].sum()):.3f} s in all"
    return f"{', '.join(parts)} (indices {span[0]} to {span[1]}), {some(items, 'item')}, {seconds}"


def try_lines(records: np.ndarray, address: str, pid: int, thread: int) -> str:
    """One DEBUG line for each try, at the time of its end."""
    text = record_columns.lines(
        len(records),
        record_columns.log_times(records["started"] + records["elapsed"]),
        f"|DEBUG|{pid}|{thread}|mini-batch ",
        record_columns.whole(records["index"]),
        f" ip={address or 'N/A'} pid={pid} try=",
        record_columns.whole(records["tries"] + np.uint32(1)),
        " status=",
        record_columns.try_status(records),
        " total=",
        record_columns.whole(records["items"]),
        " succeeded=",
        record_columns.whole(np.maximum(records["items"] - records["failed_items"], 0)),
        " failed=",
        record_columns.whole(records["failed_items"]),
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
