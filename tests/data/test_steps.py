"""Steps behind and before a reader: samples, columns from paths, conversions of values of any kind, and how little take reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import deltalake
import numpy as np
import pandas as pd
import pytest

from daskpar.data import reading
from daskpar.data.collections import read_mltable
from daskpar.data.mltable import open_mltable
from daskpar.data.partition_format import extract, parse_format
from daskpar.data.steps import uniform
from daskpar.data.table import Table

MakeTable = Callable[..., Path]


def test_samples_follow_the_seed_and_the_record(make_table: MakeTable) -> None:
    data = "v\n" + "".join(f"{row}\n" for row in range(20000))
    taken = {
        (seed, share): read_mltable(
            make_table({"d.csv": data}, "read_delimited", {"take_random_sample": {"probability": share, "seed": seed}}),
            partition_bytes=size,
        ).compute()
        for size, seed, share in [(10**6, 1, 0.3), (5000, 2, 0.3), (5000, 1, 0.0), (5000, 1, 1.0)]
    }
    assert 5600 < len(taken[1, 0.3]) < 6400 and 5600 < len(taken[2, 0.3]) < 6400
    assert set(taken[1, 0.3]["v"]) != set(taken[2, 0.3]["v"])
    assert len(taken[1, 0.0]) == 0 and len(taken[1, 1.0]) == 20000


def test_parts_of_a_random_split_are_disjoint_and_complete(make_table: MakeTable) -> None:
    data = "v\n" + "".join(f"{row}\n" for row in range(3000))

    def part(low: float, high: float) -> set[int]:
        arguments = {"seed": 7, "probability": high, "probability_lower_bound": low}
        step = {"sample": {"sampler": "random_percent", "sampler_arguments": arguments}}
        return set(read_mltable(make_table({"d.csv": data}, "read_delimited", step)).compute()["v"])

    first, second = part(0.0, 0.4), part(0.4, 1.0)
    assert first & second == set() and first | second == set(range(3000))


def test_drawn_numbers_are_even_and_in_range() -> None:
    drawn = uniform(3, 0, np.arange(100_000))
    assert drawn.min() >= 0 and drawn.max() < 1
    assert abs(np.histogram(drawn, 10)[0] - 10_000).max() < 500


def test_take_reads_no_more_than_it_needs(make_table: MakeTable, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_table({"d.csv": "v\n" + "12345\n" * 2_000_000}, "read_delimited", {"filter": "v > 5"}, {"skip": 10}, {"take": 20})
    read: list[int] = []
    original = reading.read_records
    monkeypatch.setattr(reading, "read_records", lambda *args: read.append(args[3] - args[2]) or original(*args))
    table = open_mltable(str(folder))
    assert sum(read) < 500_000
    assert isinstance(table, Table) and len(table.cut(1024)) == 1
    assert len(read_mltable(folder).compute()) == 20


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
    assert extract(form, ["/s=3/a.csv", "/x/b.csv"]).to_pylist() == [{"store": 3, "name": "a"}, {"store": None, "name": None}]
    with pytest.raises(ValueError, match="no path fits"):
        extract(form, ["/x/b.csv"])


def test_columns_from_paths_behind_the_reader(make_table: MakeTable) -> None:
    form = {"extract_columns_from_partition_format": {"partition_format": "/{store}/{name}.csv"}}
    reader = {"read_delimited": {"include_path_column": True}}
    got = read_mltable(make_table({"7/a.csv": "v\n1\n", "8/b.csv": "v\n2\n"}, reader, form, {"filter": "store == 8"})).compute()
    assert got.drop(columns="Path").to_dict("list") == {"store": [8], "name": ["b"], "v": [2]}


def test_values_of_any_kind_are_converted_one_by_one(make_table: MakeTable) -> None:
    lines = '{"a":5}\n{"a":"7.9"}\n{"a":true}\n{"a":{"x":1}}\n{"a":null}\n'
    convert = {"convert_column_types": [{"columns": "a", "column_type": "int"}]}
    with pytest.warns(UserWarning, match="2 values of column 'a' became null"):
        got = read_mltable(make_table({"d.jsonl": lines}, "read_json_lines", convert)).compute()
    assert got["a"].tolist()[:2] == [5, 7] and got["a"].isna().tolist() == [False, False, True, True, True]


def test_partition_columns_of_a_delta_table(tmp_path: Path) -> None:
    for number in range(2):
        frame = pd.DataFrame({"store": [number, number], "v": [10 * number, 10 * number + 1]})
        deltalake.write_deltalake(str(tmp_path / "dt"), frame, partition_by=["store"], mode="append")
    (tmp_path / "MLTable").write_text("paths:\n- folder: dt\ntransformations:\n- read_delta_lake\n")
    got = read_mltable(tmp_path).compute()
    assert sorted(zip(got["store"], got["v"], strict=True)) == [(0, 0), (0, 1), (1, 10), (1, 11)]
