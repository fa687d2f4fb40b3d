"""Steps behind and before a reader: samples, columns from paths, conversions of values of any kind, and how little take reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deltalake
import fsspec
import numpy as np
import pandas as pd
import pytest

from daskpar.data.dask_collections import read_mltable
from daskpar.data.mltable.open import open_mltable
from daskpar.data.mltable.partition_format import extract, parse_format
from daskpar.data.tables import table_reader
from daskpar.data.tables.cutting import cut_into_pieces
from daskpar.data.tables.table import Table
from daskpar.data.tables.table_steps import uniform
from daskpar.errors import InputError

MakeTable = Callable[..., Path]


def test_samples_follow_the_seed_and_the_record(make_table: MakeTable) -> None:
    data = "v\n" + "".join(f"{row}\n" for row in range(20000))
    taken = {
        (seed, share): read_mltable(
            make_table(
                {"d.csv": data},
                "read_delimited",
                {"take_random_sample": {"probability": share, "seed": seed}},
            ),
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


@pytest.mark.parametrize(
    ("steps", "rows"),
    [
        ([{"select_partitions": [1, 2]}, {"select_partitions": [0]}], [3, 4]),
        ([{"select_partitions": [1, 2]}, {"skip": 1}, {"select_partitions": [0]}], [4]),
        ([{"take": 3}, {"select_partitions": [0, 1]}], [1, 2, 3]),
        ([{"skip": 3}, {"select_partitions": [0, 1]}], [4]),
        ([{"filter": "v != 3"}, {"select_partitions": [1]}, {"take": 5}], [4]),
    ],
)
def test_partitions_are_counted_among_those_that_are_left(
    steps: list[dict[str, Any]], rows: list[int], make_table: MakeTable
) -> None:
    folder = make_table({"d.csv": "v\n1\n2\n3\n4\n5\n6\n"}, {"read_delimited": {"partition_size": 4}}, *steps)
    assert read_mltable(folder).compute()["v"].tolist() == rows


def test_a_partition_beyond_those_chosen_is_refused(make_table: MakeTable) -> None:
    steps = [{"select_partitions": [1, 2]}, {"select_partitions": [2]}]
    with pytest.raises(InputError, match="there is no partition 2: the table has 2"):
        read_mltable(
            make_table({"d.csv": "v\n1\n2\n3\n4\n"}, {"read_delimited": {"partition_size": 3}}, *steps)
        )


def test_take_reads_no_more_than_it_needs(make_table: MakeTable, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_table(
        {"d.csv": "v\n" + "12345\n" * 2_000_000},
        "read_delimited",
        {"filter": "v > 5"},
        {"skip": 10},
        {"take": 20},
    )
    read: list[int] = []
    original = table_reader.read_records
    monkeypatch.setattr(
        table_reader, "read_records", lambda *args: read.append(args[3] - args[2]) or original(*args)
    )
    table = open_mltable(str(folder))
    assert sum(read) < 500_000
    assert isinstance(table, Table) and len(cut_into_pieces(table, 1024)) == 1
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
    assert extract(form, ["/s=3/a.csv", "/x/b.csv"]).to_pylist() == [
        {"store": 3, "name": "a"},
        {"store": None, "name": None},
    ]
    with pytest.raises(ValueError, match="no path fits"):
        extract(form, ["/x/b.csv"])


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


@pytest.mark.parametrize(
    ("pattern", "kept"),
    [
        ("[[:digit:]]", ["a1"]),
        (r"\\p{Lu}", ["B"]),
        ("(?<first>a)", ["a", "a1", "ca"]),
        (r"^a\\z", ["a"]),
        ("(?i)b", ["B"]),
        ("é", ["é"]),
    ],
)
def test_patterns_are_those_of_the_engine(pattern: str, kept: list[str], make_table: MakeTable) -> None:
    table = make_table(
        {"d.csv": "a,a1,B,ca,é\n1,2,3,4,5\n"},
        "read_delimited",
        {"keep_columns": {"pattern": pattern.replace("\\\\", "\\")}},
    )
    assert read_mltable(table).columns.tolist() == kept


def delta_table(folder: Path, frame: pd.DataFrame, *steps: str, **options: Any) -> Path:
    deltalake.write_deltalake(str(folder / "dt"), frame, **options)
    (folder / "MLTable").write_text(
        "\n".join(["paths:", "- folder: dt", "transformations:", *(steps or ("- read_delta_lake",))])
    )
    return folder


def test_odd_values_of_partition_columns_of_a_delta_table(tmp_path: Path) -> None:
    frame = pd.DataFrame({"v": [1, 2, 3], "a b": ["ä/1", "x y", "50%"]})
    got = read_mltable(delta_table(tmp_path, frame, partition_by=["a b"])).compute()
    assert dict(zip(got["a b"], got["v"], strict=True)) == {"ä/1": 1, "x y": 2, "50%": 3}


def test_a_delta_table_without_files(tmp_path: Path) -> None:
    folder = delta_table(tmp_path, pd.DataFrame({"v": [1, 2]}))
    deltalake.DeltaTable(str(tmp_path / "dt")).delete()
    assert read_mltable(folder).compute().shape == (0, 0)


@pytest.mark.parametrize(
    "steps", [["- take: 0"], ["- extract_columns_from_partition_format: {partition_format: '/{a}'}"]]
)
def test_steps_before_a_delta_table_is_read_are_refused(steps: list[str], tmp_path: Path) -> None:
    folder = delta_table(tmp_path, pd.DataFrame({"v": [1, 2]}), *steps, "- read_delta_lake")
    with pytest.raises(InputError, match=r"MLTable:4: .*read_delta_lake.* must be the first step"):
        read_mltable(folder)


@pytest.mark.parametrize(
    ("version", "why"), [(2**70, "can't be read as a delta table"), (7, "can't be read as a delta table")]
)
def test_versions_that_a_delta_table_has_not(version: int, why: str, tmp_path: Path) -> None:
    folder = delta_table(
        tmp_path, pd.DataFrame({"v": [1, 2]}), f"- read_delta_lake: {{version_as_of: {version}}}"
    )
    with pytest.raises(InputError, match=f"MLTable:4: .*{why}"):
        read_mltable(folder)


def test_delta_tables_with_renamed_columns_are_refused(tmp_path: Path) -> None:
    folder = delta_table(tmp_path, pd.DataFrame({"v": [1, 2]}))
    log = tmp_path / "dt" / "_delta_log" / f"{0:020}.json"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:
        if "metaData" in line:
            line["metaData"]["configuration"]["delta.columnMapping.mode"] = "name"
            schema = json.loads(line["metaData"]["schemaString"])
            schema["fields"][0]["metadata"] = {
                "delta.columnMapping.id": 1,
                "delta.columnMapping.physicalName": "c1",
            }
            line["metaData"]["schemaString"] = json.dumps(schema)
        if "protocol" in line:
            line["protocol"] |= {"minReaderVersion": 2, "minWriterVersion": 5}
    log.write_text("\n".join(json.dumps(line) for line in lines))
    with pytest.raises(InputError, match=r"MLTable:4: .* with renamed columns, which daskpar does not read"):
        read_mltable(folder)


def test_delta_tables_on_other_filesystems_are_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "MLTable").write_text("paths:\n- folder: memory://dt\ntransformations:\n- read_delta_lake\n")
    fsspec.filesystem("memory").pipe_file("/dt/x", b"x")
    with pytest.raises(InputError, match="memory://dt can't be read as a delta table"):
        read_mltable(tmp_path)


def test_integers_beyond_64_bits_among_values_of_any_kind_are_converted(make_table: MakeTable) -> None:
    lines = f'{{"a":{2**64}}}\n{{"a":"x"}}\n'
    convert = {"convert_column_types": [{"columns": "a", "column_type": "string"}]}
    assert read_mltable(make_table({"d.jsonl": lines}, "read_json_lines", convert)).compute()[
        "a"
    ].tolist() == [str(2**64), "x"]


def test_partition_columns_of_a_delta_table(tmp_path: Path) -> None:
    for number in range(2):
        frame = pd.DataFrame({"store": [number, number], "v": [10 * number, 10 * number + 1]})
        deltalake.write_deltalake(str(tmp_path / "dt"), frame, partition_by=["store"], mode="append")
    (tmp_path / "MLTable").write_text("paths:\n- folder: dt\ntransformations:\n- read_delta_lake\n")
    got = read_mltable(tmp_path).compute()
    assert sorted(zip(got["store"], got["v"], strict=True)) == [(0, 0), (0, 1), (1, 10), (1, 11)]
