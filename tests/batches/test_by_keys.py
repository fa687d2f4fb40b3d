"""Mini-batches by keys: whole files where the keys come from the paths, grouped rows elsewhere."""

from __future__ import annotations

import pyarrow as pa
import pytest

from daskpar.batches.by_keys import plan_by_keys
from daskpar.batches.plan import Plan
from daskpar.data.files import FileList
from daskpar.errors import InputError

from .conftest import CUTS, SALES, Passes, arrow_table, check, grouped, whole_table, write_sales


def test_an_unknown_key_names_the_columns_and_the_nearest(tmp_path):
    table = arrow_table(tmp_path, SALES.select(["Store", "Brand"]))
    with pytest.raises(
        InputError,
        match=r"'Stores' is no column of the table. The columns are 'Store', 'Brand'. Did you mean 'Store'\?",
    ):
        plan_by_keys(table, ["Brand", "Stores"], tmp_path / "plan", Passes())
    with pytest.raises(InputError, match="'Region' is no column"):
        plan_by_keys(table, ["Region"], tmp_path / "plan", Passes())


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
