"""`sys/job_report`: a table with one row for each try, and sums for each processor and node."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from daskpar.batches.records import RECORD
from daskpar.events import Event, StepEnded, TriesEnded, Watcher
from daskpar.paths import LogPaths, process_name
from daskpar.reports import record_columns
from daskpar.reports.log_files import replace
from daskpar.reports.wording import as_json, cell, csv_row, iso, one_line
from daskpar.results import TryStatus

if TYPE_CHECKING:
    import pyarrow as pa

    from daskpar.reports.record_columns import Column
    from daskpar.results import Failure

TRY_COLUMNS = (
    "Mini-batch Id",
    "Picked Count",
    "Process",
    "Process Start Time",
    "Total",
    "Succeeded",
    "Failed",
    "Elapsed Seconds",
    "Process Seconds",
    "Run Method Seconds",
    "Status",
    "Error Category",
    "Error Message",
    "Mini-batch Detail",
)
SUM_COLUMNS = (
    "Mini-batches Succeeded",
    "Mini-batches Empty",
    "Tries Failed",
    "Items",
    "Items Failed",
    "Elapsed Seconds",
    "Process Seconds",
    "Run Method Seconds",
    "First Start Time",
    "Last End Time",
)

HELD_RECORDS = 10_000
HELD_SECONDS = 2.0
"""Rows are written when this many wait, or when the oldest of them has waited this long: a write has a price
of its own.
"""
CHUNK = 2_500


class JobReport(Watcher):
    """Writes the table as tries end, the sums at the end of the step."""

    def __init__(self, layout: LogPaths) -> None:
        self._layout = layout
        self._held: list[tuple[np.ndarray, tuple[object, ...]]] = []
        self._held_records = 0
        self._held_since = 0.0
        self._sums = Sums()
        self._begun = False

    def hear(self, event: Event) -> None:
        if isinstance(event, TriesEnded):
            if not self._held:
                self._held_since = event.time
            self._held.append((event.records, event.failures))
            self._held_records += len(event.records)
        if self._held_records >= HELD_RECORDS or (
            self._held and event.time - self._held_since >= HELD_SECONDS
        ):
            self._write()
        if isinstance(event, StepEnded):
            self.close()

    def close(self) -> None:
        self._write()
        if self._begun:
            replace(self._layout.job_report / "process_summary.csv", self._sums.by_processor())
            replace(self._layout.job_report / "node_summary.csv", self._sums.by_node())

    def _write(self) -> None:
        if not self._held:
            return
        if not self._begun:
            self._begin()
        held, self._held, self._held_records = self._held, [], 0
        records = np.concatenate([records for records, _ in held])
        failures = record_columns.pair(records, [failure for _, some in held for failure in some])
        with self._layout.processed.open("ab") as file:
            for start in range(0, len(records), CHUNK):  # pieces that stay in the processor's cache
                part = records[start : start + CHUNK]
                self._sums.add(part)
                file.write(
                    rows_of(
                        part,
                        [(row - start, failure) for row, failure in failures if start <= row < start + CHUNK],
                    )
                )

    def _begin(self) -> None:
        self._begun = True
        path = self._layout.processed
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():  # a resumed step
            cut_torn_line(path)
        if path.exists() and path.stat().st_size:
            self._sums = sums_of(path)
        else:
            path.write_text(csv_row(TRY_COLUMNS), encoding="utf-8")


def cut_torn_line(path: Path) -> None:
    """Take away what a driver that was killed left of its last line."""
    with path.open("r+b") as file:
        size = end = file.seek(0, io.SEEK_END)
        while end:
            start = max(end - 65536, 0)
            file.seek(start)
            at = file.read(end - start).rfind(b"\n")
            end = start + at + 1 if at >= 0 else start
            if at >= 0:
                break
        if end < size:
            file.truncate(end)


def sums_of(path: Path) -> Sums:
    """The sums of the tries that a table has already; read in pieces, since it may be longer than memory."""
    import pyarrow as pa
    from pyarrow import csv

    number, text = pa.float64(), pa.dictionary(pa.int32(), pa.string())
    types = {"Process": text, "Status": text, "Process Start Time": pa.timestamp("us", "UTC")}
    types |= {
        name: number
        for name in ("Total", "Failed", "Elapsed Seconds", "Process Seconds", "Run Method Seconds")
    }
    wanted = csv.ConvertOptions(column_types=types, include_columns=list(types), null_values=["N/A"])
    sums = Sums()
    with csv.open_csv(path, convert_options=wanted) as reader:
        for batch in reader:
            sums.add(records_of(batch))
    return sums


def records_of(batch: pa.RecordBatch) -> np.ndarray:
    """What the sums need of rows of a table, as records."""
    from daskpar.data.columns.buffers import numbers, valid

    records = np.zeros(batch.num_rows, RECORD)
    process, status = batch["Process"], batch["Status"]
    places = np.array([text.split("/process") for text in process.dictionary.to_pylist()], np.int64).reshape(
        -1, 2
    )
    records["node"], records["processor"] = places[numbers(process.indices, np.int32)].T
    known = {"RUN_DONE": TryStatus.SUCCEEDED, "LOAD_DONE": TryStatus.EMPTY}
    outcomes = np.array(
        [known.get(text, TryStatus.FAILED) for text in status.dictionary.to_pylist()], np.uint8
    )
    records["status"] = outcomes[numbers(status.indices, np.int32)]
    fields = {
        "items": "Total",
        "failed_items": "Failed",
        "elapsed": "Elapsed Seconds",
        "cpu": "Process Seconds",
        "run": "Run Method Seconds",
    }
    for field, name in fields.items():
        records[field] = np.where(valid(batch[name]), numbers(batch[name], np.float64), 0.0)
    started = batch["Process Start Time"]
    records["started"] = np.where(valid(started), numbers(started), 0) / 1e6
    return records


def rows_of(records: np.ndarray, failures: Sequence[tuple[int, Failure]]) -> bytes:
    """CSV rows (UTF-8, without the head) for the tries, in their order; `failures` with their row.

    Joined here and not by Arrow's CSV writer, which quotes every text.
    """
    ran = (records["status"] != TryStatus.EMPTY) & ~np.isin(records["reason"], record_columns.NOT_RUN)
    index = record_columns.whole(records["index"])
    message, detail = _texts(len(records), index, failures)
    cells = [
        index,
        record_columns.whole(records["tries"] + np.uint32(1)),
        record_columns.process_names(*record_columns.processors(records)),
        record_columns.iso_times(records["started"]),
        record_columns.whole(records["items"]),
        record_columns.whole(np.maximum(records["items"] - records["failed_items"], 0)),
        record_columns.whole(records["failed_items"]),
        record_columns.seconds_text(records["elapsed"]),
        record_columns.seconds_text(records["cpu"]),
        record_columns.seconds_text(records["run"], ran),
        record_columns.try_status(records),
        record_columns.category(records),
        message,
    ]
    between = [piece for cell in cells for piece in (cell, ",")]
    return record_columns.lines(len(records), *between, *detail, "\n")


def _texts(count: int, index: Column, failures: Sequence[tuple[int, Failure]]) -> tuple[Column, list[Column]]:
    """Error message and the pieces of the detail of each try; both are short but for failed ones."""
    if not failures:
        return "N/A", ['"{""index"": ', index, '}"']
    messages = ["N/A"] * count
    indices = [index] * count if isinstance(index, str) else index
    details = [f'"{{""index"": {number}}}"' for number in indices]
    for row, failure in failures:
        messages[row] = cell(one_line(failure.message, 2000) or "N/A")
        details[row] = cell(as_json(_detail(failure)))
    return messages, [details]


def _detail(failure: Failure) -> dict[str, object]:
    detail: dict[str, object] = {"index": failure.index}
    return detail | {"items": one_line(failure.items, 2000)} if failure.items else detail


@dataclass
class Sum:
    """What one processor, or one node, did."""

    succeeded: int = 0
    empty: int = 0
    tries_failed: int = 0
    items: int = 0
    failed_items: int = 0
    elapsed: float = 0.0
    cpu: float = 0.0
    run: float = 0.0
    first: float = 0.0
    last: float = 0.0

    def __add__(self, other: Sum) -> Sum:
        firsts = [value for value in (self.first, other.first) if value]
        return Sum(
            succeeded=self.succeeded + other.succeeded,
            empty=self.empty + other.empty,
            tries_failed=self.tries_failed + other.tries_failed,
            items=self.items + other.items,
            failed_items=self.failed_items + other.failed_items,
            elapsed=self.elapsed + other.elapsed,
            cpu=self.cpu + other.cpu,
            run=self.run + other.run,
            first=min(firsts, default=0.0),
            last=max(self.last, other.last),
        )

    def cells(self) -> list[object]:
        """In the order of `SUM_COLUMNS`."""
        numbers: list[object] = [self.succeeded, self.empty, self.tries_failed, self.items, self.failed_items]
        seconds: list[object] = [f"{value:.6f}" for value in (self.elapsed, self.cpu, self.run)]
        return numbers + seconds + [iso(time) if time else None for time in (self.first, self.last)]


class Sums:
    """Sums for each processor, added up bulk by bulk."""

    def __init__(self) -> None:
        self._sums: dict[tuple[int, int], Sum] = {}

    def add(self, records: np.ndarray) -> None:
        """Count a bulk of tries in."""
        who, where = record_columns.processors(records)
        size = len(who)

        def total(values: np.ndarray) -> list[float]:
            return np.bincount(where, weights=values, minlength=size).tolist()  # type: ignore[no-any-return]

        first = np.full(size, np.inf)
        np.minimum.at(first, where, np.where(records["started"] > 0, records["started"], np.inf))
        last = np.zeros(size)
        np.maximum.at(last, where, records["started"] + records["elapsed"])
        status = records["status"]
        totals = zip(
            total(status == TryStatus.SUCCEEDED),
            total(status == TryStatus.EMPTY),
            total(status == TryStatus.FAILED),
            total(np.where(status == TryStatus.FAILED, 0, records["items"])),
            total(records["failed_items"]),
            total(records["elapsed"]),
            total(records["cpu"]),
            total(records["run"]),
            np.where(np.isinf(first), 0.0, first).tolist(),
            last.tolist(),
            strict=True,
        )
        for code, (done, empty, failed, items, failed_items, elapsed, cpu, run, begun, ended) in zip(
            who, totals, strict=True
        ):
            here = Sum(
                int(done),
                int(empty),
                int(failed),
                int(items),
                int(failed_items),
                elapsed,
                cpu,
                run,
                begun,
                ended,
            )
            self._sums[code] = self._sums.get(code, Sum()) + here

    def by_processor(self) -> str:
        """The table of processors as CSV."""
        rows = [
            csv_row([node, process_name(processor), *total.cells()])
            for (node, processor), total in sorted(self._sums.items())
        ]
        return csv_row(["Node", "Process", *SUM_COLUMNS]) + "".join(rows)

    def by_node(self) -> str:
        """The table of nodes as CSV."""
        nodes: dict[int, tuple[int, Sum]] = {}
        for (node, _), total in self._sums.items():
            number, before = nodes.get(node, (0, Sum()))
            nodes[node] = (number + 1, before + total)
        rows = [csv_row([node, number, *total.cells()]) for node, (number, total) in sorted(nodes.items())]
        return csv_row(["Node", "Processes", *SUM_COLUMNS]) + "".join(rows)
