"""Checks whether the output of a competitor is complete and right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.json as pajson
import pyarrow.parquet as pq

from benchmarks.harness import Wrong


def scores_complete(output: Path, rows: int, *, ordered: bool = True) -> Callable[[], None]:
    """Make a check that every row is there once and, where `ordered`, in order.

    The first output that passes also sets the sum of scores that every other one must have.
    """

    def check() -> None:
        table = _scores(output)
        found = table["id"].to_numpy()
        if not ordered:
            found = np.sort(found)
        if len(found) != rows or not np.array_equal(found, np.arange(rows)):
            fault = "out of order" if len(found) == rows else "wrong number"
            raise Wrong(f"{output.name}: {len(found)} rows for {rows}, {fault}")
        total = float(table["score"].to_numpy().sum())
        expected = SUMS.setdefault(rows, total)
        if abs(total - expected) > 1e-6 * abs(expected):
            raise Wrong(f"{output.name}: the scores add up to {total}, elsewhere to {expected}")

    return check


def _scores(output: Path) -> pa.Table:
    names = ["id", "label", "score"]
    if output.is_dir():
        return pa.concat_tables([_scores(part) for part in sorted(output.iterdir())])
    if output.suffix == ".parquet":
        return pq.read_table(output)
    if output.suffix == ".csv":
        return pacsv.read_csv(output)
    if output.suffix == ".jsonl":
        return pajson.read_json(output)
    return pacsv.read_csv(
        output,
        pacsv.ReadOptions(column_names=names),
        pacsv.ParseOptions(delimiter=" "),
        pacsv.ConvertOptions(include_columns=names),
    )


SUMS: dict[int, float] = {}
"""Number of rows -> sum of scores, which is the same for every competitor."""


def models_complete(folder: Path, groups: int) -> Callable[[], None]:
    """Make a check that there is one model for each group, each of all its rows."""

    def check() -> None:
        lines = [line.split() for file in sorted(folder.iterdir()) for line in file.read_text().splitlines()]
        keys = {(line[0], line[1]) for line in lines}
        short = [line for line in lines if line[2] != "120"]
        if len(lines) != groups or len(keys) != groups or short:
            found = f"{len(lines)} models of {len(keys)} groups for {groups}"
            raise Wrong(f"{found}, {len(short)} of them not of 120 rows")

    return check
