"""TableReader: what one piece gives, errors that hit one piece alone, and what is lost is counted."""

from __future__ import annotations

from collections.abc import Callable
from datetime import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from daskpar.data.dask_collections import read_mltable
from daskpar.data.formats import parquet
from daskpar.data.mltable.open import open_mltable
from daskpar.data.tables import file_reader
from daskpar.data.tables.cutting import cut_into_pieces
from daskpar.data.tables.piece import PIECE
from daskpar.data.tables.table import Table
from daskpar.data.tables.table_reader import TableReader
from daskpar.errors import InputError

MakeTable = Callable[..., Path]


def table_of(folder: Path) -> Table:
    """The table of an MLTable folder."""
    found = open_mltable(str(folder))
    assert isinstance(found, Table)
    return found


def numbered(rows: int) -> str:
    """A delimited text with the columns a (a number) and b (a text)."""
    return "a,b\n" + "".join(f"{row},text {row}\n" for row in range(rows))


def test_frames_are_independent_of_each_other(make_table: MakeTable) -> None:
    table = table_of(make_table({"d.csv": numbered(50)}, "read_delimited"))
    reader = TableReader(table, cut_into_pieces(table, 100))
    first = reader.frame(1)
    kept = first.copy()
    first["a"] = -1
    first.loc[0, "b"] = "changed"
    pd.testing.assert_frame_equal(reader.frame(1), kept)
    assert reader.frame(2).index.tolist() == list(range(len(reader.frame(2))))


def test_an_error_hits_the_piece_that_has_it(make_table: MakeTable) -> None:
    data = numbered(9000).encode().replace(b"text 8300\n", b"text \xff\n")
    table = table_of(make_table({"d.csv": data}, "read_delimited"))
    pieces = cut_into_pieces(table, 500)
    reader = TableReader(table, pieces)
    failed = []
    for i in range(len(pieces)):
        try:
            reader.frame(i)
        except InputError as error:
            failed.append(i)
            assert "d.csv" in str(error) and str(data.index(b"\xff")) in str(error)
    assert len(failed) == 1
    assert pieces["start"][failed[0]] <= data.index(b"8300,text") < pieces["stop"][failed[0]]


def test_small_pieces_share_one_parse(make_table: MakeTable, monkeypatch: pytest.MonkeyPatch) -> None:
    table = table_of(make_table({"d.csv": numbered(2000)}, "read_delimited"))
    read: list[int] = []
    original = file_reader.read_records
    monkeypatch.setattr(file_reader, "read_records", lambda *args: read.append(1) or original(*args))
    pieces = cut_into_pieces(table, 100)
    reader = TableReader(table, pieces)
    assert sum(len(reader.frame(i)) for i in range(len(pieces))) == 2000
    assert len(read) == 1


def test_reading_ahead_ends_where_the_span_ends(
    make_table: MakeTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = table_of(make_table({"d.csv": numbered(2000)}, "read_delimited"))
    read: list[int] = []
    original = file_reader.read_records
    monkeypatch.setattr(file_reader, "read_records", lambda *args: read.append(args[3]) or original(*args))
    pieces = cut_into_pieces(table, 100)
    reader = TableReader(table, pieces)
    reader.expect(3, 6)
    reader.frame(3)
    assert read == [int(pieces["stop"][5])]


def test_a_row_group_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path
    pq.write_table(pa.table({"a": range(1000), "b": ["x"] * 1000}), folder / "d.parquet", row_group_size=500)
    (folder / "MLTable").write_text("paths:\n- file: d.parquet\ntransformations:\n- read_parquet\n")
    table = table_of(folder)
    decoded: list[int] = []
    original = parquet.ParquetRows._decode

    def counting(self: Any, group: int, start: int) -> Any:
        decoded.append(group)
        return original(self, group, start)

    monkeypatch.setattr(parquet.ParquetRows, "_decode", counting)
    pieces = cut_into_pieces(table, 100)
    assert len(pieces) > 20
    reader = TableReader(table, pieces)
    assert [value for i in range(len(pieces)) for value in reader.frame(i)["a"]] == list(range(1000))
    assert decoded == [0, 1]


def test_a_large_row_group_is_decoded_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "WINDOW", 4000)
    pq.write_table(pa.table({"a": np.random.default_rng(1).permutation(5000)}), tmp_path / "d.parquet")
    (tmp_path / "MLTable").write_text("paths:\n- file: d.parquet\ntransformations:\n- read_parquet\n")
    table = table_of(tmp_path)
    pieces = cut_into_pieces(table, 1000)
    reader = TableReader(table, pieces)
    expected = pd.read_parquet(tmp_path / "d.parquet")["a"].tolist()
    assert [value for i in range(len(pieces)) for value in reader.frame(i)["a"]] == expected
    start = int(pieces["start"][2])
    assert reader.frame(2)["a"].tolist() == expected[start : int(pieces["stop"][2])]


def test_only_the_columns_that_are_wanted_are_read(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [5, 22], "b": ["x", "y"], "c": [1.5, 2.5]}), tmp_path / "d.parquet")
    steps = "- read_parquet\n- filter: c > 2\n- keep_columns: b\n"
    (tmp_path / "MLTable").write_text(f"paths:\n- file: d.parquet\ntransformations:\n{steps}")
    table = table_of(tmp_path)
    assert table.needed == {"b", "c"}
    assert TableReader(table, cut_into_pieces(table, 10**6)).frame(0).to_dict("list") == {"b": ["y"]}


def test_row_groups_that_a_filter_rules_out_are_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(pa.table({"a": range(1000)}), tmp_path / "d.parquet", row_group_size=100)
    (tmp_path / "MLTable").write_text(
        "paths:\n- file: d.parquet\ntransformations:\n- read_parquet\n- filter: a >= 250 and a < 310\n"
    )
    decoded: list[int] = []
    original = parquet.ParquetRows._decode
    monkeypatch.setattr(
        parquet.ParquetRows,
        "_decode",
        lambda self, group, start: decoded.append(group) or original(self, group, start),
    )
    table = table_of(tmp_path)
    decoded.clear()
    reader = TableReader(table, table.files_pieces())
    assert reader.frame(0)["a"].tolist() == list(range(250, 310))
    assert decoded == [2, 3]


@pytest.mark.parametrize(
    ("late", "messages"),
    [
        ("x,t\n", ["1 value of column 'a' became null"]),
        ("1,t,extra\n", ["1 value of 'Column3', a column that the inference sample did not have"]),
        ("1,t,E,,G\n", ["1 value of 'Column3'", "1 value of 'Column5'"]),
        ("1,t,,,G\n", ["1 value of 'Column5'"]),
    ],
)
def test_what_is_lost_behind_the_sample_is_counted(
    late: str, messages: list[str], make_table: MakeTable
) -> None:
    table = table_of(make_table({"d.csv": numbered(8000) + late}, "read_delimited"))
    reader = TableReader(table, table.files_pieces())
    frame = reader.frame(0)
    assert len(frame) == 8001 and list(frame.columns) == ["a", "b"]
    found = reader.losses.take_messages()
    assert len(found) == len(messages) and all(
        words in text for words, text in zip(messages, found, strict=True)
    )
    assert reader.losses.take_messages() == []


def test_a_json_key_behind_the_sample_is_counted_or_declared(make_table: MakeTable) -> None:
    lines = '{"a":1}\n' * 20000 + '{"a":2.5,"z":"late"}\n{"a":3,"z":"late"}\n'
    table = table_of(make_table({"d.jsonl": lines}, "read_json_lines"))
    reader = TableReader(table, table.files_pieces())
    frame = reader.frame(0)
    assert list(frame.columns) == ["a"] and frame["a"].isna().sum() == 1
    assert sorted(reader.losses.found) == [("a", "convert"), ("z", "late")]
    assert reader.losses.found["z", "late"].count == 2
    declared = {"read_json_lines": {"columns": {"z": "string", "a": "float"}}}
    table = table_of(make_table({"d.jsonl": lines}, declared, name="declared"))
    reader = TableReader(table, table.files_pieces())
    assert reader.frame(0)["a"].tolist()[-2:] == [2.5, 3.0]
    assert reader.frame(0)["z"].tolist()[-1] == "late"
    assert reader.losses.found == {}


def test_declared_columns_of_rows_longer_than_the_sample(make_table: MakeTable) -> None:
    data = numbered(8000) + "1,t,extra,7\n"
    table = table_of(make_table({"d.csv": data}, {"read_delimited": {"columns": {"Column4": "int"}}}))
    frame = TableReader(table, table.files_pieces()).frame(0)
    assert list(frame.columns) == ["a", "b", "Column3", "Column4"]
    assert frame.iloc[-1].tolist() == [1, "t", "extra", 7.0]


def test_declared_columns_of_longer_rows_where_files_have_headers_of_their_own(make_table: MakeTable) -> None:
    reader = {"header": "all_files_different_headers", "columns": {"Column3": "int"}}
    files = {"1.csv": numbered(8000) + "1,t,7\n", "2.csv": "b,c,d,e\n1,2,3,4\n"}
    table = table_of(make_table(files, {"read_delimited": reader}))
    assert table.schema.names == ["a", "b", "Column3", "c", "d", "e"]
    reader_ = TableReader(table, table.files_pieces())
    assert reader_.frame(0).iloc[-1].tolist()[:3] == [1, "t", 7.0]
    assert reader_.losses.found == {}


def parquet_table(make_table: MakeTable, columns: list[pa.Array], *steps: Any) -> Path:
    """An MLTable of Parquet files with one column `a` each."""
    files = {}
    for number, column in enumerate(columns):
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table({"a": column}), sink)
        files[f"{number}.parquet"] = sink.getvalue().to_pybytes()
    return make_table(files, "read_parquet", *steps)


TO_INT = {"convert_column_types": [{"columns": "a", "column_type": "int"}]}


@pytest.mark.filterwarnings("ignore:.*beyond 2.53:UserWarning")  # told, as test_doubtful_tables says
@pytest.mark.parametrize(
    ("columns", "steps", "values"),
    [
        ([pa.array(["5", "7"], pa.string_view())], [TO_INT], [5, 7]),
        (
            [pa.array(["x", "y"], pa.string_view())],
            [{"filter": 'a + "q" == "xq" or a.startswith("y")'}],
            ["x", "y"],
        ),
        ([pa.array(["x"], pa.string_view()), pa.array(["y"])], [], ["x", "y"]),
        ([pa.array([b"x"], pa.binary_view())], [], [b"x"]),
        ([pa.nulls(1), pa.array(["y"])], [], [None, "y"]),
        ([pa.array([2**53 + 1]), pa.array([0.5])], [], [float(2**53), 0.5]),
        ([pa.array([1001], pa.time64("ns"))], [], [time(0, 0, 0, 1)]),
        ([pa.array([2**62, 0], pa.timestamp("us"))], [{"filter": "a < datetime(9999)"}], [pd.Timestamp(0)]),
    ],
)
def test_types_of_parquet(
    columns: list[pa.Array], steps: list[Any], values: list[Any], make_table: MakeTable
) -> None:
    frame = read_mltable(parquet_table(make_table, columns, *steps)).compute()
    assert [None if value is None or value != value else value for value in frame["a"]] == values


@pytest.mark.parametrize(
    "step",
    [
        {"filter": "a > datetime(9999)"},
        {"convert_column_types": [{"columns": "a", "column_type": {"datetime": {"formats": "%Y"}}}]},
    ],
)
def test_moments_beyond_all_years_are_lost_and_counted(step: Any, make_table: MakeTable) -> None:
    folder = parquet_table(make_table, [pa.array([253402300800000000], pa.timestamp("us"))], step)
    with pytest.warns(UserWarning, match="1 value of column 'a' became null .* e.g. '10000-01-01"):
        assert read_mltable(folder).compute()["a"].isna().tolist() == [True]


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        (
            [pa.array(["x"]), pa.array([b"y"])],
            r"string in .*0\.parquet and binary in .*1\.parquet: these can't be one column",
        ),
        (
            [pa.array([1]), pa.array([2**63 + 1], pa.uint64())],
            r"1\.parquet: the column 'a' is uint64 here and int64 in the whole table",
        ),
        (
            [pa.array([0], pa.timestamp("ns")), pa.array([253402214400000000], pa.timestamp("us"))],
            r"1\.parquet: the column 'a' is timestamp\[us\] here and timestamp\[ns\] in the whole table",
        ),
    ],
)
def test_types_of_parquet_that_can_not_be_one_column(
    columns: list[pa.Array], why: str, make_table: MakeTable
) -> None:
    with pytest.raises(InputError, match=why):
        read_mltable(parquet_table(make_table, columns)).compute()


def test_arrow_files_are_a_table(tmp_path: Path) -> None:
    values = pa.table({"a": [5, None, 7], "b": ["x", "y", "z"]})
    with pa.OSFile(str(tmp_path / "g.arrow"), "wb") as sink, pa.ipc.new_file(sink, values.schema) as writer:
        writer.write_table(values, max_chunksize=2)
    table = Table.from_json(Table.of_arrow_files([str(tmp_path / "g.arrow")]).to_json())
    reader = TableReader(table, np.array([(0, 0, 1), (0, 1, 3)], PIECE))
    assert reader.frame(0)["a"].dtype == np.int64
    assert reader.frame(1)["b"].tolist() == ["y", "z"]
    assert reader.joined(0, 2)["b"].tolist() == ["x", "y", "z"]


def test_a_file_that_vanished_is_named(make_table: MakeTable) -> None:
    folder = make_table({"d.csv": numbered(5)}, "read_delimited")
    table = table_of(folder)
    (folder / "d.csv").unlink()
    with pytest.raises(InputError, match=r"d\.csv can't be read: No such file"):
        TableReader(table, table.files_pieces()).frame(0)
