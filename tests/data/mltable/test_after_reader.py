"""Transformations after the reader: columns from paths, and conversions of values of any kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from daskpar.data.dask_collections import read_mltable
from daskpar.data.mltable.open import open_mltable
from daskpar.data.tables.table import Table

MakeTable = Callable[..., Path]


def test_columns_from_paths_behind_the_reader(make_table: MakeTable) -> None:
    form = {"extract_columns_from_partition_format": {"partition_format": "/{store}/{name}.csv"}}
    reader = {"read_delimited": {"include_path_column": True}}
    got = read_mltable(
        make_table({"7/a.csv": "v\n1\n", "8/b.csv": "v\n2\n"}, reader, form, {"filter": "store == 8"})
    ).compute()
    assert got.drop(columns="Path").to_dict("list") == {"store": [8], "name": ["b"], "v": [2]}


def test_a_column_from_paths_may_be_dropped_and_come_again(make_table: MakeTable) -> None:
    first, second = (
        {"extract_columns_from_partition_format": {"partition_format": form}}
        for form in ("/{store}/{name}.csv", "/{year:yyyy}-{store}.csv")
    )
    reader = {"read_delimited": {"include_path_column": True}}
    files = {"7/2020-a.csv": "v\n1\n", "8/2021-b.csv": "v\n2\n"}
    steps = [
        reader,
        first,
        {"filter": "store == 8"},
        {"drop_columns": ["store", "name"]},
        second,
        {"drop_columns": "Path"},
    ]
    table = open_mltable(str(make_table(files, *steps)))
    assert isinstance(table, Table) and table.path_keys(["store"]) is None
    assert read_mltable(table.origin).compute().to_dict("list") == {
        "store": ["b"],
        "year": [pd.Timestamp("2021")],
        "v": [2],
    }


def test_values_of_any_kind_are_converted_one_by_one(make_table: MakeTable) -> None:
    lines = '{"a":5}\n{"a":"7.9"}\n{"a":true}\n{"a":{"x":1}}\n{"a":null}\n'
    convert = {"convert_column_types": [{"columns": "a", "column_type": "int"}]}
    with pytest.warns(UserWarning, match="2 values of column 'a' became null"):
        got = read_mltable(make_table({"d.jsonl": lines}, "read_json_lines", convert)).compute()
    assert got["a"].tolist()[:2] == [5, 7] and got["a"].isna().tolist() == [False, False, True, True, True]


def test_integers_beyond_64_bits_among_values_of_any_kind_are_converted(make_table: MakeTable) -> None:
    lines = f'{{"a":{2**64}}}\n{{"a":"x"}}\n'
    convert = {"convert_column_types": [{"columns": "a", "column_type": "string"}]}
    assert read_mltable(make_table({"d.jsonl": lines}, "read_json_lines", convert)).compute()[
        "a"
    ].tolist() == [str(2**64), "x"]
