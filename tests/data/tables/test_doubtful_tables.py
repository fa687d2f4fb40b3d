"""Tables in which values land wrong without an error: each is counted with its cause, and a clean one with none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from daskpar.data import notices as n
from daskpar.data.dask_collections import read_mltable
from daskpar.data.mltable.open import open_mltable
from daskpar.data.tables.cutting import cut_into_pieces
from daskpar.data.tables.table import Table
from daskpar.data.tables.table_reader import TableReader

MakeTable = Callable[..., Path]


def table_of(folder: Path) -> Table:
    table = open_mltable(str(folder))
    assert isinstance(table, Table)
    return table


def told(table: Table, size: int = 300) -> dict[tuple[str, str], int]:
    """Counts by cause and column, of planning and of reading all pieces of about `size` bytes."""
    pieces = cut_into_pieces(table, size)
    reader = TableReader(table, pieces)
    for i in range(len(pieces)):
        reader.frame(i)
    found: dict[tuple[str, str], int] = {}
    for notice in (*table.notices, *reader.take_notices()):
        found[notice.cause, notice.column] = found.get((notice.cause, notice.column), 0) + notice.count
    return found


ROWS = "".join(f"{i},{i}.5,n{i}\n" for i in range(300))
HEAD = "id,price,name\n"
MANY = "".join(f"{i}\n" for i in range(300))
BIG = 9007199254740993

CLEAN: dict[str, tuple[dict[str, Any], Any]] = {
    "two files": ({"a.csv": HEAD + ROWS, "b.csv": HEAD + ROWS}, "read_delimited"),
    "CRLF and no last line end": ({"a.csv": (HEAD + ROWS).replace("\n", "\r\n")[:-2]}, "read_delimited"),
    "blanks": ({"a.csv": HEAD + ROWS + ",,\n5,,x\n"}, "read_delimited"),
    "quoted": ({"a.csv": HEAD + ROWS + '5,6.5,"a, ""b"""\n6,7.5,5" pipe\n'}, "read_delimited"),
    "quoted lines": (
        {"a.csv": HEAD + ROWS + '5,6.5,"a\nb"\n'},
        {"read_delimited": {"support_multi_line": True}},
    ),
    "a mark in front": ({"a.csv": "\ufeff" + HEAD + ROWS}, "read_delimited"),
    "a mark inside": ({"a.csv": HEAD + ROWS + "5,6.5,a\ufeffb\n"}, "read_delimited"),
    "no header": ({"a.csv": ROWS}, {"read_delimited": {"header": "no_header"}}),
    "from first file": (
        {"a.csv": HEAD + ROWS, "b.csv": ROWS},
        {"read_delimited": {"header": "from_first_file"}},
    ),
    "other columns": (
        {"a.csv": "a,b\n5,6\n", "b.csv": "b,c\n7,8\n"},
        {"read_delimited": {"header": "all_files_different_headers"}},
    ),
    "delimiters at the end": ({"a.csv": HEAD + ROWS.replace("\n", ",\n")}, "read_delimited"),
    "large numbers without blanks": ({"a.csv": "a\n" + f"{BIG}\n" * 300}, "read_delimited"),
    "large floats": ({"a.csv": "a\n" + "1.5e300\n1e17\n0.1\n" * 100}, "read_delimited"),
    "zeros": ({"a.csv": "a,b\n" + "0,1\n0.5,0\n" * 100}, "read_delimited"),
    "one column": ({"a.csv": "a\n" + MANY}, "read_delimited"),
    "latin": ({"a.csv": (HEAD + "5,6.5,é\n" * 300).encode("latin1")}, {"read_delimited": {"encoding": "latin1"}}),
    "wide characters": ({"a.csv": (HEAD + ROWS).encode("utf-16")}, {"read_delimited": {"encoding": "utf16"}}),
    "JSON lines": ({"a.jsonl": '{"a":5,"b":1.5}\n{"a":6,"b":2}\n' * 200}, "read_json_lines"),
}  # fmt: skip


@pytest.mark.parametrize("name", CLEAN)
def test_a_clean_table_is_told_nothing_of(name: str, make_table: MakeTable) -> None:
    files, step = CLEAN[name]
    assert told(table_of(make_table(files, step))) == {}


DOUBTFUL: dict[str, tuple[dict[str, Any], Any, dict[tuple[str, str], int]]] = {
    "another order": (
        {"a.csv": HEAD + ROWS, "b.csv": "price,id,name\n" + ROWS, "c.csv": "name,price,id\n5,6,7\n"},
        "read_delimited",
        {(n.OTHER_ORDER, ""): 2},
    ),
    "other names": (
        {"a.csv": HEAD + ROWS, "b.csv": "id,cost,name\n" + ROWS},
        "read_delimited",
        {(n.OTHER_HEADER, ""): 1},
    ),
    "no header in the second": ({"a.csv": HEAD + ROWS, "b.csv": ROWS}, "read_delimited", {(n.OTHER_HEADER, ""): 1}),
    "a header in the second": (
        {"a.csv": "k,t\nx,y\n" * 2, "b.csv": "k,t\nx,y\n"},
        {"read_delimited": {"header": "from_first_file"}},
        {(n.HEADER_ROW, ""): 1},
    ),
    "a line for Excel": (
        {"a.csv": "sep=;\na;b\n5;6\n"},
        {"read_delimited": {"delimiter": ";"}},
        {(n.EXCEL, ""): 1},
    ),
    "names in another case": (
        {"a.csv": "a,b\n5,6\n", "b.csv": "A,b\n7,8\n"},
        {"read_delimited": {"header": "all_files_different_headers"}},
        {(n.LETTER_CASE, ""): 1},
    ),
    "open quotes": (
        {"a.csv": HEAD + ROWS + '5,6.5,"a\nb",\n' * 3},
        "read_delimited",
        {(n.OPEN_QUOTE, ""): 3, (n.SHORT, ""): 3, (n.CONVERT, "id"): 3},
    ),
    "many open quotes": ({"a.csv": "k,t\n" + 'x,"y\n' * 9}, "read_delimited", {(n.OPEN_QUOTE, ""): 9}),
    "a quote that never ends": (
        {"a.csv": HEAD + ROWS + '5,6.5,"a\n' + MANY},
        {"read_delimited": {"support_multi_line": True}},
        {(n.ENDLESS_QUOTE, ""): 1},
    ),
    "torn lines": ({"a.csv": HEAD + ROWS + "5,6\n7\n"}, "read_delimited", {(n.SHORT, ""): 2}),
    "most lines torn": ({"a.csv": HEAD + "5,6.5\n" * 300}, "read_delimited", {(n.SHORT, ""): 300}),
    "row names": (
        {"a.csv": "a,b\n" + "".join(f"r{i},{i},x\n" for i in range(50))},
        "read_delimited",
        {(n.LONG, "Column3"): 50},
    ),
    "leading zeros": ({"a.csv": "zip,b\n" + "01234,x\n20095,y\n" * 9}, "read_delimited", {(n.ZEROS, "zip"): 9}),
    "zeros that are no booleans": ({"a.csv": "a,b\n" + "00,x\n01,y\n" * 9}, "read_delimited", {(n.CONVERT, "a"): 18}),
    "decimals behind the sample": (
        {"a.csv": "a,b\n" + "5,x\n" * 300 + "1.7,x\n2.0,x\n99999999999999999999,x\n"},
        "read_delimited",
        {(n.CUT, "a"): 2},
    ),
    "large ids with decimals": (
        {"a.csv": "a\n" + "0.5\n" * 9 + f"{BIG}\n{BIG - 1}\n{BIG + 2}\n"},
        "read_delimited",
        {(n.WIDE, "a"): 2},
    ),
    "carriage returns alone": (
        {"a.csv": "a,b\n" + "5,x\r\n" * 9 + "6,y\r7,z\n"},
        "read_delimited",
        {(n.RETURNS, ""): 1, (n.LONG, "Column3"): 1},
    ),
    "nothing but carriage returns": ({"a.csv": "a,b\r5,6\r7,8\r"}, "read_delimited", {(n.RETURNS, ""): 1}),
    "joined files": (
        {"a.csv": "\ufeffk,t\nx,y\n\ufeffk,t\nx,y\n\ufeffk,t\n"},
        "read_delimited",
        {(n.MARK, ""): 2},
    ),
    "NUL bytes": ({"a.csv": b"k,t\nx,y\nx\0\0,z\n"}, "read_delimited", {(n.NUL, ""): 2}),
    "UTF-8 as Latin-1": (
        {"a.csv": "k,t\nä,ö\nx,€\n"},
        {"read_delimited": {"encoding": "latin1"}},
        {(n.MOJIBAKE, ""): 3},
    ),
    "another delimiter": ({"a.csv": "a;b\n5;6\n"}, "read_delimited", {(n.ONE_COLUMN, "a;b"): 1}),
    "large integers of JSON": (
        {"a.jsonl": '{"a":0.5}\n' * 300 + f'{{"a":{BIG}}}\n{{"a":{BIG - 1}}}\n{{"a":1e300}}\n'},
        "read_json_lines",
        {(n.WIDE, "a"): 1},
    ),
    "large integers of JSON with nested values": (
        {"a.jsonl": '{"a":0.5,"b":[5]}\n' * 300 + f'{{"a":{BIG},"b":5}}\n'},
        "read_json_lines",
        {(n.WIDE, "a"): 1},
    ),
}  # fmt: skip


@pytest.mark.parametrize("size", [60, 300, 1 << 20])
@pytest.mark.parametrize("name", DOUBTFUL)
def test_what_lands_wrong_is_counted_whatever_the_mini_batches_are(
    name: str, size: int, make_table: MakeTable
) -> None:
    files, step, causes = DOUBTFUL[name]
    assert told(table_of(make_table(files, step)), size) == causes


@pytest.mark.parametrize(
    ("size", "count"), [(60, 12), (1 << 20, 15)], ids=["by piece: some have no blank", "all in one piece"]
)
def test_ids_beside_blanks_change_where_their_own_frame_has_one(
    size: int, count: int, make_table: MakeTable
) -> None:
    ids = [*("" if i % 4 == 0 else str(BIG + 2 * i) for i in range(16)), *(str(BIG) for _ in range(3))]
    table = table_of(
        make_table({"a.csv": "id,x\n" + "".join(f"{text},y\n" for text in ids)}, "read_delimited")
    )
    assert told(table, size) == {(n.WIDE, "id"): count}


def test_the_example_says_where(make_table: MakeTable) -> None:
    folder = make_table({"a.csv": HEAD + "\n" + ROWS + "5,6\n" + ROWS}, "read_delimited")
    table = table_of(folder)
    reader = TableReader(table, table.files_pieces())
    reader.frame(0)
    (notice,) = reader.take_notices()
    assert notice.example == f"{folder}/a.csv, line 303: '5,6'"


@pytest.mark.parametrize(("delimiter", "found"), [(";", ","), (",", ";"), (",", "\t")])
def test_another_delimiter_is_named_as_it_has_to_be_written(
    make_table: MakeTable, delimiter: str, found: str
) -> None:
    data = f"a{found}b\n5{found}6\n"
    (notice,) = table_of(make_table({"a.csv": data}, {"read_delimited": {"delimiter": delimiter}})).notices
    assert f"write `delimiter: {json.dumps(found)}`" in notice.example


def test_pieces_that_come_again_are_left_out_and_a_run_is_counted_piece_by_piece(
    make_table: MakeTable,
) -> None:
    data = "a,b\n" + "5,x\n" * 300 + "z,x\n" * 300
    table = table_of(make_table({"a.csv": data}, "read_delimited"))
    pieces = cut_into_pieces(table, 100)
    reader = TableReader(table, pieces)
    counts = []
    for i in range(len(pieces)):
        frame = reader.frame(i)
        notices = reader.take_notices()
        assert sum(notice.count for notice in notices) == frame["a"].isna().sum()
        counts.append(sum(notice.count for notice in notices))
    assert sum(counts) == 300
    for i in range(len(pieces)):
        reader.frame(i)
    again = reader.take_notices(repeated={len(pieces) - 1})
    assert sum(notice.count for notice in again) == 300 - counts[-1]


def test_part_of_a_file_is_looked_at_from_its_own_start(make_table: MakeTable) -> None:
    folder = make_table(
        {"a.csv": HEAD + ROWS, "b.csv": "price,id,name\n" + ROWS}, "read_delimited", {"skip": 350}
    )
    assert told(table_of(folder)) == {(n.OTHER_ORDER, ""): 1}


def test_integers_of_one_parquet_file_beside_decimals_of_another(
    tmp_path: Path, make_table: MakeTable
) -> None:
    folder = make_table({}, "read_parquet", paths=[{"file": "a.parquet"}, {"file": "b.parquet"}])
    pq.write_table(pa.table({"a": [0.5]}), folder / "a.parquet")
    pq.write_table(pa.table({"a": [BIG, BIG - 1, None]}), folder / "b.parquet")
    table = table_of(folder)
    assert told(table) == {(n.WIDE, "a"): 1}
    with pytest.warns(UserWarning, match="1 integer of column 'a' beyond 2\\^53"):
        read_mltable(folder).compute()


def test_columns_of_parquet_files_in_another_order_are_found_by_name(make_table: MakeTable) -> None:
    folder = make_table({}, "read_parquet", paths=[{"file": "a.parquet"}, {"file": "b.parquet"}])
    pq.write_table(pa.table({"a": [5], "b": ["x"]}), folder / "a.parquet")
    pq.write_table(pa.table({"b": ["y"], "a": [6]}), folder / "b.parquet")
    table = table_of(folder)
    assert told(table) == {}
    pieces = table.files_pieces()
    assert TableReader(table, pieces).frame(1)["a"].tolist() == [6]


def test_reading_with_dask_tells_what_planning_saw_and_what_a_frame_changes(make_table: MakeTable) -> None:
    folder = make_table({"a.csv": f"zip,id\n01234,{BIG}\n20095,\n"}, "read_delimited")
    with pytest.warns(UserWarning) as caught:
        frame = read_mltable(folder).compute()
    assert frame["id"].iloc[0] == float(BIG) and np.isnan(frame["id"].iloc[1])
    texts = [str(warning.message) for warning in caught]
    assert len(texts) == 2 and "'zip'" in texts[0] and "'id'" in texts[1]
