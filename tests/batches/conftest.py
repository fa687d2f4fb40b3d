"""Tables to group, the passes that group them, and what the groups must be."""

from __future__ import annotations

import datetime
import math
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa

from daskpar.batches import grouping
from daskpar.batches.grouping import group_table
from daskpar.batches.plan import Plan
from daskpar.data.mltable.open import open_mltable
from daskpar.data.tables.frame_slices import to_frame
from daskpar.data.tables.table import Table
from daskpar.data.tables.table_reader import TableReader

CUTS = {
    "together": {},
    "two passes": {"small_bytes": 0, "span_bytes": 200, "partition_bytes": 300},
    "one span": {"small_bytes": 0, "span_bytes": 10**9, "partition_bytes": 100},
    "one partition": {"small_bytes": 0, "span_bytes": 100, "partition_bytes": 10**9},
}


class Passes:
    """Runs passes in this process, in an order of its own, and remembers which there were."""

    def __init__(self, repeat=1):
        self.seen = []
        self._repeat = repeat

    def __call__(self, name, arguments, count):
        self.seen.append((name, count))
        before = sys.argv
        sys.argv = ["grouping", *arguments]
        try:
            for _ in range(self._repeat):
                grouping.init()
                for number in reversed(range(count)):
                    assert grouping.run([number]) == [number]
        finally:
            sys.argv = before


def arrow_table(folder, *tables):
    """A table of Arrow files, each table a file."""
    paths = []
    for number, table in enumerate(tables):
        path = Path(folder) / f"input-{number}.arrow"
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=7)
        paths.append(str(path))
    return Table.of_arrow_files(paths, origin="the table")


def whole_table(table):
    """All rows of a table, as one Arrow table."""
    pieces = table.files_pieces()
    reader = TableReader(table, pieces)
    return pa.concat_tables([reader.arrow(i) for i in range(len(pieces))])


def same(value):
    """Equal for values that are one key."""
    if isinstance(value, float):
        return ("nan",) if math.isnan(value) else value + 0.0
    return value


def expected_groups(table, keys):
    """Key tuple -> rows, by a dictionary."""
    groups = {}
    for row, values in enumerate(zip(*(table.column(key).to_pylist() for key in keys), strict=True)):
        groups.setdefault(tuple(map(same, values)), []).append(row)
    return groups


def check(plan, table, keys):
    expected = expected_groups(table, keys)
    assert plan.count == len(expected)
    assert [tuple(map(same, plan.keys(i).values())) for i in range(plan.count)] == list(expected)
    for i, rows in enumerate(expected.values()):
        assert list(plan.keys(i)) == list(keys)
        assert plan.items(i) == len(rows)
        pd.testing.assert_frame_equal(plan.load(i), to_frame(table.take(rows), len(rows)))


def grouped(table, keys, folder, **cut):
    group_table(table, keys, folder, Passes(), **cut)
    return Plan.open(folder)


SALES = pa.table(
    {
        "Store": [2, 5, 2, 2, 5, 8, 2, None, 8, None],
        "Brand": [
            "tropicana",
            "dominicks",
            "dominicks",
            "tropicana",
            "dominicks",
            None,
            "dominicks",
            "x",
            None,
            "x",
        ],
        "Price": [1.5, 2.0, 0.0, -0.0, float("nan"), None, float("nan"), None, 2.0, 1.5],
        "Week": pa.array([datetime.datetime(1990, 6, 14 + k % 3) for k in range(10)], pa.timestamp("ns")),
        "Day": pa.array([datetime.date(1990, 6, 14 + k % 4) for k in range(10)]),
        "Promoted": [True, False, None, True, False, True, None, None, True, True],
        "Cents": pa.array([1, 2, 3, 1, 2, 3, 1, 2, 3, 1], pa.int8()),
        "Nothing": pa.nulls(10),
        "Code": pa.array(["a", "b", "a", "b", "a", None, "b", "a", "b", "a"]).dictionary_encode(),
        "Raw": [b"\xff", b"", None, b"\xff", b"", b"x", b"x", None, b"", b"\xff"],
        "Row": list(range(10)),
    }
)


def write_sales(folder, files, partition_format=None):
    """An MLTable over CSV files: name -> text."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    steps = ["  - read_delimited:\n      delimiter: ','\n      header: all_files_same_headers\n"]
    if partition_format:
        steps.insert(
            0, f"  - extract_columns_from_partition_format:\n      partition_format: {partition_format}\n"
        )
    (folder / "MLTable").write_text("paths:\n  - pattern: ./**/*.csv\ntransformations:\n" + "".join(steps))
    return open_mltable(str(folder))
