"""What people call a mini-batch: its index, a file of it, its key."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from daskpar.batches.by_size import plan_by_size
from daskpar.batches.grouping import execute_here
from daskpar.batches.mini_batch_names import find_mini_batch
from daskpar.batches.names import MiniBatchNames
from daskpar.batches.plan import Plan
from daskpar.batches.plan_writer import write_plan
from daskpar.data.mltable.open import open_mltable
from daskpar.errors import UsageError
from daskpar.jobspec.model import BySize

FILES = ["/d/a/1.png", "/d/a/2.png", "/d/b/1.png", "/d/b/3.png", "/d/c/7", "/d/c/x=1.png", "s3://k/p/9.png"]


@pytest.fixture
def files(tmp_path: Path) -> Plan:
    write_plan(tmp_path, kind="files", paths=FILES, per_batch=2)
    return Plan.open(tmp_path)


@pytest.fixture
def grouped(tmp_path: Path) -> Plan:
    day = datetime.datetime(2024, 1, 1)
    keys = pa.table(
        {
            "store": [1, 1, 2, None],
            "brand": ["a", "b,c", "a", "a"],
            "day": [day, day, day.replace(day=2), None],
            "rate": [0.5, 1.0, 2.0, float("nan")],
            "open": [True, False, True, None],
        }
    )
    write_plan(tmp_path, kind="grouped", paths=FILES[:5], offsets=np.array([0, 1, 2, 4, 5]), keys=keys)
    return Plan.open(tmp_path)


@pytest.mark.parametrize(
    ("name", "index"),
    [
        (0, 0),
        (3, 3),
        ("2", 2),
        (" 1 ", 1),
        ("2.png", 0),
        ("3.png", 1),
        ("/d/b/1.png", 1),
        ("b/1.png", 1),
        ("./b/1.png", 1),
        ("../d/b/1.png", 1),
        ("c/7", 2),
        ("x=1.png", 2),
        ("s3://k/p/9.png", 3),
        ("9.png", 3),
    ],
)
def test_by_index_and_file(files, name, index):
    assert find_mini_batch(files, name) == index


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("4", "there is no mini-batch 4: the plan has 4, 0 to 3"),
        ("-1", "there is no mini-batch -1"),
        ("1.png", r"'1.png' means 2 mini-batches.*\n  0: /d/a/1.png\n  1: /d/b/1.png"),
        ("4.png", r"no mini-batch has a file '4.png'. Did you mean .*.png"),
        ("/other/2.png", "no mini-batch has a file"),
        ("store=1", "no mini-batch has a file 'store=1'"),
        ({"store": 1}, "no partition_keys"),
    ],
)
def test_what_is_no_file_of_theirs(files, name, message):
    with pytest.raises(UsageError, match=message):
        find_mini_batch(files, name)


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("store=2", 2),
        ("store=1,brand=a", 0),
        ("brand=a, store=1", 0),
        ("brand=b,c", 1),
        ("store=2.0", 2),
        ("store=null", 3),
        ("store=", 3),
        ("day=2024-01-02", 2),
        ("day=2024-01-02 00:00:00", 2),
        ("rate=.5", 0),
        ("rate=nan", 3),
        ("open=false", 1),
        ("store=1,open=True", 0),
        ({"store": 2}, 2),
        ({"store": None}, 3),
        ({"store": "1", "brand": "b,c"}, 1),
        ("3.png", 2),
    ],
)
def test_by_key(grouped, name, index):
    assert find_mini_batch(grouped, name) == index


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("store=1", r"'store=1' means 2 mini-batches.*\n  0: store=1, brand=a.*\n  1: store=1, brand=b,c"),
        ("store=12", "no mini-batch has store=12. Did you mean .*store=1"),
        ({"stor": 1}, "'stor' is none of the partition_keys .*Did you mean 'store'"),
        ("nothing", "or store=... names one"),
    ],
)
def test_what_is_no_key_of_theirs(grouped, name, message):
    with pytest.raises(UsageError, match=message):
        find_mini_batch(grouped, name)


def test_files_of_a_table(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.csv").write_text("n\n" + "1\n" * (3 if name == "a" else 3000))
    (tmp_path / "MLTable").write_text(
        "paths: [{pattern: ./*.csv}]\ntransformations: [{read_delimited: {delimiter: ','}}]\n"
    )
    plan_by_size(open_mltable(str(tmp_path)), BySize(number=2, unit=1024), tmp_path / "plan")
    plan = Plan.open(tmp_path / "plan")
    assert find_mini_batch(plan, "a.csv") == 0
    names = MiniBatchNames(tmp_path / "plan").names(range(plan.count))
    assert [find_mini_batch(plan, name) for name in names] == list(range(plan.count))
    with pytest.raises(UsageError, match=r"'b.csv' means 3 mini-batches.*\n  1: b.csv"):
        find_mini_batch(plan, "b.csv")


def test_rows_that_lie_together_have_keys_alone(tmp_path: Path) -> None:
    from daskpar.batches.by_keys import plan_by_keys

    (tmp_path / "a.csv").write_text("k,n\n" + "".join(f"{row % 3},{row}\n" for row in range(30)))
    (tmp_path / "MLTable").write_text(
        "paths: [{file: ./a.csv}]\ntransformations: [{read_delimited: {delimiter: ','}}]\n"
    )
    plan_by_keys(open_mltable(str(tmp_path)), ["k"], tmp_path / "plan", execute_here)
    plan = Plan.open(tmp_path / "plan")
    assert find_mini_batch(plan, "k=2") == 2
    with pytest.raises(UsageError, match="these have no files of their own; give its key"):
        find_mini_batch(plan, "a.csv")


def test_a_plan_without_any(tmp_path: Path) -> None:
    write_plan(tmp_path, kind="files", paths=[])
    with pytest.raises(UsageError, match="has no mini-batch"):
        find_mini_batch(Plan.open(tmp_path), 0)
