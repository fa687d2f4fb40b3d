"""`failed_mini-batches.csv`: every item of the mini-batches that failed for good."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from daskpar import atomic
from daskpar.events import StepEnded, Watcher
from daskpar.masking import hidden
from daskpar.paths import StepPaths
from daskpar.printable import printable
from daskpar.reports.record_columns import reason_name
from daskpar.reports.wording import cell, csv_row, one_line
from daskpar.results import TryStatus
from daskpar.rundir.step_folder import StepFolder

COLUMNS = ("Mini-batch Id", "Item", "Rows", "Path", "Error Category", "Error Message")
"""Item: a file below the input, or the values of the keys; rows: which of the file, or how many."""
ROWS_AT_ONCE = 10_000


class FailedMiniBatches(Watcher):
    """Writes the table when a step ends; it tells of the failures of earlier processes of the run too."""

    def __init__(self, step: StepPaths) -> None:
        self._step = step

    def step_ended(self, event: StepEnded) -> None:
        path = self._step.logs.failed_mini_batches
        path.unlink(missing_ok=True)
        if event.result.counts.failed:
            write_failed_items(StepFolder(self._step.path), path)


def write_failed_items(folder: StepFolder, path: Path) -> None:
    """Write the table of a step's failed mini-batches to `path`, which appears once it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic.writing(path, durable=False) as fd:
        waiting = [csv_row(COLUMNS)]
        for row in _rows(folder):
            waiting.append(row)
            if len(waiting) >= ROWS_AT_ONCE:
                atomic.write_all(fd, "".join(waiting).encode("utf-8", "backslashreplace"))
                waiting = []
        atomic.write_all(fd, "".join(waiting).encode("utf-8", "backslashreplace"))


def _rows(folder: StepFolder) -> Iterator[str]:
    from daskpar.reports.run_tables import StepTables  # reads the journal: only where something failed

    state = folder.state()
    if state is None:
        return
    tables = StepTables(folder, state, state.status)
    if tables.names is None:
        return
    outcomes, texts = tables.outcomes, tables.failure_texts()
    for index in np.flatnonzero(outcomes.final == TryStatus.FAILED).tolist():
        message = one_line(texts[index].message, 2000) if index in texts else ""
        category = reason_name(int(outcomes.last["reason"][index]))
        for item in tables.names.items_of(index):
            path = cell(hidden(item.path)) or "N/A"
            rest = csv_row([category, message or None])
            yield f"{index},{cell(printable(item.name))},{item.rows or 'N/A'},{path},{rest}"
