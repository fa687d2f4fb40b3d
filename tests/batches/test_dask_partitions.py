"""Partitions of a Dask dataframe are the mini-batches that a job with the same settings has."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from daskpar.batches import grouping
from daskpar.batches.by_keys import plan_by_keys
from daskpar.batches.by_size import plan_by_size
from daskpar.batches.plan import Plan
from daskpar.data.dask_collections import read_mltable
from daskpar.data.mltable.open import open_mltable
from daskpar.errors import InputError, UsageError
from daskpar.jobspec.model import BySize

from .conftest import write_sales


def same_frames(frame, plan):
    """The partitions of a Dask dataframe hold what the mini-batches of a plan hold."""
    assert frame.npartitions == plan.count
    for i in range(plan.count):
        pd.testing.assert_frame_equal(frame.partitions[i].compute(), plan.load(i))
    whole = frame.compute()
    assert whole["Row"].tolist() == [row for i in range(plan.count) for row in plan.load(i)["Row"]]
    assert frame["Row"].compute().tolist() == whole["Row"].tolist() and len(frame) == len(whole)


@pytest.mark.parametrize("keys", [["Store"], ["Week"], ["Store", "Week"], ["Brand", "Missing"]], ids=" ".join)
@pytest.mark.parametrize(
    "steps", ["", "  - filter: Row % 5 > 0\n  - skip: 3\n"], ids=["all rows", "some rows"]
)
def test_partitions_by_keys_are_the_mini_batches(tmp_path, keys, steps):
    rng = np.random.default_rng(0)
    texts = {
        f"{store}/{brand}/d.csv": "Week,Missing,Row\n"
        + "".join(f"{rng.integers(1, 9)},{rng.choice(['', 'x'])},{k}\n" for k in range(200))
        for store in (2, 5)
        for brand in ("dominicks", "tropicana")
    }
    table = write_sales(tmp_path, texts, "/{Store}/{Brand}/*.csv")
    document = (tmp_path / "MLTable").read_text().replace(
        "delimiter", "partition_size: 700\n      delimiter"
    ) + steps
    (tmp_path / "MLTable").write_text(document)
    table = open_mltable(str(tmp_path))
    plan_by_keys(table, keys, tmp_path / "plan", grouping.execute_here)
    same_frames(read_mltable(tmp_path, partition_keys=keys), Plan.open(tmp_path / "plan"))


@pytest.mark.parametrize(
    "given",
    [{"partition_bytes": 1}, {"partition_bytes": 500}, {"mini_batch_size": "1kb"}, {"mini_batch_size": 0}],
)
def test_partitions_by_size_are_the_mini_batches(tmp_path, given):
    write_sales(tmp_path, {"d.csv": "Store,Row\n" + "".join(f"{k % 7},{k}\n" for k in range(300))})
    number, unit = (1, 1024) if given.get("mini_batch_size") == "1kb" else (next(iter(given.values())), 1)
    plan_by_size(open_mltable(str(tmp_path)), BySize(number=number, unit=unit), tmp_path / "plan")
    if number == unit == 1:
        frame, plan = read_mltable(tmp_path, **given), Plan.open(tmp_path / "plan")
        assert frame.npartitions == plan.count and frame.partitions[12:16].compute().equals(
            pd.concat([plan.load(i) for i in range(12, 16)])
        )
        return
    same_frames(read_mltable(tmp_path, **given), Plan.open(tmp_path / "plan"))


@pytest.mark.parametrize("given", [{"mini_batch_size": 2}, {"partition_keys": ["Store"]}])
def test_partitions_of_file_lists_are_the_mini_batches(tmp_path, given):
    write_sales(
        tmp_path, {f"{store}/{name}.csv": "" for store in (2, 5) for name in "abc"}, "/{Store}/{name}.csv"
    )
    document = (tmp_path / "MLTable").read_text()
    (tmp_path / "MLTable").write_text(document[: document.index("  - read_delimited")])
    files = open_mltable(str(tmp_path))
    if "partition_keys" in given:
        plan_by_keys(files, ["Store"], tmp_path / "plan", grouping.execute_here)
    else:
        plan_by_size(files, BySize(number=2, unit=1), tmp_path / "plan")
    plan, frame = Plan.open(tmp_path / "plan"), read_mltable(tmp_path, **given)
    assert [list(map(str, frame.partitions[i].compute()["Path"])) for i in range(frame.npartitions)] == [
        list(plan.load(i)) for i in range(plan.count)
    ]


@pytest.mark.parametrize(
    ("given", "error", "why"),
    [
        ({"mini_batch_size": "1.5mb"}, UsageError, "1536kb"),
        ({"mini_batch_size": 5, "partition_keys": ["Store"]}, UsageError, "give one of them"),
        ({"mini_batch_size": 10}, InputError, "is a number of files"),
        ({"mini_batch_size": "10"}, InputError, 'write a size with a unit, like "1mb"'),
        ({"partition_keys": "Store"}, UsageError, "write ['Store']"),
        ({"partition_keys": ["Stor"]}, InputError, "Did you mean 'Store'"),
    ],
)
def test_partitions_that_can_not_be_cut_so(tmp_path, given, error, why):
    write_sales(tmp_path, {"d.csv": "Store,Row\n5,1\n"})
    with pytest.raises(error, match=re.escape(why)):
        read_mltable(tmp_path, **given)


def test_what_is_lost_in_groups_is_reported_once(tmp_path):
    write_sales(tmp_path, {"d.csv": "Store,Row\n" + "5,1\n" * 300 + "x,1\n5,x\n"})
    frame = read_mltable(tmp_path, partition_keys=["Store"])
    with pytest.warns(UserWarning, match="became null") as caught:
        assert frame.npartitions == 2 and len(frame.compute()) == 302
    assert sorted(str(warning.message).partition(": ")[2][:29] for warning in caught) == [
        "1 value of column 'Row' becam",
        "1 value of column 'Store' bec",
    ]
