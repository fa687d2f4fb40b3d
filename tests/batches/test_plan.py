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
from daskpar.data.files import list_files
from daskpar.data.mltable.open import open_mltable
from daskpar.data.tables.table import Table
from daskpar.errors import InputError, PlanDamaged, RunDirectoryError
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


def test_rows_are_planned_where_parquet_tells_them(tmp_path: Path) -> None:
    import pandas as pd

    pd.DataFrame({"a": range(1000), "b": ["x" * 30] * 1000}).to_parquet(
        tmp_path / "d.parquet", row_group_size=400
    )
    (tmp_path / "MLTable").write_text(
        "paths:\n- file: d.parquet\ntransformations:\n- read_parquet\n- skip: 10\n"
    )
    table = open_mltable(str(tmp_path))
    assert isinstance(table, Table)
    summary = plan_by_size(table, BySize(number=500, unit=1), tmp_path / "p")
    plan = Plan.open(tmp_path / "p")
    assert summary.items == 990 and summary.count > 3
    assert [plan.items(i) for i in range(plan.count)] == [len(plan.load(i)) for i in range(plan.count)]


def test_bytes_are_no_size_of_a_file_list(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    files = list_files(str(tmp_path))
    with pytest.raises(InputError, match="number of files"):
        plan_by_size(files, BySize(number=10, unit=1024), tmp_path / "p")
    summary = plan_by_size(files, BySize(number=0, unit=1), tmp_path / "p")
    assert summary.count == 1 and Plan.open(tmp_path / "p").load(0) == [str(tmp_path / "a.png")]


def test_no_plan_a_damaged_one_and_one_of_another_format(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="holds no plan"):
        Plan.open(tmp_path)
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(RunDirectoryError, match="damaged"):
        Plan.open(tmp_path)
    (tmp_path / "plan.json").write_text('{"format": 99}')
    with pytest.raises(RunDirectoryError, match="format 99"):
        Plan.open(tmp_path)


def test_an_interrupted_rewrite_leaves_no_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_plan(tmp_path, kind="files", paths=["a"])
    monkeypatch.setattr(os, "replace", _interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_plan(tmp_path, kind="files", paths=["b", "c"])
    with pytest.raises(RunDirectoryError, match="holds no plan"):
        Plan.open(tmp_path)


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


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


@pytest.mark.parametrize(
    ("rows_of_group", "size_bytes", "expected"),
    [(100, 10**9, [0]), (1000, 10**9, [0]), (100, 1, None), (250, 2000, None)],
    ids=["a piece of all groups", "one group", "a piece for each few rows", "pieces across groups"],
)
def test_breaks_are_the_first_pieces_of_row_groups(
    tmp_path: Path, rows_of_group: int, size_bytes: int, expected: list[int] | None
) -> None:
    import pyarrow.parquet

    (tmp_path / "table").mkdir()
    table = pa.table({"n": np.arange(1000)})
    pyarrow.parquet.write_table(table, tmp_path / "table" / "t.parquet", row_group_size=rows_of_group)
    (tmp_path / "table" / "MLTable").write_text(
        "paths:\n- file: ./t.parquet\ntransformations:\n- read_parquet\n"
    )
    plan_by_size(open_mltable(str(tmp_path / "table")), BySize(number=size_bytes, unit=1), tmp_path / "plan")
    plan = Plan.open(tmp_path / "plan")
    breaks = plan.breaks()
    assert breaks == sorted(set(breaks)) and all(0 <= at < plan.count for at in breaks)
    starts = {int(plan.pieces["start"][at]) for at in breaks}
    assert starts <= set(range(0, 1000, rows_of_group))
    if expected is not None:
        assert breaks == expected


def a_grouped_plan(folder: Path) -> Path:
    """A plan over rows that were brought together in its own folder; where it is."""
    from daskpar.batches.by_keys import plan_by_keys
    from daskpar.batches.grouping import execute_here

    (folder / "table").mkdir()
    (folder / "table" / "t.csv").write_text("k,n\n" + "".join(f"{n % 3},{n}\n" for n in range(30)))
    (folder / "table" / "MLTable").write_text("paths:\n- file: ./t.csv\ntransformations:\n- read_delimited\n")
    plan_by_keys(open_mltable(str(folder / "table")), ["k"], folder / "plan", execute_here)
    return folder / "plan"


DAMAGES = {
    "empty": lambda path: os.truncate(path, 0),
    "torn": lambda path: os.truncate(path, path.stat().st_size - 1),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["plan.arrow", "groups.arrow", "groups-00000.arrow", "plan.json"])
def test_what_a_power_cut_took_of_a_plan_is_noticed(tmp_path: Path, name: str, damage: str) -> None:
    plan = a_grouped_plan(tmp_path)
    assert Plan.reopen(plan).load(1)["n"].tolist() == list(range(1, 30, 3))
    DAMAGES[damage](plan / name)
    with pytest.raises(PlanDamaged, match=name.replace(".", r"\.")):
        Plan.reopen(plan)
    if name in ("plan.arrow", "groups.arrow"):
        with pytest.raises(PlanDamaged, match=name):
            Plan.open(plan)  # processors as well, before they would map it


def test_after_another_boot_content_counts_and_what_was_never_synced_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plan(tmp_path / "files", kind="files", paths=["one", "two"])
    grouped = a_grouped_plan(tmp_path)
    monkeypatch.setattr("daskpar.batches.plan.same_boot", lambda earlier: False)
    assert Plan.reopen(tmp_path / "files").load(1) == ["two"]
    with pytest.raises(PlanDamaged, match="the machine has booted since"):
        Plan.reopen(grouped)
    zeros = tmp_path / "files" / "plan.arrow"
    zeros.write_bytes(bytes(zeros.stat().st_size))
    with pytest.raises(PlanDamaged, match="not what was written"):
        Plan.reopen(tmp_path / "files")


def test_a_plan_is_on_the_disk_before_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file is synced, then the folder, then plan.json gets its name, which is synced too before anything is committed."""
    log: list[str] = []
    sync, rename = os.fsync, os.replace

    def synced(fd: int) -> None:
        log.append(Path(os.readlink(f"/proc/self/fd/{fd}")).name)
        sync(fd)

    def renamed(old: object, new: object) -> None:
        log.append(f"-> {Path(str(new)).name}")
        rename(str(old), str(new))

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    write_plan(
        tmp_path / "p", kind="grouped", paths=["p", "q"], offsets=np.array([0, 2]), keys=pa.table({"k": [1]})
    )
    files = ["plan.arrow.new", "-> plan.arrow", "groups.arrow.new", "-> groups.arrow"]
    assert log == [*files, "p", "plan.json.new", "-> plan.json", "p"]
