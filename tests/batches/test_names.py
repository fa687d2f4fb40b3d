"""Mini-batches have names that people know: files below the input, rows of a file, values of keys."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from daskpar.batches.by_keys import plan_by_keys
from daskpar.batches.by_size import plan_by_size
from daskpar.batches.name_texts import root_of
from daskpar.batches.names import Item, MiniBatchNames
from daskpar.batches.plan import Plan
from daskpar.batches.plan_writer import write_plan
from daskpar.data.files import list_files
from daskpar.data.mltable.open import open_mltable
from daskpar.data.tables.table import Table
from daskpar.driver.staged_collections import write_table
from daskpar.jobspec.model import BySize

from .conftest import Passes


@pytest.mark.parametrize(
    ("origin", "paths", "root"),
    [
        ("/in", ["/in/a/x.txt", "/in/b/x.txt"], "/in/"),
        ("/in/", ["/in/a/x.txt", "/in/a/y.txt"], "/in/"),
        ("/in/MLTable", ["/in/a/x.txt", "/in/a/y.txt"], "/in/"),
        ("/in/only.txt", ["/in/only.txt"], "/in/"),
        ("/t/MLTable", ["/data/a/x.txt", "/data/b/x.txt"], "/data/"),
        ("/in", ["/in/a.txt", "/into/b.txt"], ""),
        ("", ["/data/ab/x", "/data/abc/x"], "/data/"),
        ("", ["a", "b"], ""),
        ("/", ["/a/x", "/b/x"], ""),
        ("s3://bucket/in", ["s3://bucket/in/a/x", "s3://bucket/in/b/x"], "s3://bucket/in/"),
        ("", ["s3://one/x", "s3://two/x"], ""),
        ("/in", [], ""),
    ],
)
def test_what_names_leave_out(origin: str, paths: list[str], root: str) -> None:
    assert root_of(origin, paths) == root


def test_two_files_of_one_name(tmp_path: Path) -> None:
    for folder in ("a", "b", "b/c"):
        (tmp_path / "in" / folder).mkdir(parents=True)
        (tmp_path / "in" / folder / "x.txt").touch()
    plan_by_size(list_files(str(tmp_path / "in")), BySize(number=1, unit=1), tmp_path / "plan")
    names = MiniBatchNames(tmp_path / "plan")
    assert names.names(range(3)) == ["a/x.txt", "b/c/x.txt", "b/x.txt"]
    assert [Plan.open(tmp_path / "plan").describe(i) for i in range(3)] == names.names(range(3))
    assert list(names.items_of(1)) == [Item(path=f"{tmp_path}/in/b/c/x.txt", name="b/c/x.txt")]


def test_many_files_are_named_by_the_first_and_last(tmp_path: Path) -> None:
    paths = [f"/in/{folder}/{number}.png" for folder in "ab" for number in range(5)]
    write_plan(tmp_path, kind="files", paths=paths, per_batch=6, origin="/in")
    names, plan = MiniBatchNames(tmp_path), Plan.open(tmp_path)
    assert names.names([1, 0]) == ["b/1.png, b/2.png, b/3.png, b/4.png", "a/0.png … b/0.png (6 files)"]
    assert [plan.describe(i) for i in (1, 0)] == names.names([1, 0])
    assert [item.name for item in names.items_of(1)] == ["b/1.png", "b/2.png", "b/3.png", "b/4.png"]


def test_files_of_several_inputs(tmp_path: Path) -> None:
    paths = [*(f"/in/a/{number}" for number in range(3)), *(f"/in/b/{number}" for number in range(9))]
    write_plan(tmp_path, kind="files", paths=paths, per_batch=2, origin="/in/a, /in/b", parts=[3, 9])
    names, plan = MiniBatchNames(tmp_path), Plan.open(tmp_path)
    assert names.names(range(3)) == ["a/0, a/1", "a/2", "b/0, b/1"]
    assert names.names(range(names.count)) == [plan.describe(i) for i in range(plan.count)]


def test_files_that_lie_far_apart_are_read_in_runs(tmp_path: Path) -> None:
    paths = [f"/in/{number:06}{'x' * (number % 7)}" for number in range(60_000)]
    write_plan(tmp_path, kind="files", paths=paths, per_batch=6, origin="/in")
    names, plan = MiniBatchNames(tmp_path), Plan.open(tmp_path)
    chosen = [9_000, *range(10), 9_999, 3, 3, 5_000]
    assert names.names(chosen) == [plan.describe(i) for i in chosen]


def test_any_order_and_any_bytes(tmp_path: Path) -> None:
    paths = [f"/in/é{number}" for number in range(5000)] + [os.fsdecode(b"/in/\xff")]
    write_plan(tmp_path, kind="files", paths=paths, origin="/in")
    names = MiniBatchNames(tmp_path)
    far = [4999, 0, 2500]
    near = [12, 10, 11, 10]
    assert names.names(far) == [f"é{i}" for i in far]
    assert names.names(near) == [f"é{i}" for i in near]
    assert names.names(range(5000)) == [f"é{i}" for i in range(5000)]
    assert names.name(5000) == os.fsdecode(b"\xff") and names.names([]) == []


def test_a_plan_of_an_earlier_version(tmp_path: Path) -> None:
    write_plan(tmp_path, kind="files", paths=["/in/a/x", "/in/b/x"], origin="/")
    document = json.loads((tmp_path / "plan.json").read_text())
    del document["root"]
    (tmp_path / "plan.json").write_text(json.dumps(document))
    assert MiniBatchNames(tmp_path).names([0, 1]) == ["a/x", "b/x"]


def test_rows_of_files(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / "t" / folder).mkdir(parents=True)
        pq.write_table(
            pa.table({"n": np.arange(30)}), tmp_path / "t" / folder / "x.parquet", row_group_size=10
        )
    (tmp_path / "t" / "MLTable").write_text(
        "paths:\n- pattern: ./*/x.parquet\ntransformations:\n- read_parquet\n"
    )
    table = open_mltable(str(tmp_path / "t"))
    assert isinstance(table, Table)
    plan_by_size(table, BySize(number=1, unit=1), tmp_path / "plan")
    names = MiniBatchNames(tmp_path / "plan")
    parts = names.parts(range(names.count))
    assert parts.names[0] == "a/x.parquet rows 0–1" and parts.names[-1] == "b/x.parquet rows 29–30"
    assert (parts.files[0], parts.rows[0], parts.keys) == ("a/x.parquet", "rows 0–1", "")
    assert names.name(31) == Plan.open(tmp_path / "plan").describe(31) == "b/x.parquet rows 1–2"
    assert list(names.items_of(31)) == [
        Item(path=f"{tmp_path}/t/b/x.parquet", name="b/x.parquet", rows="rows 1–2")
    ]
    document = json.loads((tmp_path / "plan" / "plan.json").read_text())
    del document["pieces"]  # as an earlier version wrote it
    (tmp_path / "plan" / "plan.json").write_text(json.dumps(document))
    assert MiniBatchNames(tmp_path / "plan").names(range(60)) == parts.names


def test_rows_of_a_collection_from_python_and_no_file_of_ours(tmp_path: Path) -> None:
    data = tmp_path / "inputs" / "data"
    data.mkdir(parents=True)
    for number in range(2):
        pq.write_table(pa.table({"n": np.arange(30)}), data / f"part-00000{number}.parquet")
    write_table(data)
    table = open_mltable(str(data))
    assert isinstance(table, Table)
    plan = tmp_path / "steps" / "score" / "plan"
    plan_by_size(table, BySize(number=1, unit=1), plan)
    names = MiniBatchNames(plan)
    parts = names.parts([0, names.count - 1])
    assert parts.names[0].startswith("rows 0–") and parts.names[1].endswith("–60")
    assert (parts.rows, parts.files, parts.keys) == (parts.names, "", "")
    last = Plan.open(plan).describe(names.count - 1)
    assert last == parts.names[1]
    assert list(names.items_of(names.count - 1)) == [Item(path="", name=last, rows=last)]


def test_key_values_and_no_file_of_ours(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "d.csv").write_text("store,brand,n\n1,a,1\n2,,2\n1,a,3\n")
    (tmp_path / "t" / "MLTable").write_text("paths:\n- file: d.csv\ntransformations:\n- read_delimited\n")
    plan_by_keys(open_mltable(str(tmp_path / "t")), ["store", "brand"], tmp_path / "plan", Passes())
    names = MiniBatchNames(tmp_path / "plan")
    parts = names.parts([1, 0])
    assert parts.names == ["store=2, brand=null", "store=1, brand=a"]
    assert (parts.keys, parts.files, parts.rows) == (parts.names, "", "")
    assert Plan.open(tmp_path / "plan").describe(0) == "store=1, brand=a: 2 rows"
    assert list(names.items_of(0)) == [Item(path="", name="store=1, brand=a", rows="2 rows")]


def test_groups_of_files_and_numbers(tmp_path: Path) -> None:
    keys = pa.table({"day": ["mon", "tue"]})
    paths = ["/in/1/x", "/in/2/x", "/in/3/x"]
    write_plan(
        tmp_path / "g", kind="grouped", paths=paths, origin="/in", offsets=np.array([0, 1, 3]), keys=keys
    )
    grouped = MiniBatchNames(tmp_path / "g")
    assert grouped.names([0, 1]) == ["day=mon", "day=tue"]
    assert [item.name for item in grouped.items_of(1)] == ["2/x", "3/x"]
    assert Plan.open(tmp_path / "g").describe(1) == "day=tue: 2/x, 3/x"
    write_plan(tmp_path / "n", kind="numbers", count=3)
    assert MiniBatchNames(tmp_path / "n").names([0, 2]) == ["number 0", "number 2"]


def test_files_and_rows_are_named_without_pyarrow_and_keys_without_pandas(tmp_path: Path) -> None:
    """The driver names each mini-batch in its reports, and starts a third of a second faster without them."""
    write_plan(tmp_path / "f", kind="files", paths=["/in/a/x", "/in/b/x"], origin="/in")
    (tmp_path / "d.csv").write_text("a\n1\n2\n")
    (tmp_path / "MLTable").write_text("paths:\n- file: d.csv\ntransformations:\n- read_delimited\n")
    plan_by_size(open_mltable(str(tmp_path)), BySize(number=1, unit=1024), tmp_path / "r")
    plan_by_keys(open_mltable(str(tmp_path)), ["a"], tmp_path / "k", Passes())
    code = (
        "import sys; from daskpar.batches.names import MiniBatchNames as Names; "
        f"print(Names({str(tmp_path / 'f')!r}).names([0, 1]), Names({str(tmp_path / 'r')!r}).names([0])); "
        "assert not {'pyarrow', 'pandas'} & sys.modules.keys(); "
        f"print(Names({str(tmp_path / 'k')!r}).names([1, 0])); assert 'pandas' not in sys.modules"
    )
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert shown == "['a/x', 'b/x'] ['d.csv bytes 0–6']\n['a=2', 'a=1']\n"
