"""The table of mini-batches, a row for each, that `report.html` shows and filters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from daskpar.printable import all_printable
from daskpar.reports import record_columns
from daskpar.reports.looks import label
from daskpar.reports.record_columns import reason_name
from daskpar.reports.step_facts import StepFacts
from daskpar.results import TryStatus

NAME_CHARACTERS = 500
"""Of a name in a table."""
TABLE_COLUMNS = (
    "mini-batch",
    "name",
    "outcome",
    "tries",
    "items",
    "failed items",
    "seconds",
    "in run()",
    "processor",
    "started",
    "reason",
)
_POWERS = np.array([float(f"1e{power}") for power in range(12)])
WORDS = {TryStatus.SUCCEEDED: "succeeded", TryStatus.EMPTY: "empty", TryStatus.FAILED: "failed"}


def mini_batch_table(step: StepFacts, most: int) -> dict[str, Any]:
    """A row for each mini-batch, of its last try: at most `most`, failed and retried ones before others."""
    records = step.tally.kept
    # The last try of each: a stable sort, then the last of each index.
    records = records[np.lexsort((records["tries"], records["index"]))]
    last = np.ones(len(records), bool)
    last[:-1] = records["index"][1:] != records["index"][:-1]
    records = records[last]
    if len(records) > most:
        matter = (records["status"] == TryStatus.FAILED) | (records["tries"] > 0)
        chosen = np.lexsort((records["index"], ~matter))[:most]
        records = records[np.sort(chosen)]
    indices = records["index"].tolist()
    failed = records["status"] == TryStatus.FAILED
    places, which = record_columns.processors(records)
    labels = [label(*place) for place in places]
    reasons = [reason_name(reason) for reason in range(int(records["reason"].max(initial=0)) + 1)]
    final = (records["final"] != 0) | ~failed
    columns: list[Sequence[object]] = [
        indices,
        [name[:NAME_CHARACTERS] for name in all_printable(step.names(indices))],
        [
            WORDS.get(status, "") if ends else "to be retried"
            for status, ends in zip(records["status"].tolist(), final.tolist(), strict=True)
        ],
        (records["tries"].astype(int) + 1).tolist(),
        records["items"].tolist(),
        records["failed_items"].tolist(),
        _rounded(records["elapsed"]),
        _rounded(records["run"]),
        [labels[number] for number in which.tolist()],
        np.round(records["started"], 3).tolist(),
        [
            reasons[reason] if bad else ""
            for reason, bad in zip(records["reason"].tolist(), failed.tolist(), strict=True)
        ],
    ]
    return {
        "columns": list(TABLE_COLUMNS),
        "values": columns,
        "rows": len(records),
        "of": step.counts.done or len(records),
    }


def _rounded(seconds: np.ndarray) -> list[float]:
    """With three digits that count: more say nothing, and take room."""
    values = np.nan_to_num(seconds.astype(np.float64))
    digits = 2 - np.floor(np.log10(np.clip(values, 1e-9, 1e9))).astype(int)
    # Both powers are exact, and so is the whole number: what is made of these is the nearest number to its
    # three digits, and has no others in its text.
    up, down = _POWERS[np.maximum(digits, 0)], _POWERS[np.maximum(-digits, 0)]
    rounded: list[float] = (np.rint(values * up / down) / up * down).tolist()
    return rounded
