"""Collections in files: joined, numbered, and the same again."""

from __future__ import annotations

import itertools
import pickle

import dask
import dask.bag
import dask.dataframe
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from daskpar.data.dask_collections import read_mltable
from daskpar.data.mltable.open import open_mltable
from daskpar.data.tables.piece import PIECE
from daskpar.data.tables.table_reader import TableReader
from daskpar.driver.staged_collections import FrameParts, ItemBag, PathList, WholeFrame, runs_of, write_frame
from daskpar.driver.staged_inputs import write_partition
from daskpar.errors import UsageError


def compute(collections):
    return dask.compute(*collections, scheduler="sync")


def written(staged, folder):
    folder.mkdir()
    staged.write_into(folder, compute)
    return read_mltable(str(folder)).compute().reset_index(drop=True)


@pytest.mark.parametrize(
    ("sizes", "runs"),
    [
        ([], []),
        ([1], [[0]]),
        ([4, 4, 4], [[0, 1], [2]]),
        ([20, 1, 1], [[0], [1, 2]]),
        ([1, 20, 1], [[0], [1], [2]]),
        ([5, 5, 10, 0], [[0, 1], [2, 3]]),
    ],
)
def test_consecutive_parts_are_joined_up_to_a_size(sizes, runs):
    assert list(runs_of(sizes, 10)) == runs


def test_partitions_of_a_frame_are_joined_in_order(tmp_path):
    frame = pd.DataFrame({"n": range(100), "t": [None, *"x" * 99]})
    lazy = dask.dataframe.from_pandas(frame, npartitions=20)
    pd.testing.assert_frame_equal(
        written(FrameParts(lazy, 1 << 20), tmp_path / "a"), frame, check_dtype=False
    )
    assert [path.name for path in sorted((tmp_path / "a").iterdir())] == ["MLTable", "part-000000.parquet"]
    assert not (tmp_path / "a.parts").exists()


def test_parts_of_other_types_get_one_that_holds_both(tmp_path):
    parts = [dask.delayed(pd.DataFrame)({"n": values}) for values in ([1, 2], [0.5], [])]
    lazy = dask.dataframe.from_delayed(parts, meta={"n": float}, verify_meta=False)
    assert written(FrameParts(lazy, 1 << 20), tmp_path / "a").n.tolist() == [1.0, 2.0, 0.5]


def test_whole_numbers_beside_nulls_are_those_that_were_given(tmp_path):
    """A float has other numbers beyond 2^53, and so would every mini-batch that holds a null."""
    numbers = [2**53 + 1, None, 2**53 + 3, None, 7]
    frame = pd.DataFrame(
        {
            "signed": pd.array(numbers, "Int64"),
            "unsigned": pd.array([2**64 - 1, *numbers[1:]], "UInt64"),
            "arrow": pd.array(numbers, "int64[pyarrow]"),
            "plain": range(5),
        }
    )
    (tmp_path / "a").mkdir()
    FrameParts(dask.dataframe.from_pandas(frame, npartitions=2), 1 << 20).write_into(tmp_path / "a", compute)
    table = open_mltable(str(tmp_path / "a"))
    for cuts in ([0, 5], [0, 1, 3, 5]):
        pieces = np.array([(0, *cut) for cut in itertools.pairwise(cuts)], PIECE)
        reader = TableReader(table, pieces)
        read = [reader.frame(at) for at in range(len(pieces))]
        for name in ("signed", "unsigned", "arrow", "plain"):
            values = [int(value) if pd.notna(value) else None for part in read for value in part[name]]
            assert values == [int(value) if pd.notna(value) else None for value in frame[name]]
        assert not reader.take_notices() and str(read[0].dtypes["plain"]) == "int64"


@pytest.mark.parametrize(("write", "what"), [(write_frame, "data"), (write_partition, "input 'sales'")])
def test_a_column_of_several_kinds_is_named(tmp_path, write, what):
    frame = pd.DataFrame({"n": [1, 2], "mixed": [1, "a"]})
    with pytest.raises(UsageError, match=rf"^{what}: the column 'mixed' \(object\) can't be .*convert 'a'"):
        (tmp_path / "sales").mkdir()
        write(frame, tmp_path / "sales", 0)


def test_a_large_frame_has_row_groups_that_are_quick_to_decode(tmp_path, monkeypatch):
    monkeypatch.setattr("daskpar.driver.staged_collections.GROUP_BYTES", 800)
    frame = pd.DataFrame({"n": range(1000)})
    assert written(WholeFrame(frame), tmp_path / "a").n.tolist() == list(range(1000))
    assert pq.ParquetFile(tmp_path / "a/part-000000.parquet").num_row_groups == 10


def test_items_know_their_mini_batch_across_partitions(tmp_path):
    items = [1, "two", {"three": 3}, None, (5,), {6}]
    found = written(ItemBag(dask.bag.from_sequence(items, npartitions=4), 4), tmp_path / "a")
    assert [pickle.loads(item) for item in found["item"]] == items
    assert found["mini_batch"].tolist() == [0, 0, 0, 0, 1, 1]


def test_a_list_of_files_is_kept_as_it_is(tmp_path):
    paths = ["/a b/c'.txt", '/é".txt', "s3://bucket/x"]
    (tmp_path / "a").mkdir()
    PathList(paths).write_into(tmp_path / "a", compute)
    import yaml

    assert [each["file"] for each in yaml.safe_load((tmp_path / "a/MLTable").read_text())["paths"]] == paths
