"""Rows brought together by keys: groups in order of first appearance, however the work is cut."""

from __future__ import annotations

import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from daskpar.batches import grouping
from daskpar.batches.by_size import plan_by_size
from daskpar.batches.grouping import group_table
from daskpar.batches.plan import Plan
from daskpar.data.columns.special_types import any_field, to_any
from daskpar.data.mltable.open import open_mltable
from daskpar.errors import InputError
from daskpar.jobspec.model import BySize

from .conftest import CUTS, SALES, Passes, arrow_table, check, grouped, whole_table, write_sales

DRAWN = {"seed": 3, "probability": 0.9, "probability_lower_bound": 0.3}


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


def test_nested_keys_are_refused(tmp_path):
    table = arrow_table(tmp_path, pa.table({"key": [[1], [2]]}))
    with pytest.raises(InputError, match=r"'key' holds list<.*> values; keys must be plain values"):
        grouped(table, ["key"], tmp_path / "plan")


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


@settings(max_examples=40, deadline=None)
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


@settings(max_examples=25, deadline=None)
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


@pytest.mark.parametrize("chunks", [[], [[1, 2, 3, 4]], [[1], [2, 3, 4]], [[1], [2], [3], [4]]])
def test_rows_of_any_number_of_chunks_are_one_batch(chunks):
    table = pa.table({"a": pa.chunked_array(chunks, pa.int64()), "t": pa.chunked_array(chunks, pa.int64())})
    rows = [value for chunk in chunks for value in chunk]
    for start, stop in ((0, None), (1, None), (1, 3), (2, 2)):
        found = grouping._one(table, start, stop)
        assert found.column("a").to_pylist() == found.column("t").to_pylist() == rows[start:stop]
