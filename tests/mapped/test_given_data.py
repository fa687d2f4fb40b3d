"""What data may be, and how it may be split."""

from __future__ import annotations

import dask.bag
import dask.dataframe
import numpy as np
import pandas as pd
import pytest

from daskpar.driver.staged_collections import FrameParts, ItemBag, PathList, WholeFrame
from daskpar.errors import UsageError
from daskpar.mapped.given_data import given_data

FRAME = pd.DataFrame({"store": [1, 2], "price": [1.5, 2.5], "kind": pd.Categorical(["a", "b"])})
LAZY = dask.dataframe.from_pandas(FRAME, npartitions=2)
BAG = dask.bag.from_sequence([1, 2, 3])


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.txt", "b.txt", "table/MLTable", "table/x.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("data", "size", "keys", "type", "staged", "written"),
    [
        (FRAME, None, None, "mltable", WholeFrame, ""),
        (FRAME, "10kb", None, "mltable", WholeFrame, "10kb"),
        (LAZY, None, ["store"], "mltable", FrameParts, ""),
        (BAG, 2, None, "mltable", ItemBag, ""),
        ([{"a": 1}, 2], "2", None, "mltable", ItemBag, ""),
        ([], None, None, "mltable", ItemBag, ""),
        (["a.txt", "b.txt"], None, None, "mltable", PathList, "1"),
        (("memory://bucket/a",), 5, None, "mltable", PathList, "5"),
        ("*.txt", 2, None, "mltable", PathList, "2"),
        ("table", None, ["store"], "mltable", type(None), ""),
        ("table/MLTable", "1mb", None, "mltable", type(None), "1mb"),
        (".", 2, None, "uri_folder", type(None), "2"),
        ("a.txt", None, None, "uri_file", type(None), ""),
    ],
)  # fmt: skip
def test_data_becomes_an_input(data, size, keys, type, staged, written):
    found = given_data(data, size, keys)
    assert (found.type, found.mini_batch_size) == (type, written)
    assert isinstance(found.staged, staged)
    assert found.token == given_data(data, size, keys).token != ""
    if not found.items:
        assert found.partition_keys == tuple(keys or ())


@pytest.mark.parametrize(
    ("data", "size", "keys", "said"),
    [
        (3, None, None, "can't be of type int: give a pandas or Dask DataFrame, a Dask bag, a list"),
        (np.array([1]), None, None, r"can't be of type ndarray.* Make a list of it: list\(data\)"),
        (FRAME.set_index("store", drop=False), None, None, "a column and an index that are named 'store'"),
        (FRAME.store, None, None, "can't be of type Series.* Make a frame of it: data.to_frame()"),
        (FRAME, 100, None, "100 says no unit, .* write '1mb' or '10kb', or partition_keys"),
        (FRAME, "x", None, "'x' is no size"),
        (FRAME, 1.5, None, "is a number or a size such as '10mb', not 1.5"),
        (FRAME, True, None, "not True"),
        (FRAME, None, "store", r"is a list of names of columns: write \['store'\]"),
        (FRAME, None, ["stor"], "no column 'stor'. Did you mean 'store'?"),
        (FRAME, "1mb", ["store"], "give one of them"),
        (pd.concat([FRAME, FRAME], axis=1), None, None, "two columns that are named 'store'"),
        (FRAME.set_axis([1, "1", 2], axis=1), None, None, "two columns that are named 1"),
        (FRAME.set_axis([["a", "b", "c"], [1, 2, 3]], axis=1), None, None, "several levels of columns"),
        (BAG, "1mb", None, "'1mb'; files and items are counted: write a number"),
        (BAG, 0, None, "counted"),
        (BAG, None, ["a"], "partition_keys are columns, and a list or bag has none"),
        (["a.txt", "c.txt"], None, None, "1 of 2 are no files that are there, such as 'c.txt'. .* dask.bag.from_sequence"),
        ("tabel", None, None, "there is no tabel. Did you mean 'table'?"),
        ("*.csv", None, None, r"no file fits the pattern '\*.csv'"),
    ],
)  # fmt: skip
def test_what_can_not_be_split_is_told(data, size, keys, said):
    with pytest.raises(UsageError, match=said):
        given_data(data, size, keys)


def test_another_frame_has_another_token_and_an_index_with_a_name_stays():
    assert given_data(FRAME, None, None).token != given_data(FRAME.iloc[::-1], None, None).token
    for data in (FRAME.set_index("store"), LAZY.set_index("store")):
        found = given_data(data, None, ["store"])
        assert list(found.columns) == ["store", "price", "kind"] and str(found.dtypes[2]) == "category"
