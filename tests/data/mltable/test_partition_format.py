"""Columns from paths by a partition format."""

from __future__ import annotations

import pandas as pd
import pytest

from daskpar.data.mltable.partition_format import extract, parse_format


@pytest.mark.parametrize(
    ("text", "path", "found"),
    [
        ("/{a}/{b}.csv", "/x/y/z.csv", ["y", "z"]),
        ("/{a}/{d:yyyy/MM/dd}/f.csv", "/x/2021/03/25/f.csv", ["x", pd.Timestamp("2021-03-25")]),
        ("{d:yyyy-MM-ddTHHmmss}", "/x/2021-03-25T102030/f.csv", [pd.Timestamp("2021-03-25 10:20:30")]),
        ("/{a}/*/{b}.csv", "/x/anything/z.csv", ["x", "z"]),
        ("/{a}/{a}/f.csv", "/x/y/f.csv", ["x"]),
        ("/v(1)/{a}.csv", "/v(1)/z.csv", ["z"]),
        ("/{d:yyyy/MM}/f.csv", "/2021/13/f.csv", [None]),
    ],
)
def test_columns_from_paths(text: str, path: str, found: list[object]) -> None:
    assert list(extract(parse_format(text), [path]).to_pylist()[0].values()) == found


def test_paths_that_do_not_fit_give_nulls() -> None:
    form = parse_format("/s={store}/{name}.csv")
    assert extract(form, ["/s=3/a.csv", "/x/b.csv"]).to_pylist() == [
        {"store": 3, "name": "a"},
        {"store": None, "name": None},
    ]
    with pytest.raises(ValueError, match="no path fits"):
        extract(form, ["/x/b.csv"])
