"""MLTables and file lists as Dask collections: lazy, with the columns known beforehand."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import dask
import dask.dataframe
import fsspec
import pandas as pd
import pytest

import warm_python
from daskpar.data.columns.special_types import StreamInfo
from daskpar.data.dask_collections import read_files, read_mltable
from daskpar.data.tables import file_reader, partitions, table_reader
from daskpar.errors import InputError

MakeTable = Callable[..., Path]


def test_columns_and_kinds_before_any_row_is_read(
    make_table: MakeTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = "a,b,d\n" + "".join(f"{row},t{row},2020-01-{1 + row % 28:02}\n" for row in range(20000))
    folder = make_table({"d.csv": data}, "read_delimited")
    read: list[int] = []
    original = file_reader.read_records
    monkeypatch.setattr(
        file_reader, "read_records", lambda *args: read.append(args[3] - args[2]) or original(*args)
    )
    frame = read_mltable(folder, partition_bytes=50_000)
    assert sum(read) <= 64 * 1024
    assert frame.npartitions == -(-len(data) // 50_000)
    assert [str(dtype) for dtype in frame.dtypes] == ["int64", str(pd.Series(["x"]).dtype), "datetime64[ns]"]
    whole = frame.compute()
    assert whole["a"].tolist() == list(range(20000))
    pd.testing.assert_frame_equal(
        whole.reset_index(drop=True), read_mltable(folder).compute().reset_index(drop=True)
    )


def test_nulls_of_some_partitions_leave_the_kind_of_the_whole(make_table: MakeTable) -> None:
    data = "a,b\n" + "".join(f"{row},true\n" for row in range(20000)) + ",\n" * 100
    got = read_mltable(make_table({"d.csv": data}, "read_delimited"), partition_bytes=20_000).compute()
    assert str(got["a"].dtype) == "float64" and got["a"].isna().sum() == 100
    assert str(got["b"].dtype) == "object" and got["b"].iloc[0] is True


@pytest.mark.parametrize(("maker", "keys"), [("from_map", None), ("from_delayed", ["s"])])
@pytest.mark.parametrize("converts", [None, True, False])
def test_text_stays_as_it_is_and_that_of_other_threads_becomes_what_it_would(
    make_table: MakeTable,
    monkeypatch: pytest.MonkeyPatch,
    maker: str,
    keys: list[str] | None,
    converts: bool | None,
) -> None:
    """Another thread, that of another run or of the user, may make a frame in the midst of it."""
    folder = make_table({"d.csv": "s,b\nx,true\ny,\n"}, "read_delimited")
    original = getattr(dask.dataframe, maker)

    def theirs() -> str:
        frame = pd.DataFrame({"s": pd.Series(["x"], dtype=object)})
        return str(dask.dataframe.from_pandas(frame, npartitions=1).dtypes["s"])

    meanwhile: list[str] = []
    with dask.config.set({"dataframe.convert-string": converts}):
        usual = theirs()
        monkeypatch.setattr(
            dask.dataframe,
            maker,
            lambda *args, **kwargs: meanwhile.append(theirs()) or original(*args, **kwargs),
        )
        frame = read_mltable(folder, partition_keys=keys)
        whole = frame.compute()
    assert meanwhile == [usual]
    assert frame.dtypes.equals(whole.dtypes)
    assert whole["s"].dtype == pd.Series(["x"]).dtype
    assert (whole["b"].dtype, whole["b"].iloc[0]) == (object, True)


def test_lost_values_warn(make_table: MakeTable) -> None:
    data = "a\n" + "5\n" * 300 + "x\ny\n"
    with pytest.warns(
        UserWarning,
        match="2 values of column 'a' became null because they are no values of its kind, e.g. 'x'",
    ):
        read_mltable(make_table({"d.csv": data}, "read_delimited")).compute()


def test_many_partitions_with_losses_warn_a_few_times(make_table: MakeTable) -> None:
    data = "a\n" + "5\n" * 300 + "x\n" * 3000
    frame = read_mltable(make_table({"d.csv": data}, "read_delimited"), partition_bytes=100)
    with pytest.warns(UserWarning, match="became null") as caught:
        frame.compute(scheduler="sync")
    assert frame.npartitions > 50
    assert 2 <= len([warning for warning in caught if "became null" in str(warning.message)]) <= 4


def lost(caught: list[warnings.WarningMessage]) -> list[str]:
    return [
        str(warning.message).partition(": ")[2] for warning in caught if "became null" in str(warning.message)
    ]


def test_the_last_partition_reports_how_many_values_were_lost_each_time(make_table: MakeTable) -> None:
    data = "a\n" + "5\n" * 300 + "".join("x" + "\n5" * 99 + "\n" for _ in range(9))
    frame = read_mltable(make_table({"d.csv": data}, "read_delimited"), partition_bytes=200)
    assert frame.npartitions >= 9
    with pytest.warns(UserWarning, match="became null"):
        frame.head()
        frame.partitions[4].compute()
    for _ in range(2):
        with pytest.warns(UserWarning, match="became null") as caught:
            frame.compute()
        assert lost(caught.list)[-1].startswith("9 values of column 'a' became null")
        assert len(lost(caught.list)) <= 3


def test_reads_that_never_end_are_forgotten(make_table: MakeTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "READS_REMEMBERED", 3)
    folder = make_table({"d.csv": "a\n" + "5\n" * 300 + "x\n"}, "read_delimited")
    whole = read_mltable(folder, partition_bytes=200)
    whole.head()
    for _ in range(5):
        read_mltable(folder, partition_bytes=200).head()
        whole.head()
    assert len(partitions.reporters) <= 3
    with pytest.warns(UserWarning, match="1 value of column 'a' became null"):
        whole.compute()


def test_what_was_lost_is_shown_by_python_each_time(make_table: MakeTable) -> None:
    folder = make_table({"d.csv": "a\n" + "5\n" * 300 + "x\n"}, "read_delimited")
    program = folder / "program.py"
    program.write_text(
        f"import daskpar\nframe = daskpar.read_mltable({str(folder)!r})\nframe.compute(), frame.compute()"
    )
    found = warm_python.run(str(program), cwd=folder)
    assert found.stderr.count("1 value of column 'a' became null") == 2


def test_only_the_columns_that_are_used_are_read(
    make_table: MakeTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = pd.DataFrame({"a": [5, 7], "b": ["x", "y"], "c": [1.5, 2.5]})
    folder = make_table({"d.csv": values.to_csv(index=False)}, "read_delimited", {"filter": "c > 0"})
    plain = make_table(
        {"d.jsonl": values.to_json(orient="records", lines=True)}, "read_json_lines", name="json"
    )
    values.to_parquet(folder / "d.parquet")
    stored = make_table({"d.parquet": (folder / "d.parquet").read_bytes()}, "read_parquet", name="parquet")
    read: list[set[str]] = []
    original = table_reader.FileReader

    def spy(table: Any, *rest: Any) -> Any:
        read.append(set(table.needed))
        return original(table, *rest)

    frames = [read_mltable(path) for path in (folder, plain, stored)]
    monkeypatch.setattr(table_reader, "FileReader", spy)
    for frame, needed in zip(frames, ({"a", "c"}, {"a"}, {"a"}), strict=True):
        assert frame["a"].sum().compute() == 12 and read == [needed]
        assert frame[["c", "a"]].compute().columns.tolist() == ["c", "a"]
        assert len(frame) == 2 and frame[[]].compute().shape == (2, 0)
        pd.testing.assert_frame_equal(frame.compute(), values)
        read.clear()


def test_a_column_without_values_is_object_before_and_after(make_table: MakeTable) -> None:
    frame = read_mltable(make_table({"d.csv": "a,b\n5,\n6,\n"}, "read_delimited"))
    assert frame["b"].dtype == frame.compute()["b"].dtype == frame["b"].compute().dtype == object


def test_a_table_on_another_filesystem(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file(
        "/tables/one/MLTable",
        b"paths:\n- pattern: '*.csv'\ntransformations:\n- read_delimited:\n    include_path_column: true\n",
    )
    memory.pipe_file("/tables/one/a.csv", b"v,w\n1,x\n2,y\n")
    memory.pipe_file("/tables/one/b.csv", b"v,w\n3,z\n")
    got = read_mltable("memory://tables/one", partition_bytes=4).compute()
    assert got["v"].tolist() == [1, 2, 3]
    assert got["Path"].unique().tolist() == ["memory:///tables/one/a.csv", "memory:///tables/one/b.csv"]


def test_json_lines_in_a_folder_of_another_filesystem() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file(
        "/tables/json/MLTable",
        b"paths:\n- folder: data\ntransformations:\n- read_json_lines\n- filter: v > 1\n",
    )
    memory.pipe_file("/tables/json/data/b.jsonl", b'{"v": 3}\n')
    memory.pipe_file("/tables/json/data/a/z.jsonl", b'{"v": 1}\n{"v": 2}\n')
    assert read_mltable("memory://tables/json", partition_bytes=5).compute()["v"].tolist() == [2, 3]


def test_a_missing_file_of_another_filesystem() -> None:
    fsspec.filesystem("memory").pipe_file(
        "/tables/none/MLTable", b"paths:\n- file: d.csv\ntransformations:\n- read_delimited\n"
    )
    with pytest.raises(InputError, match=r"MLTable:2: memory://tables/none/d\.csv can't be read"):
        read_mltable("memory://tables/none")


STEPS = [
    {"filter": "a % 3 > 0"},
    {"skip": 5},
    {"take_random_sample": {"probability": 0.5, "seed": 3}},
    {"take": 400},
]


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    """Two, started as those of Dask's scheduler `processes` are."""
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as made:
        yield made


@pytest.mark.parametrize("reader", ["read_delimited", "read_json_lines"])
def test_schedulers_and_numbers_of_workers_give_the_same_rows(
    reader: str, make_table: MakeTable, processes: ProcessPoolExecutor
) -> None:
    values = pd.DataFrame(
        {"a": range(3000), "b": [None if row % 7 == 0 else f"text {row}" for row in range(3000)]}
    )
    data = (
        values.to_csv(index=False)
        if reader == "read_delimited"
        else values.to_json(orient="records", lines=True)
    )
    frame = read_mltable(make_table({"1.x": data, "2.x": data}, reader, *STEPS), partition_bytes=5000)
    first = frame.compute(scheduler="sync")
    assert len(first) == 400
    for options in (
        {"scheduler": "threads", "num_workers": 7},
        {"scheduler": "processes", "pool": processes},
    ):
        pd.testing.assert_frame_equal(frame.compute(**options), first)


def test_parquet_on_another_filesystem() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/tables/two/MLTable", b"paths:\n- file: d.parquet\ntransformations:\n- read_parquet\n")
    with memory.open("/tables/two/d.parquet", "wb") as file:
        pd.DataFrame({"a": [5, 22]}).to_parquet(file)
    assert read_mltable("memory://tables/two").compute()["a"].tolist() == [5, 22]


def test_files_of_a_table_without_a_reader(make_table: MakeTable) -> None:
    folder = make_table({"a.png": b"1", "b.png": b"2"}, {"filter": 'not startswith(Path, "x")'})
    got = read_mltable(folder).compute()
    assert got["Path"].tolist() == [StreamInfo(f"{folder}/a.png"), StreamInfo(f"{folder}/b.png")]
    with open(got["Path"][0], "rb") as file:
        assert file.read() == b"1"


def test_files_as_a_bag(make_table: MakeTable) -> None:
    folder = make_table({"a.png": b"1", "sub/b.png": b"2"})
    assert read_files(folder).compute() == [f"{folder}/MLTable", f"{folder}/a.png", f"{folder}/sub/b.png"]


def test_what_processors_import_knows_neither_dask_nor_yaml() -> None:
    code = (
        "import sys, daskpar.data.tables.table_reader, daskpar.batches.plan;"
        "print([name for name in ('dask', 'distributed', 'yaml', 'fsspec') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
