"""Opening an MLTable: what is wrong in it is reported with its line, before any job starts."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pytest

from daskpar.data.files import FileList
from daskpar.data.mltable.open import open_mltable, open_mltables
from daskpar.errors import DaskparError, InputError, UsageError

MakeTable = Callable[..., Path]


class Refusal(Exception):
    """An error of a filesystem's own kind."""


class Refused(fsspec.AbstractFileSystem):
    """A filesystem that lets nobody in."""

    protocol = "refused"
    cachable = False

    def ls(self, path: str, detail: bool = True, **_: Any) -> Any:
        raise Refusal("no credentials")

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise Refusal("no credentials")

    info = find = isfile = isdir = cat_file = _refuse


fsspec.register_implementation("refused", Refused, clobber=True)


HEAD = "paths:\n- file: d.csv\ntransformations:\n"


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("paths: [\n", 2, "not valid YAML"),
        ("paths:\n\t- file: x\n", 2, "not valid YAML"),
        ("- a\n", 1, "is a mapping"),
        ("paths: []\n# \x07\n", 2, "U+0007 is not allowed"),
        ("paths: []\nmetadata:\n  created: 2020-13-45\n", 3, "month must be in 1..12"),
        ("paths: []\nmetadata: {x: !!timestamp foo}\n", 2, "'foo' can't be read as timestamp"),
        ("paths: []\nmetadata: {x: !!bool foo}\n", 2, "'foo' can't be read as bool"),
        ("paths: []\nmetadata: {x: !!int foo}\n", 2, "'foo' can't be read as int"),
        ("paths: []\nmetadata: {? [1, 2] : 3}\n", 2, "unhashable key"),
        ("paths: []\nmetadata: " + "[" * 5000 + "\n", None, "nested too deep"),
        ("paths: &a\n- *a\n", 1, "each item of `paths`"),
        ("foo: 1\npaths: []\n", 1, "no key 'foo'"),
        ("path: []\n", 1, "Did you mean 'paths'"),
        ("paths: ./d.csv\n", 1, "must be a list"),
        ("paths:\n- file: d.csv\n- uri: x\n", 3, "one of `file"),
        ("paths:\n- file: [x]\n", 2, "must be a path"),
        ("paths: []\nquery_source: x\n", 2, "not available here"),
        (HEAD + "- read_delimitted\n", 4, "Did you mean 'read_delimited'"),
        (HEAD + "- read_delimited:\n", 4, "must be a mapping"),
        (HEAD + "- read_delimited:\n    delimiter: ','\n    header: foo\n", 6, "one of no_header"),
        (HEAD + "- read_delimited:\n    delimeter: ','\n", 5, "Did you mean 'delimiter'"),
        (HEAD + "- read_delimited:\n    encoding: utf-7\n", 5, "one of utf8"),
        (HEAD + "- read_delimited:\n    support_multi_line: 'yes'\n", 5, "true or false"),
        (HEAD + "- read_delimited:\n    partition_size: 0\n", 5, "bytes above 0"),
        (HEAD + "- read_delimited:\n    infer_column_types:\n      sample_size: -1\n", 6, "records above 0"),
        (HEAD + "- read_delimited:\n    columns: {z: number}\n", 5, "no column type"),
        (HEAD + "- read_delimited:\n    columns: {zz: int}\n", 5, "declared column 'zz' is not in the data"),
        (
            HEAD
            + "- read_delimited:\n    infer_column_types:\n      column_type_overrides:\n      - column_type: int\n        columns: zz\n",
            8,
            "overridden column 'zz' is not in the data",
        ),
        (
            HEAD + "- read_delimited\n- filter: a > 1\n- filter: 1 / (a - 6) > 0\n",
            6,
            "filter '1 / (a - 6) > 0': division by zero",
        ),
        (HEAD + "- read_delimited\n- drop_columns: [a, b]\n- take: 1\n", 5, "no column is left"),
        (HEAD + "- drop_columns: Path\n", 4, "no column is left"),
        (
            HEAD + "- read_delimited:\n    include_path_column: true\n- read_parquet\n",
            6,
            "a table has one reader",
        ),
        (HEAD + "- read_delimited\n- take: -1\n", 5, "0 or more"),
        (HEAD + "- read_delimited\n- take: 1\n  skip: 1\n", 5, "one step"),
        (HEAD + "- read_delimited\n- filter: a >\n", 5, "a value is missing"),
        (HEAD + "- read_delimited\n- filter: a + 1\n", 5, "true or false"),
        (HEAD + "- read_delimited\n- filter: b / 2 == 1\n", 5, "takes numbers"),
        (HEAD + "- read_delimited\n- keep_columns:\n    pattern: '('\n", 6, "no regular expression"),
        (HEAD + "- read_delimited\n- keep_columns: zz\n", 5, "no column is left"),
        (HEAD + "- read_delimited\n- select_partitions: [3]\n", 5, "no partition 3"),
        (HEAD + "- take_random_sample: {probability: 1, seed: 1}\n", 4, "decimal number"),
        (
            HEAD + "- read_delimited\n- convert_column_types:\n  - columns: a\n    column_type: decimal\n",
            7,
            "no column type",
        ),
        (
            HEAD + "- read_delimited\n- convert_column_types:\n  - columns: a\n    column_type: datetime\n",
            7,
            "needs its formats",
        ),
        (
            HEAD
            + "- extract_columns_from_partition_format: {partition_format: '{a:MM}/x'}\n- read_delimited\n",
            4,
            "no year",
        ),
        (
            HEAD + "- extract_columns_from_partition_format: {partition_format: '{a/x'}\n- read_delimited\n",
            4,
            "do not pair up",
        ),
        (
            HEAD
            + "- extract_columns_from_partition_format: {partition_format: '{a}/{b}.csv'}\n- read_delimited\n",
            5,
            "two columns 'a'",
        ),
        ("paths:\n- file: d.csv\n- file: nope.csv\ntransformations:\n- read_delimited\n", 3, "No such file"),
        ("paths:\n- file: d.csv\n- file: .\ntransformations:\n- read_delimited\n", 3, "is a folder"),
        ("paths:\n- pattern: '*.tsv'\n", 2, "no file matches"),
        (
            'paths:\n- file: "a\\0b"\ntransformations:\n- read_delimited\n',
            2,
            "is no path: ",  # what follows is the text of Python, which differs from version to version
        ),
        ('paths:\n- pattern: "a\\0b/*"\n', 2, "can't be listed: ValueError: "),
        (f"paths:\n- pattern: {'x' * 300}/*\n", 2, "can't be listed: File name too long"),
        (
            "paths:\n- folder: refused://bucket/x\n",
            2,
            "refused://bucket/x can't be listed: Refusal: no credentials",
        ),
        ("paths:\n- pattern: refused://bucket/*\n", 2, "Refusal: no credentials"),
        (
            "paths:\n- file: refused://bucket/x\ntransformations:\n- read_delimited\n",
            2,
            "Refusal: no credentials",
        ),
        (
            "paths:\n- file: memory://folder\ntransformations:\n- read_delimited\n",
            2,
            "is a folder, not a file",
        ),
        ("paths:\n- file: azureml://datastores/x/paths/y\n", 2, "datastore 'x'"),
        ("paths:\n- file: d.csv\ntransformations:\n- read_parquet\n", 4, "no readable Parquet"),
        ("paths:\n- file: d.csv\ntransformations:\n- read_json_lines\n", 4, "line at byte 0 is invalid"),
        ("paths:\n- file: d.csv\ntransformations:\n- read_delta_lake\n", 4, "exactly one `folder`"),
    ],
)
def test_mistakes_name_their_line(text: str, line: int | None, why: str, tmp_path: Path) -> None:
    fsspec.filesystem("memory").pipe_file("/folder/d.csv", b"a\n1\n")
    (tmp_path / "d.csv").write_text("a,b\n5,x\n6,y\n")
    (tmp_path / "MLTable").write_text(text)
    with pytest.raises(DaskparError) as caught:
        open_mltable(str(tmp_path))
    where = f"{tmp_path}/MLTable:{line}: " if line else f"{tmp_path}/MLTable: "
    assert str(caught.value).startswith(where)
    assert str(caught.value).count(f"{tmp_path}/MLTable") == 1
    assert why in str(caught.value)


def test_a_missing_mltable_and_bytes_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no file named MLTable"):
        open_mltable(str(tmp_path))
    (tmp_path / "MLTable").write_bytes(b"paths: []\n# caf\xe9\n")
    with pytest.raises(InputError, match="MLTable:2: byte 15 is not UTF-8"):
        open_mltable(str(tmp_path))


def test_a_folder_that_refuses_is_named() -> None:
    with pytest.raises(InputError, match="refused://bucket/MLTable can't be read: Refusal: no credentials"):
        open_mltable("refused://bucket")


def test_a_table_without_a_reader_is_a_file_list(make_table: MakeTable) -> None:
    form = {"extract_columns_from_partition_format": {"partition_format": "/{day:yyyy-MM-dd}/{name}.csv"}}
    files = {"2021-03-25/a.csv": "v\n1\n", "2021-03-26/b.csv": "v\n2\n"}
    found = open_mltable(str(make_table(files, form, {"skip": 1})))
    assert isinstance(found, FileList)
    assert [Path(path).name for path in found.paths] == ["b.csv"]
    assert found.columns is not None
    assert found.columns.column("name").to_pylist() == ["b"]


def test_files_of_a_table_that_is_only_mounted(make_table: MakeTable) -> None:
    folder = make_table(
        {"a.csv": "v\n1\n", "b.csv": "v\n2\n"}, {"take": 1}, "read_delimited", {"filter": "v > 1"}
    )
    found = open_mltable(str(folder), files=True)
    assert isinstance(found, FileList) and [Path(path).name for path in found.paths] == ["a.csv"]


def test_delta_tables_need_their_package(make_table: MakeTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deltalake", None)
    folder = make_table({"dt/x": "x"}, "read_delta_lake", paths=[{"folder": "dt"}])
    with pytest.raises(DaskparError, match=r"pip install 'daskpar\[delta\]'"):
        open_mltable(str(folder))


def test_errors_keep_their_class(make_table: MakeTable) -> None:
    folder = make_table({}, paths=[{"file": "azureml:iris:1"}])
    with pytest.raises((UsageError, InputError), match="registered data asset"):
        open_mltable(str(folder))


def test_a_table_tells_what_was_left_out_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.csv").write_text("a\n1\n")
    os.mkfifo(tmp_path / "data" / "pipe.csv")
    (tmp_path / "MLTable").write_text("paths:\n- folder: ./data\ntransformations:\n- read_delimited\n")
    table = open_mltable(str(tmp_path))
    assert len(table.files) == 1
    (warning,) = table.warnings
    assert "1 × a named pipe" in warning and "pipe.csv" in warning
    (tmp_path / "MLTable").write_text("paths:\n- file: ./data/pipe.csv\ntransformations:\n- read_delimited\n")
    with pytest.raises(InputError, match=r"MLTable:2: .*pipe\.csv is a named pipe, not a file"):
        open_mltable(str(tmp_path))


@pytest.mark.parametrize(
    "name",
    [
        ".part-0.parquet.crc",
        "_committed_123",
        ".DS_Store",
        "_metadata.json",
        "part-0.parquet.crc",
        "notes.txt",
    ],
)
def test_what_lies_beside_parquet_is_told_with_the_pattern_that_would_do(tmp_path: Path, name: str) -> None:
    data = tmp_path / "data"
    data.mkdir()
    pd.DataFrame({"a": [1, 2]}).to_parquet(data / "part-0.parquet")
    (data / "_SUCCESS").touch()  # empty files are skipped
    (data / name).write_bytes(b"no parquet")
    (tmp_path / "table").mkdir()
    file = tmp_path / "table" / "MLTable"
    file.write_text("paths:\n- folder: ../data\ntransformations:\n- read_parquet\n")
    with pytest.raises(InputError, match=r"pattern: .*/\*\.parquet"):
        open_mltable(str(file.parent))
    file.write_text("paths:\n- pattern: ../data/*.parquet\ntransformations:\n- read_parquet\n")
    assert open_mltable(str(file.parent)).rows == 2


def test_several_mltables_are_one_table_where_they_do_the_same(tmp_path: Path) -> None:
    for name, value in (("one", 1), ("two", 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.csv").write_text(f"a\n{value}\n")
        (tmp_path / name / "MLTable").write_text(
            "paths:\n  - file: ./x.csv\ntransformations:\n  - read_delimited\n"
        )
    table = open_mltables([str(tmp_path / "one"), str(tmp_path / "two")])
    assert not isinstance(table, FileList)
    assert list(table.files) == [str(tmp_path / "one/x.csv"), str(tmp_path / "two/x.csv")]
    (tmp_path / "two/MLTable").write_text("paths:\n  - file: ./x.csv\ntransformations:\n  - read_parquet\n")
    with pytest.raises(InputError, match="its transformations are others than those of"):
        open_mltables([str(tmp_path / "one"), str(tmp_path / "two")])
