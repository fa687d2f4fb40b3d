"""Collections given from Python become files that any run can read again."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from daskpar.data.dask_collections import read_mltable
from daskpar.driver.staged_inputs import split_inputs, stage
from daskpar.errors import UsageError


def test_what_a_spec_can_say_itself_is_text():
    literals, collections = split_inputs(
        {"a": 1, "b": 2.5, "c": True, "d": "x", "e": Path("/y"), "f": pd.DataFrame({"n": [1]})}
    )
    assert literals == {"a": "1", "b": "2.5", "c": "True", "d": "x", "e": "/y"}
    assert list(collections) == ["f"]


@pytest.mark.parametrize("value", [None, [1], {"a": 1}, b"x", pd.Series([1])])
def test_anything_else_is_told(value):
    with pytest.raises(UsageError, match="input 'x' is a "):
        split_inputs({"x": value})


def test_frames_keep_their_rows_columns_and_kinds(tmp_path):
    frame = pd.DataFrame(
        {"n": [3, 1, 2], "t": ["é", None, "z"], "d": pd.to_datetime(["2020-01-01", None, "2021-02-03"])},
        index=[9, 9, 8],
    )
    staged = stage({"x": frame}, tmp_path)
    back = read_mltable(staged["x"]).compute().reset_index(drop=True)
    assert list(back.columns) == ["n", "t", "d"]
    assert list(back["n"]) == [3, 1, 2]
    assert back["t"].isna().tolist() == [False, True, False]
    assert back["d"].dt.year.tolist()[::2] == [2020, 2021]


def test_a_bag_has_to_hold_paths(tmp_path):
    import dask.bag

    with pytest.raises(UsageError, match="holds a int"):
        stage({"x": dask.bag.from_sequence([1, 2])}, tmp_path)
