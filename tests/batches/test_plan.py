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
from daskpar.data.stamps import stamp_now
from daskpar.data.tables.table import Table
from daskpar.errors import InputChanged, PlanDamaged, RunDirectoryError
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


def test_what_is_said_of_a_list_of_files(tmp_path: Path) -> None:
    paths = [f"/in/{number:02}.png" for number in range(23)]
    write_plan(tmp_path, kind="files", paths=paths, origin="/in", per_batch=10)
    plan = Plan.open(tmp_path)
    assert (plan.root, plan.files(), list(plan.path_column()), plan.paths()) == ("/in/", paths, paths, paths)
    assert plan.paths_of(2) == paths[20:] and plan.item_range(2) == (20, 23)
    assert plan.load(1, (2, 4)) == paths[12:14] and plan.load(2, (2, 9)) == paths[22:]
    assert plan.describe(1, (2, 4)) == "12.png, 13.png"
    assert plan.describe(0) == plan.described(0) == "00.png … 09.png (10 files)"
    assert plan.described(99) == ""
    assert [plan.holding(row) for row in (0, 9, 10, 22)] == [0, 0, 1, 2]
    assert plan.rows_of_files([3, 1]) == [1, 3]
    assert [plan.some_files(0, most) for most in (1, 2, 3, 10, 99)] == [
        *(paths[:1], [paths[0], paths[5]], [paths[0], paths[4], paths[8]], paths[:10], paths[:10]),
    ]
    starts, stops = plan.item_ranges(np.array([2, 0]))
    assert (starts.tolist(), stops.tolist()) == ([20, 0], [23, 10])
    with pytest.raises(IndexError):
        plan.load(-1)
    plan.seen_paths = lambda found: [path.upper() for path in found]
    assert plan.load(2) == [path.upper() for path in paths[20:]]
    assert (plan.stamps(), plan.breaks(), plan.notices([]), plan.key_names) == (None, [], (), ())


def test_files_of_several_inputs_and_lists_of_none(tmp_path: Path) -> None:
    paths = [f"/in/{number}" for number in range(7)]
    write_plan(tmp_path / "p", kind="files", paths=paths, per_batch=2, parts=[3, 4])
    plan = Plan.open(tmp_path / "p")
    assert [plan.load(i) for i in range(plan.count)] == [paths[0:2], paths[2:3], paths[3:5], paths[5:7]]
    starts, stops = plan.item_ranges(np.array([1, 3]))
    assert (starts.tolist(), stops.tolist(), plan.holding(2), plan.holding(3)) == ([2, 5], [3, 7], 1, 2)
    write_plan(tmp_path / "none", kind="numbers", count=2, items=0)
    numbers = Plan.open(tmp_path / "none")
    assert (numbers.load(1), numbers.items(1), numbers.describe(1)) == ([], 0, "number 1")
    assert (numbers.files(), numbers.paths_of(0), numbers.path_column()) == ([], [], [])
    assert (numbers.some_files(0, 8), numbers.stored_paths, numbers.origin) == ([], None, "")
    starts, stops = numbers.item_ranges(np.array([0, 1]))
    assert (starts.tolist(), stops.tolist()) == ([0, 1], [1, 2])


def test_what_is_said_of_pieces_and_groups_of_a_table(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.csv").write_text("a\n" + f"{number}\n" * 600)
    (tmp_path / "MLTable").write_text("paths:\n- pattern: '*.csv'\ntransformations:\n- read_delimited\n")
    table = open_mltable(str(tmp_path))
    assert isinstance(table, Table)
    plan_by_size(table, BySize(number=1, unit=1024), tmp_path / "p")
    plan = Plan.open(tmp_path / "p")
    files = [str(tmp_path / f"{number}.csv") for number in range(3)]
    assert plan.files() == files and (plan.count, plan.origin) == (6, str(tmp_path / "MLTable"))
    assert plan.rows_of_files([2, 0]) == [0, 1, 4, 5]
    assert [plan.some_files(i, 8) for i in (0, 1, 2)] == [files[:1], files[:1], files[1:2]]
    assert (plan.paths(), plan.paths_of(0), plan.path_column(), plan.stamps()) == ([], [], [], None)
    pieces = table.files_pieces()
    keys = pa.table({"k": ["x", "y"]})
    write_plan(
        tmp_path / "g", kind="grouped", table=table, pieces=pieces, offsets=np.array([0, 1, 3]), keys=keys
    )
    grouped = Plan.open(tmp_path / "g")
    assert grouped.some_files(1, 8) == files[1:] and grouped.some_files(1, 1) == files[1:2]
    starts, stops = grouped.item_ranges(np.array([0, 1]))
    assert (starts.tolist(), stops.tolist(), grouped.key_names) == ([0, 1], [1, 3], ("k",))
    assert [grouped.holding(row) for row in range(3)] == [0, 1, 1]
    assert grouped.group_frames is None and not grouped.rows_are_gathered


def test_a_list_below_an_input_is_named_from_there_and_checked_before_it_is_given_out(tmp_path: Path) -> None:
    files = [tmp_path / "in" / "deep" / name for name in ("a", "b")]
    files[0].parent.mkdir(parents=True)
    for file in files:
        file.write_text("x")
    stamps = [stamp_now(str(file)) for file in files]
    write_plan(
        tmp_path / "p",
        kind="files",
        paths=list(map(str, files)),
        stamps=lambda: stamps,
        origin=str(tmp_path / "in"),
    )
    plan = Plan.open(tmp_path / "p")
    assert (plan.root, plan.describe(1)) == (f"{tmp_path}/in/", "deep/b")
    kept = plan.stamps()
    assert kept is not None and list(kept) == stamps
    files[1].write_text("other")
    assert plan.load(0) == [str(files[0])]
    with pytest.raises(InputChanged):
        plan.load(1)
    os.unlink(tmp_path / "p" / "paths")
    with pytest.raises(PlanDamaged):
        Plan.open(tmp_path / "p")
