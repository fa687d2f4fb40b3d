"""A table has the same rows however it is cut: any size of pieces, any order of asking, with filters, samples, takes and skips."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daskpar.data.mltable.open import open_mltable
from daskpar.data.tables import file_reader
from daskpar.data.tables.cutting import cut_into_pieces
from daskpar.data.tables.table import Table
from daskpar.data.tables.table_reader import TableReader

FIELDS = st.sampled_from(
    [
        "",
        "a",
        "7",
        "-3",
        "2.5",
        "true",
        "x y",
        "é",
        '"',
        'a"b',
        '"q"',
        '"a,b"',
        '"a""b"',
        '"l\nm"',
        '"\n"',
        '"open',
        "2020-01-31",
        "\ufeff",
        "\ufeff7",
    ]
)
ROWS = st.lists(st.lists(FIELDS, min_size=1, max_size=4), max_size=25)
STEPS = st.lists(
    st.sampled_from(
        [
            {"take": 0},
            {"take": 3},
            {"take": 11},
            {"skip": 1},
            {"skip": 7},
            {"filter": "col('a') > 3"},
            {"filter": "col('b') != 'x y'"},
            {"take_random_sample": {"probability": 0.5, "seed": 5}},
            {"keep_columns": ["a", "b"]},
            {"convert_column_types": [{"columns": "a", "column_type": "string"}]},
        ]
    ),
    max_size=3,
)


def rows_of(table: Table, pieces: np.ndarray) -> list[list[Any]]:
    """All rows through frames of pieces, nulls as None."""
    reader = TableReader(table, pieces)
    out = []
    for i in range(len(pieces)):
        frame = reader.frame(i)
        assert isinstance(frame.index, pd.RangeIndex) and frame.index.start == 0
        out += [[_plain(value) for value in row] for row in frame.astype(object).itertuples(index=False)]
    return out


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    return None if value is None or value != value else value


def opened(folder: Path, files: dict[str, bytes], *steps: Any) -> Table:
    """The table of an MLTable over `files`, in their order."""
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / "MLTable").write_text(
        yaml.safe_dump({"paths": [{"file": name} for name in files], "transformations": list(steps)})
    )
    found = open_mltable(str(folder))
    assert isinstance(found, Table)
    return found


@given(
    rows=ROWS,
    ends=st.lists(st.sampled_from(["\n", "\r\n", "\n\n"]), min_size=25, max_size=25),
    multi_line=st.booleans(),
    last=st.booleans(),
    size=st.integers(1, 60),
    steps=STEPS,
    encoding=st.sampled_from(["utf8", "utf16"]),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_delimited_text_however_it_is_cut(
    rows: list[list[str]],
    ends: list[str],
    multi_line: bool,
    last: bool,
    size: int,
    steps: list[Any],
    encoding: str,
) -> None:
    text = "a,b,c\n" + "".join(",".join(row) + end for row, end in zip(rows, ends, strict=False))
    text = text if last else text.rstrip("\r\n")
    data = text.encode("utf-16" if encoding == "utf16" else "utf-8")
    with tempfile.TemporaryDirectory() as folder:
        read = {"read_delimited": {"support_multi_line": multi_line, "encoding": encoding}}
        table = opened(Path(folder), {"1.csv": data, "2.csv": data}, read, *steps)
        whole = rows_of(table, table.files_pieces())
        assert rows_of(table, cut_into_pieces(table, size)) == whole
        assert rows_of(Table.from_json(table.to_json()), cut_into_pieces(table, 7)) == whole


@given(
    rows=st.lists(
        st.sampled_from(
            [
                '{"a":5,"b":"x"}',
                '{"a":7}',
                '{"b":"x y"}',
                '{"a":null,"c":[1,{"d":2}]}',
                "",
                '{"a":1.5,"b":"é"}',
                ' {"a": 2}',
                "\r",
            ]
        ),
        max_size=20,
    ),
    size=st.integers(1, 50),
    steps=STEPS,
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_json_lines_however_they_are_cut(rows: list[str], size: int, steps: list[Any]) -> None:
    data = '{"a":3,"b":"y"}\n' + "\n".join(rows)
    with tempfile.TemporaryDirectory() as folder:
        table = opened(
            Path(folder), {"1.jsonl": data.encode(), "2.jsonl": data.encode()}, "read_json_lines", *steps
        )
        whole = rows_of(table, table.files_pieces())
        assert rows_of(table, cut_into_pieces(table, size)) == whole


@given(
    rows=st.lists(st.one_of(st.none(), st.integers(-5, 9)), max_size=40),
    group=st.integers(1, 9),
    size=st.integers(1, 900),
    steps=STEPS,
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_parquet_however_it_is_cut(rows: list[int | None], group: int, size: int, steps: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        values = pa.table(
            {
                "a": pa.array(rows, pa.int64()),
                "b": pa.array(["x y" if row == 4 else "z" for row in rows], pa.string()),
            }
        )
        pq.write_table(values, Path(folder) / "w.parquet", row_group_size=group)
        data = (Path(folder) / "w.parquet").read_bytes()
        table = opened(Path(folder), {"1.parquet": data, "2.parquet": data}, "read_parquet", *steps)
        assert rows_of(table, cut_into_pieces(table, size)) == rows_of(table, table.files_pieces())


LONG = "x" * (5 * 1024 * 1024)


@pytest.mark.parametrize(
    ("files", "reader", "rows"),
    [
        ({"d.csv": f"a,b\n1,{LONG}\n2,y\n3,{LONG}\n"}, "read_delimited", 3),
        ({"d.jsonl": f'{{"a":1,"b":"{LONG}"}}\n{{"a":2,"b":"y"}}\n'}, "read_json_lines", 2),
        (
            {"d.csv": 'a,b\n1,"' + "line\n" * 30000 + '"\n2,"y\nz"\n'},
            {"read_delimited": {"support_multi_line": True}},
            2,
        ),
        (
            {"d.csv": '"' + "a\n" * 50000 + '",b\n1,"' + "line\r\n" * 30000 + '"\n2,y\n'},
            {"read_delimited": {"support_multi_line": True}},
            2,
        ),
    ],
    ids=["lines", "json", "records over lines", "a header over lines"],
)
def test_records_longer_than_what_is_read_at_once(
    files: dict[str, str], reader: Any, rows: int, tmp_path: Path
) -> None:
    table = opened(tmp_path, {name: text.encode() for name, text in files.items()}, reader)
    whole = rows_of(table, table.files_pieces())
    assert [row[0] for row in whole] == list(range(1, rows + 1)) and len(whole[0][1]) > 100_000
    for size in (1 << 20, 6 << 20):
        assert rows_of(table, cut_into_pieces(table, size)) == whole


@pytest.mark.parametrize("span", [1, 64, 4096])
def test_rows_do_not_depend_on_how_much_is_read_together(
    span: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = "a,b\n" + "".join(f"{'' if row % 7 == 3 else row},t{row}\n" for row in range(200))
    table = opened(tmp_path, {"d.csv": data.encode()}, "read_delimited")
    whole = rows_of(table, table.files_pieces())
    monkeypatch.setattr(file_reader, "READ_BYTES", span)
    pieces = cut_into_pieces(table, 20)
    assert rows_of(table, pieces) == whole
    reader = TableReader(table, pieces)
    backwards = [reader.frame(i) for i in reversed(range(len(pieces)))]
    assert [name for frame in reversed(backwards) for name in frame["b"]] == [f"t{row}" for row in range(200)]
    kinds = {str(frame["a"].dtype) for frame in backwards if len(frame) and not frame["a"].isna().any()}
    assert kinds == {"int64"}
