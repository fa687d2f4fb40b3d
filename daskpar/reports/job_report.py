"""`sys/job_report`: a table with one row for each try, and totals for each processor and node."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from daskpar.batches.names import NONE, MiniBatchNames, NameParts
from daskpar.batches.records import RECORD
from daskpar.errors import DaskparError
from daskpar.events import Progress, StepEnded, TriesEnded, Watcher
from daskpar.paths import LogPaths, process_name
from daskpar.reports import record_columns
from daskpar.reports.log_files import replace
from daskpar.reports.wording import as_json, cell, csv_row, iso, one_line
from daskpar.results import TryStatus
from daskpar.value_classes import mutable

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
"""Azure's."""
NAME_COLUMNS = ("Files", "Rows", "Partition Keys")
"""Ours, after Azure's: what people call a mini-batch. Files below the input, which rows of them, or keys."""
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

WAITING_RECORDS = 10_000
WAITING_SECONDS = 2.0
"""Rows are written when this many wait, or when the oldest has waited this long: each write costs time."""
CHUNK = 2_500
"""Rows that are made at once: pieces that stay in the processor's cache."""


class JobReport(Watcher):
    """Writes the table as tries end, the totals at the end of the step."""

    def __init__(self, logs: LogPaths, plan: Path | None = None) -> None:
        """`plan`: the step's plan, from which the mini-batches have their names; it is opened when needed."""
        self._logs = logs
        self._plan = plan
        self._names: MiniBatchNames | None = None
        self._named = True
        self._waiting: list[TriesEnded] = []
        self._waiting_records = 0
        self._totals = ProcessorTotals()
        self._table_open = self._summed_up = False

    def tries_ended(self, event: TriesEnded) -> None:
        self._waiting.append(event)
        self._waiting_records += len(event.records)
        self._write_when_due(event.time)

    def progress(self, event: Progress) -> None:
        self._write_when_due(event.time)

    def step_ended(self, event: StepEnded) -> None:
        self.close()

    def close(self) -> None:
        self._write()
        if self._table_open and not self._summed_up:
            replace(self._logs.job_report / "process_summary.csv", self._totals.by_processor())
            replace(self._logs.job_report / "node_summary.csv", self._totals.by_node())
            self._summed_up = True

    def _write_when_due(self, now: float) -> None:
        if not self._waiting:
            return
        if self._waiting_records >= WAITING_RECORDS or now - self._waiting[0].time >= WAITING_SECONDS:
            self._write()

    def _write(self) -> None:
        if not self._waiting:
            return
        if not self._table_open:
            self._open_table()
        self._summed_up = False
        waiting, self._waiting, self._waiting_records = self._waiting, [], 0
        records = np.concatenate([bulk.records for bulk in waiting])
        failures = record_columns.with_rows(
            records, [failure for bulk in waiting for failure in bulk.failures]
        )
        with self._logs.processed.open("ab") as file:
            for start in range(0, len(records), CHUNK):
                part = records[start : start + CHUNK]
                self._totals.add(part)
                theirs = [(row - start, failure) for row, failure in failures if 0 <= row - start < CHUNK]
                file.write(rows_of(part, theirs, self._parts(part["index"]) if self._named else None))

    def _open_table(self) -> None:
        self._table_open = True
        path = self._logs.processed
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():  # a resumed step: its table goes on
            cut_torn_line(path)
        if path.exists() and path.stat().st_size:
            self._totals = totals_of(path)
            # An earlier version has begun it: a table whose rows become longer could not be read any more.
            with path.open(encoding="utf-8") as file:
                self._named = NAME_COLUMNS[-1] in file.readline()
        else:
            path.write_text(csv_row([*TRY_COLUMNS, *NAME_COLUMNS]), encoding="utf-8")

    def _parts(self, indices: np.ndarray) -> NameParts:
        """The names of mini-batches; none where the plan can't be read, which the step says itself."""
        try:
            if self._names is None and self._plan is not None:
                self._names = MiniBatchNames(self._plan)
            if self._names is not None:
                return self._names.parts(indices)
        except (DaskparError, OSError, ValueError, LookupError, TypeError):
            self._plan = self._names = None
        return NameParts(names=NONE)


def cut_torn_line(path: Path) -> None:
    """Cut off a last line without its end, which a driver that was killed may have left."""
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


def totals_of(path: Path) -> ProcessorTotals:
    """The totals of the tries that a table has already, read in pieces: it may be longer than memory."""
    import pyarrow as pa
    from pyarrow import csv

    number, text = pa.float64(), pa.dictionary(pa.int32(), pa.string())
    types = {"Process": text, "Status": text, "Process Start Time": pa.timestamp("us", "UTC")}
    types |= {
        name: number
        for name in ("Total", "Failed", "Elapsed Seconds", "Process Seconds", "Run Method Seconds")
    }
    wanted = csv.ConvertOptions(column_types=types, include_columns=list(types), null_values=["N/A"])
    totals = ProcessorTotals()
    with csv.open_csv(path, convert_options=wanted) as reader:
        for batch in reader:
            totals.add(records_of(batch))
    return totals


def records_of(batch: pa.RecordBatch) -> np.ndarray:
    """What the totals need of rows of a table, as records."""
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


def rows_of(
    records: np.ndarray, failures: Sequence[tuple[int, Failure]], parts: NameParts | None = None
) -> bytes:
    """CSV rows (UTF-8, without the head) for the tries, in their order; `failures` with their row, `parts`
    for the columns of names.

    Joined here and not by Arrow's CSV writer, which quotes every text.
    """
    ran = (records["status"] != TryStatus.EMPTY) & ~np.isin(records["reason"], record_columns.NOT_RUN)
    index = record_columns.whole_numbers(records["index"])
    message, detail = _texts(len(records), index, failures)
    cells = [
        index,
        record_columns.whole_numbers(records["tries"] + np.uint32(1)),
        record_columns.process_names(*record_columns.processors(records)),
        record_columns.iso_times(records["started"]),
        record_columns.whole_numbers(records["items"]),
        record_columns.whole_numbers(np.maximum(records["items"] - records["failed_items"], 0)),
        record_columns.whole_numbers(records["failed_items"]),
        *record_columns.seconds_cells([records["elapsed"], records["cpu"], records["run"]], ran),
        record_columns.try_status(records),
        record_columns.category(records),
        message,
    ]
    between = [piece for cell in cells for piece in (cell, ",")]
    names = [] if parts is None else _name_cells(parts)
    return record_columns.join_rows(len(records), *between, *detail, *names, "\n")


def _name_cells(parts: NameParts) -> list[Column]:
    """The columns of names, each with a comma before it."""
    texts = (parts.files, parts.rows, parts.keys)
    return [piece for column in texts for piece in (",", record_columns.cells(column))]


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


@mutable
class Totals:
    """What one processor, or one node, did."""

    succeeded: int = 0
    empty: int = 0
    tries_failed: int = 0
    items: int = 0
    failed_items: int = 0
    elapsed: float = 0.0
    """Seconds of all tries, loading included."""
    cpu: float = 0.0
    """Seconds of processor time."""
    run: float = 0.0
    """Seconds inside run()."""
    first: float = 0.0
    """When its first try started, seconds since the epoch; 0 where no start is known."""
    last: float = 0.0
    """When its last try ended."""

    def __add__(self, other: Totals) -> Totals:
        firsts = [value for value in (self.first, other.first) if value]
        return Totals(
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


class ProcessorTotals:
    """What each processor did, added up bulk by bulk."""

    def __init__(self) -> None:
        self._totals: dict[tuple[int, int], Totals] = {}

    def add(self, records: np.ndarray) -> None:
        """Count a bulk of tries in."""
        processors, which = record_columns.processors(records)
        size = len(processors)

        def total(values: np.ndarray) -> list[float]:
            return np.bincount(which, weights=values, minlength=size).tolist()  # type: ignore[no-any-return]

        first = np.full(size, np.inf)
        np.minimum.at(first, which, np.where(records["started"] > 0, records["started"], np.inf))
        last = np.zeros(size)
        np.maximum.at(last, which, records["started"] + records["elapsed"])
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
        for processor, (done, empty, failed, items, failed_items, elapsed, cpu, run, began, ended) in zip(
            processors, totals, strict=True
        ):
            here = Totals(
                succeeded=int(done),
                empty=int(empty),
                tries_failed=int(failed),
                items=int(items),
                failed_items=int(failed_items),
                elapsed=elapsed,
                cpu=cpu,
                run=run,
                first=began,
                last=ended,
            )
            self._totals[processor] = self._totals.get(processor, Totals()) + here

    def known(self) -> dict[tuple[int, int], Totals]:
        """(node, processor) -> what it did."""
        return dict(self._totals)

    def by_processor(self) -> str:
        """The table of processors as CSV."""
        rows = [
            csv_row([node, process_name(processor), *total.cells()])
            for (node, processor), total in sorted(self._totals.items())
        ]
        return csv_row(["Node", "Process", *SUM_COLUMNS]) + "".join(rows)

    def by_node(self) -> str:
        """The table of nodes as CSV."""
        nodes: dict[int, tuple[int, Totals]] = {}
        for (node, _), total in self._totals.items():
            number, before = nodes.get(node, (0, Totals()))
            nodes[node] = (number + 1, before + total)
        rows = [csv_row([node, number, *total.cells()]) for node, (number, total) in sorted(nodes.items())]
        return csv_row(["Node", "Processes", *SUM_COLUMNS]) + "".join(rows)
