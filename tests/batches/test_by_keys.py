"""Mini-batches by keys: groups in order of first appearance, their rows in table order, however the work is cut."""

from __future__ import annotations

import datetime
import math
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from daskpar.batches import grouping
from daskpar.batches.by_keys import plan_by_keys
from daskpar.batches.by_size import plan_by_size
from daskpar.batches.grouping import group_table
from daskpar.batches.plan import Plan
from daskpar.data.columns.special_types import any_field, to_any
from daskpar.data.dask_collections import read_mltable
from daskpar.data.files import FileList
from daskpar.data.mltable.open import open_mltable
from daskpar.data.tables.frame_slices import to_frame
from daskpar.data.tables.table import Table
from daskpar.data.tables.table_reader import TableReader
from daskpar.errors import InputError, UsageError
from daskpar.jobspec.model import BySize

DRAWN = {"seed": 3, "probability": 0.9, "probability_lower_bound": 0.3}
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


STEPS = {
    "filter": [{"filter": "v % 3 > 0"}],
    "skip and take": [{"skip": 7}, {"take": 20}],
    "sample": [{"take_random_sample": {"probability": 0.4, "seed": 5}}],
    "all": [
        {"filter": "v > 3"},
        {"skip": 2},
        {"sample": {"sampler": "random_percent", "sampler_arguments": DRAWN}},
        {"take": 9},
    ],
    "none left": [{"filter": "v > 1000"}],
}


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("steps", STEPS)
def test_groups_of_what_the_steps_leave(steps, cut, tmp_path):
    """Groups hold what the whole table holds, and are numbered without gaps, though most ranges of the files are empty."""
    (tmp_path / "d.csv").write_text("k,v\n" + "".join(f"{v % 4},{v}\n" for v in range(60)))
    document = {
        "paths": [{"file": "d.csv"}],
        "transformations": [{"read_delimited": {"partition_size": 10}}, *STEPS[steps]],
    }
    (tmp_path / "MLTable").write_text(yaml.safe_dump(document))
    table = open_mltable(str(tmp_path))
    whole = whole_table(table)
    assert (whole.num_rows == 0) == (steps == "none left")
    check(grouped(table, ["k"], tmp_path / "plan", **CUTS[cut]), whole, ["k"])


@pytest.mark.parametrize("steps", STEPS)
def test_ranges_of_what_the_steps_leave(steps, tmp_path):
    """Mini-batches by size keep their index where no row is left, and together hold what the whole table holds."""
    (tmp_path / "d.csv").write_text("k,v\n" + "".join(f"{v % 4},{v}\n" for v in range(60)))
    document = {"paths": [{"file": "d.csv"}], "transformations": ["read_delimited", *STEPS[steps]]}
    (tmp_path / "MLTable").write_text(yaml.safe_dump(document))
    table = open_mltable(str(tmp_path))
    plan_by_size(table, BySize(number=5, unit=1), tmp_path / "plan")
    plan = Plan.open(tmp_path / "plan")
    found = [plan.load(i)["v"].tolist() for i in range(plan.count)]
    assert [v for batch in found for v in batch] == whole_table(table).column("v").to_pylist()
    if steps in ("filter", "sample", "all", "none left"):
        assert [] in found


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize(
    "keys",
    [
        ["Store", "Brand"],
        ["Brand"],
        ["Price"],
        ["Week"],
        ["Day", "Promoted"],
        ["Promoted"],
        ["Cents", "Store"],
        ["Nothing"],
        ["Nothing", "Brand"],
        ["Code"],
        ["Raw"],
        ["Row"],
        ["Store", "Brand", "Price", "Week", "Promoted"],
    ],
    ids=" ".join,
)
def test_groups_of_every_kind_of_key(tmp_path, keys, cut):
    table = arrow_table(tmp_path, SALES.slice(0, 4), SALES.slice(4))
    check(grouped(table, keys, tmp_path / "plan", **CUTS[cut]), SALES, keys)


def test_key_values_are_python_values_in_the_order_of_the_keys(tmp_path):
    plan = grouped(arrow_table(tmp_path, SALES), ["Brand", "Store", "Day"], tmp_path / "plan")
    assert plan.keys(0) == {"Brand": "tropicana", "Store": 2, "Day": datetime.date(1990, 6, 14)}
    assert list(plan.keys(0)) == ["Brand", "Store", "Day"]
    assert plan.keys(5) == {"Brand": None, "Store": 8, "Day": datetime.date(1990, 6, 15)}
    assert type(plan.keys(0)["Store"]) is int


def test_key_columns_stay_in_the_frame_with_their_dtypes(tmp_path):
    plan = grouped(
        arrow_table(tmp_path, SALES.select(["Store", "Brand", "Row"])), ["Store"], tmp_path / "plan"
    )
    first, last = plan.load(0), plan.load(plan.count - 1)
    assert list(first.columns) == ["Store", "Brand", "Row"]
    assert first["Store"].dtype == "int64"
    assert last["Store"].isna().all()
    assert list(first.index) == [0, 1, 2, 3]


def test_a_group_does_not_depend_on_what_was_loaded_before(tmp_path):
    table = arrow_table(tmp_path, SALES)
    several = grouped(table, ["Store"], tmp_path / "plan", **CUTS["two passes"])
    for i in (3, 0, 2, 2, 1):
        alone = Plan.open(tmp_path / "plan")
        alone.expect(i, i + 1)
        pd.testing.assert_frame_equal(several.load(i), alone.load(i))


def test_a_frame_may_be_changed(tmp_path):
    plan = grouped(arrow_table(tmp_path, SALES), ["Brand"], tmp_path / "plan")
    before = plan.load(0).copy()
    frame = plan.load(0)
    frame["Row"] = 0
    frame.loc[0, "Brand"] = "changed"
    pd.testing.assert_frame_equal(plan.load(0), before)


def test_more_groups_than_16_bits_can_number(tmp_path):
    rng = np.random.default_rng(0)
    numbers = rng.permutation(np.repeat(np.arange(70_000), 2))
    data = pa.table({"key": numbers, "row": np.arange(len(numbers))})
    plan = grouped(
        arrow_table(tmp_path, data), ["key"], tmp_path / "plan", small_bytes=0, partition_bytes=1 << 20
    )
    assert plan.count == 70_000
    seen = pd.unique(pd.Series(numbers))
    for i in (0, 1, 2, 34_567, 69_999):
        frame = plan.load(i)
        assert plan.keys(i) == {"key": seen[i]}
        assert list(frame["row"]) == list(np.flatnonzero(numbers == seen[i]))


@pytest.mark.parametrize("cut", CUTS)
def test_a_table_without_rows_has_no_groups(tmp_path, cut):
    plan = grouped(arrow_table(tmp_path, SALES.slice(0, 0)), ["Store"], tmp_path / "plan", **CUTS[cut])
    assert (plan.count, plan.summary.items) == (0, 0)


def test_a_group_may_be_larger_than_a_partition(tmp_path):
    data = pa.table({"key": ["big"] * 5000 + ["small"], "row": range(5001)})
    check(
        grouped(
            arrow_table(tmp_path, data),
            ["key"],
            tmp_path / "plan",
            small_bytes=0,
            span_bytes=4000,
            partition_bytes=4000,
        ),
        data,
        ["key"],
    )


def test_partitions_whose_kinds_differ_are_brought_together(tmp_path):
    data = pa.table(
        {"key": [1, 2, 3, 4, 5, 6], "value": pa.array([None, None, 1, None, 2, None], pa.int64())}
    )
    plan = grouped(
        arrow_table(tmp_path, data),
        ["key"],
        tmp_path / "plan",
        small_bytes=0,
        span_bytes=16,
        partition_bytes=16,
    )
    check(plan, data, ["key"])


def test_a_pass_may_run_again(tmp_path):
    table = arrow_table(tmp_path, SALES)
    texts = []
    for name, repeat in (("once", 1), ("again", 2)):
        group_table(table, ["Store"], tmp_path / name, Passes(repeat), **CUTS["two passes"])
        texts.append({path.name: path.read_bytes() for path in sorted((tmp_path / name).glob("*.arrow"))})
    assert texts[0] == texts[1]


def test_only_what_the_plan_needs_is_left(tmp_path):
    table = arrow_table(tmp_path, SALES)
    passes = Passes()
    folder = tmp_path / "plan"
    (folder / "grouping").mkdir(parents=True)
    (folder / "grouping" / "span-000009.arrow").write_text("left by a killed run")
    group_table(table, ["Store"], folder, passes, **CUTS["two passes"])
    partitions = dict(passes.seen)["gather"]
    assert partitions > 1
    files = {
        "plan.json",
        "plan.arrow",
        "groups.arrow",
        *(f"groups-{number:05d}.arrow" for number in range(partitions)),
    }
    assert {path.name for path in folder.iterdir()} == files


@pytest.mark.parametrize("at_once", [1, 3, 8])
def test_more_groups_than_are_merged_or_mapped_at_once(tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(grouping, "MERGED_GROUPS", at_once)
    monkeypatch.setattr("daskpar.batches.plan_arrow.GROUPS_AT_ONCE", at_once)
    data = pa.table({"key": [k * 7 % 23 for k in range(60)], "row": range(60)})
    check(
        grouped(arrow_table(tmp_path, data), ["key"], tmp_path / "plan", **CUTS["two passes"]), data, ["key"]
    )


def test_keys_of_a_column_with_several_kinds_are_its_values(tmp_path):
    column = to_any([1, "1", True, None, 1, "x"])
    data = pa.Table.from_arrays(
        [column, pa.array(range(6))], schema=pa.schema([any_field("key"), pa.field("row", pa.int64())])
    )
    plan = grouped(arrow_table(tmp_path, data), ["key"], tmp_path / "plan")
    assert [plan.keys(i)["key"] for i in range(plan.count)] == [1, "1", True, None, "x"]
    assert list(plan.load(0)["key"]) == [1, 1]


def test_small_tables_take_one_pass(tmp_path):
    passes = Passes()
    group_table(arrow_table(tmp_path, SALES), ["Store"], tmp_path / "plan", passes)
    assert passes.seen == [("together", 1)]


def test_a_pass_that_fails_leaves_no_plan(tmp_path):
    def execute(name, arguments, count):
        raise RuntimeError("the step failed")

    with pytest.raises(RuntimeError, match="the step failed"):
        group_table(arrow_table(tmp_path, SALES), ["Store"], tmp_path / "plan", execute)
    assert not (tmp_path / "plan" / "plan.json").exists()


def test_an_unknown_key_names_the_columns_and_the_nearest(tmp_path):
    table = arrow_table(tmp_path, SALES.select(["Store", "Brand"]))
    with pytest.raises(
        InputError,
        match=r"'Stores' is no column of the table. The columns are 'Store', 'Brand'. Did you mean 'Store'\?",
    ):
        plan_by_keys(table, ["Brand", "Stores"], tmp_path / "plan", Passes())
    with pytest.raises(InputError, match="'Region' is no column"):
        plan_by_keys(table, ["Region"], tmp_path / "plan", Passes())


def test_nested_keys_are_refused(tmp_path):
    table = arrow_table(tmp_path, pa.table({"key": [[1], [2]]}))
    with pytest.raises(InputError, match=r"'key' holds list<.*> values; keys must be plain values"):
        grouped(table, ["key"], tmp_path / "plan")


PATH_COLUMNS = pa.table({"Store": [2, 5, 2, None, 2], "Brand": ["a", "b", "a", "a", "b"]})


def test_files_are_grouped_by_the_columns_of_their_paths(tmp_path):
    files = FileList(paths=[f"/data/{k}.png" for k in range(5)], columns=PATH_COLUMNS, origin="pictures")
    passes = Passes()
    summary = plan_by_keys(files, ["Store", "Brand"], tmp_path / "plan", passes)
    plan = Plan.open(tmp_path / "plan")
    assert (summary.count, summary.items, summary.tabular, passes.seen) == (4, 5, False, [])
    assert [list(plan.load(i)) for i in range(4)] == [
        ["/data/0.png", "/data/2.png"],
        ["/data/1.png"],
        ["/data/3.png"],
        ["/data/4.png"],
    ]
    assert plan.keys(0) == {"Store": 2, "Brand": "a"}
    assert plan.keys(2) == {"Store": None, "Brand": "a"}
    assert [plan.load(i).task_id for i in range(4)] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (None, "its paths give no columns"),
        (PATH_COLUMNS, r"The columns are 'Store', 'Brand'. Did you mean 'Store'\?"),
    ],
)
def test_a_file_list_without_the_key_is_refused(tmp_path, columns, message):
    files = FileList(paths=[f"/data/{k}.png" for k in range(5)], columns=columns, origin="pictures")
    with pytest.raises(InputError, match=message):
        plan_by_keys(files, ["Stor"], tmp_path / "plan", Passes())


texts = st.one_of(st.none(), st.sampled_from(["", "a", "b", "é", "a b"]))
KEYS = {
    "text": (pa.string(), texts),
    "int": (pa.int64(), st.one_of(st.none(), st.integers(-2, 2), st.integers(-(2**63), 2**63 - 1))),
    "float": (
        pa.float64(),
        st.one_of(st.none(), st.sampled_from([0.0, -0.0, 1.0, float("nan"), float("inf"), 1e300, 0.1])),
    ),
    "float32": (pa.float32(), st.one_of(st.none(), st.sampled_from([0.0, -0.0, 1.0, float("nan"), 0.5]))),
    "bool": (pa.bool_(), st.one_of(st.none(), st.booleans())),
    "date": (
        pa.timestamp("us"),
        st.one_of(st.none(), st.sampled_from([datetime.datetime(1990, 1, day) for day in (1, 2, 3)])),
    ),
    "unsigned": (pa.uint64(), st.sampled_from([0, 1, 2**64 - 1])),
}


@st.composite
def keyed_tables(draw):
    rows = draw(st.integers(0, 40))
    kinds = draw(st.lists(st.sampled_from(sorted(KEYS)), min_size=1, max_size=3))
    columns = {
        f"key{k}": pa.array(draw(st.lists(KEYS[kind][1], min_size=rows, max_size=rows)), KEYS[kind][0])
        for k, kind in enumerate(kinds)
    }
    values = pa.array(
        draw(st.lists(st.one_of(st.none(), st.integers(0, 9)), min_size=rows, max_size=rows)), pa.int64()
    )
    return pa.table({**columns, "row": pa.array(range(rows), pa.int64()), "value": values}), list(columns)


@settings(max_examples=80, deadline=None)
@given(
    keyed=keyed_tables(),
    span=st.integers(1, 2000),
    partition=st.integers(20, 2000),
    small=st.booleans(),
    files=st.integers(1, 3),
)
def test_any_cut_gives_the_groups_in_order_of_first_appearance(
    tmp_path_factory, keyed, span, partition, small, files
):
    data, keys = keyed
    folder = tmp_path_factory.mktemp("groups")
    size = -(-max(data.num_rows, 1) // files)
    table = arrow_table(folder, *(data.slice(k * size, size) for k in range(files)))
    plan = grouped(
        table,
        keys,
        folder / "plan",
        small_bytes=10**9 if small else 0,
        span_bytes=span,
        partition_bytes=partition,
    )
    check(plan, data, keys)


@settings(max_examples=50, deadline=None)
@given(
    keys=st.lists(
        st.tuples(st.sampled_from(["a", "b", "c", None]), st.one_of(st.none(), st.integers(0, 3))),
        max_size=60,
    ),
    span=st.integers(1, 900),
)
def test_groups_are_those_of_pandas(tmp_path_factory, keys, span):
    folder = tmp_path_factory.mktemp("pandas")
    brands, stores = (
        pa.array([key[0] for key in keys], pa.string()),
        pa.array([key[1] for key in keys], pa.int64()),
    )
    data = pa.table({"brand": brands, "store": stores, "row": pa.array(range(len(keys)), pa.int64())})
    plan = grouped(
        arrow_table(folder, data),
        ["brand", "store"],
        folder / "plan",
        small_bytes=0,
        span_bytes=span,
        partition_bytes=500,
    )
    frame = data.to_pandas()
    frames = (
        [group for _, group in frame.groupby(["brand", "store"], sort=False, dropna=False)]
        if len(frame)
        else []
    )
    assert [list(plan.load(i)["row"]) for i in range(plan.count)] == [list(group["row"]) for group in frames]


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


FOLDERS = {
    "2/b/one.csv": "Week,Price\n1,1.5\n2,2.5\n",
    "2/b/two.csv": "Week,Price\n3,3.5\n",
    "1/a/one.csv": "Week,Price\n1,4.5\n3,\n",
    "1/a/header only.csv": "Week,Price\n",
    "1/c/one.csv": "Week,Price\n3,5.5\n1,6.5\n",
}


def test_keys_from_the_path_group_whole_files_without_a_pass(tmp_path):
    table = write_sales(tmp_path, FOLDERS, "/{Store}/{Brand}/*.csv")
    passes = Passes()
    plan_by_keys(table, ["Store", "Brand"], tmp_path / "plan", passes)
    plan = Plan.open(tmp_path / "plan")
    assert passes.seen == []
    assert [plan.keys(i) for i in range(plan.count)] == [
        {"Store": 1, "Brand": "a"},
        {"Store": 1, "Brand": "c"},
        {"Store": 2, "Brand": "b"},
    ]
    assert [list(plan.load(i)["Week"]) for i in range(3)] == [[1, 3], [3, 1], [1, 2, 3]]
    assert list(plan.load(2).columns) == ["Store", "Brand", "Week", "Price"]
    assert list(plan.load(2).index) == [0, 1, 2]


@pytest.mark.parametrize("keys", [["Store", "Week"], ["Week"]], ids=" ".join)
@pytest.mark.parametrize("cut", CUTS)
def test_keys_from_path_and_rows_group_rows(tmp_path, keys, cut):
    table = write_sales(tmp_path, FOLDERS, "/{Store}/{Brand}/*.csv")
    whole = whole_table(table)
    check(grouped(table, keys, tmp_path / "plan", **CUTS[cut]), whole, keys)


def test_rows_in_any_order_on_disk(tmp_path):
    rng = np.random.default_rng(0)
    rows = [f"{rng.integers(1, 9)},{rng.choice(['dominicks', 'tropicana', ''])},{k}" for k in range(3000)]
    table = write_sales(tmp_path, {"oj.csv": "Store,Brand,Row\n" + "\n".join(rows) + "\n"})
    cut = {"small_bytes": 0, "span_bytes": 5000, "partition_bytes": 10_000}
    check(
        grouped(table, ["Store", "Brand"], tmp_path / "plan", **cut),
        whole_table(table),
        ["Store", "Brand"],
    )


@pytest.mark.parametrize("cut", CUTS)
def test_values_lost_while_grouping_are_reported(tmp_path, cut):
    rows = (
        [f"{k % 3},{k}" for k in range(300)] + ["1,many"] + [f"{k % 3},{k}" for k in range(100)] + ["2,few"]
    )
    table = write_sales(tmp_path, {"oj.csv": "Store,Quantity\n" + "\n".join(rows) + "\n"})
    summary = group_table(table, ["Store"], tmp_path / "plan", Passes(repeat=2), **CUTS[cut])
    (warning,) = summary.warnings
    assert "2 values of column 'Quantity' became null" in warning
    assert warning.startswith(str(tmp_path))


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
