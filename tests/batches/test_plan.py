"""Plans: what is written is what every processor loads, one mini-batch at a time."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from daskpar.batches.by_size import plan_by_size
from daskpar.batches.plan import FileMiniBatch, Plan
from daskpar.batches.plan_writer import write_plan
from daskpar.data.mltable.open import open_mltable
from daskpar.data.tables.table import Table
from daskpar.errors import RunDirectoryError
from daskpar.jobspec.model import BySize


def test_files_by_count(tmp_path: Path) -> None:
    paths = [f"/data/é {number}.png" for number in range(10_001)]
    summary = write_plan(tmp_path / "plan", kind="files", paths=paths, per_batch=4)
    assert (summary.count, summary.items, summary.tabular) == (2501, 10_001, False)
    plan = Plan.open(tmp_path / "plan")
    assert plan.summary == summary
    assert [path for i in range(plan.count) for path in plan.load(i)] == paths
    assert plan.load(2500) == paths[-1:] and plan.items(2500) == 1
    last = plan.load(7)
    assert isinstance(last, FileMiniBatch) and last.task_id == 7
    copied = pickle.loads(pickle.dumps(last))
    assert copied == last and copied.task_id == 7
    assert plan.describe(2) == "é 8.png, é 9.png, é 10.png, é 11.png" and plan.keys(2) is None
    with pytest.raises(IndexError):
        plan.load(2501)


def test_names_that_are_no_text_keep_their_bytes(tmp_path: Path) -> None:
    names = [os.fsdecode(b"/x/\xff.png"), "/x/é.png"]
    write_plan(tmp_path, kind="files", paths=names)
    assert [Plan.open(tmp_path).load(i)[0] for i in range(2)] == names
    assert os.fsencode(Plan.open(tmp_path).load(0)[0]) == b"/x/\xff.png"


def test_grouped_files_and_numbers(tmp_path: Path) -> None:
    keys = pa.table({"store": ["a", None], "n": [1, 2]})
    write_plan(tmp_path / "g", kind="grouped", paths=["p", "q", "r"], offsets=np.array([0, 1, 3]), keys=keys)
    plan = Plan.open(tmp_path / "g")
    assert (plan.load(1), plan.keys(1), plan.items(1)) == (["q", "r"], {"store": None, "n": 2}, 2)
    assert plan.describe(0) == "store=a, n=1: p"
    write_plan(tmp_path / "n", kind="numbers", count=3)
    numbers = Plan.open(tmp_path / "n")
    assert ([numbers.load(i) for i in range(3)], numbers.total_items) == ([[0], [1], [2]], 3)


def test_pieces_of_a_table(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("a,b\n" + "".join(f"{row},t{row}\n" for row in range(500)))
    (tmp_path / "MLTable").write_text("paths:\n- file: d.csv\ntransformations:\n- read_delimited\n")
    table = open_mltable(str(tmp_path))
    assert isinstance(table, Table)
    summary = plan_by_size(table, BySize(number=1, unit=1024), tmp_path / "plan")
    size = (tmp_path / "d.csv").stat().st_size
    assert (summary.count, summary.items, summary.size_bytes, summary.tabular) == (
        -(-size // 1024),
        None,
        size,
        True,
    )
    plan = Plan.open(tmp_path / "plan")
    assert plan.table == Table.from_json(table.to_json())
    plan.expect(1, 3)
    assert [value for i in range(plan.count) for value in plan.load(i)["a"]] == list(range(500))
    assert plan.describe(1) == "d.csv bytes 1025–2049" and plan.items(1) is None


def test_groups_of_whole_pieces(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.csv").write_text(f"a\n{number}\n{number + 10}\n")
    (tmp_path / "MLTable").write_text("paths:\n- pattern: '*.csv'\ntransformations:\n- read_delimited\n")
    table = open_mltable(str(tmp_path))
    assert isinstance(table, Table)
    pieces = table.files_pieces()[[0, 2, 1]]
    write_plan(
        tmp_path / "p",
        kind="grouped",
        table=table,
        pieces=pieces,
        offsets=np.array([0, 2, 3]),
        keys=pa.table({"k": ["x", "y"]}),
    )
    plan = Plan.open(tmp_path / "p")
    assert plan.load(0)["a"].tolist() == [0, 10, 2, 12]
    assert plan.load(1)["a"].tolist() == [1, 11]


def test_no_plan_a_damaged_one_and_one_of_another_format(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="holds no plan"):
        Plan.open(tmp_path)
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(RunDirectoryError, match="damaged"):
        Plan.open(tmp_path)
    (tmp_path / "plan.json").write_text('{"format": 99}')
    with pytest.raises(RunDirectoryError, match="format 99"):
        Plan.open(tmp_path)


def test_file_lists_need_neither_pyarrow_nor_pandas(tmp_path: Path) -> None:
    write_plan(tmp_path, kind="files", paths=["a", "b"])
    code = (
        "import sys; from daskpar.batches.plan import Plan; plan = Plan.open(sys.argv[1]);"
        "print(plan.load(1), [name for name in ('pyarrow', 'pandas', 'numpy') if name in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "['b'] []"
