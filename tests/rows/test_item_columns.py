"""Columns of the items before returned rows: as the input has them, whatever the script does, in every format."""

from __future__ import annotations

import datetime
import decimal
import io
import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from daskpar.batches.by_keys import plan_by_keys
from daskpar.batches.by_size import plan_by_size
from daskpar.batches.grouping import execute_here
from daskpar.batches.plan import Plan
from daskpar.data.files import FileList
from daskpar.data.tables.table import Table
from daskpar.jobspec.model import BySize
from daskpar.rows.csv_format import CsvFormat
from daskpar.rows.item_columns import ColumnsBefore, NamesClash
from daskpar.rows.json_lines_format import JsonLinesFormat
from daskpar.rows.parquet_format import ParquetFormat
from daskpar.rows.registry import format_from_json
from daskpar.rows.row_format import RowFormat
from daskpar.rows.text_format import TextFormat

ROWS = 40
INPUT = pa.table(
    {
        "id": pa.array([None if n % 5 == 3 else 2**53 + n for n in range(ROWS)]),
        "name": [None if n % 7 == 6 else f'é "{n}",\n;' for n in range(ROWS)],
        "when": pa.array([datetime.datetime(2024, 3, 1 + n % 28, n % 24) for n in range(ROWS)]),
        "zone": pa.array(
            [datetime.datetime(2024, 3, 1 + n % 28) for n in range(ROWS)], pa.timestamp("us", "Europe/Berlin")
        ),
        "money": pa.array([decimal.Decimal(n) / 4 for n in range(ROWS)], pa.decimal128(9, 2)),
        "flag": pa.array([None if n % 4 == 1 else n % 2 == 0 for n in range(ROWS)]),
        "small": pa.array([n / 3 for n in range(ROWS)], pa.float32()),
        "list": pa.array([[n, n + 1] for n in range(ROWS)]),
        "store": ["ABC"[n % 3] for n in range(ROWS)],
    }
)
ALL = tuple(INPUT.column_names)
FORMATS = (TextFormat, CsvFormat, JsonLinesFormat, ParquetFormat)


def table_of(folder: Path) -> Table:
    path = folder / "input.arrow"
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, INPUT.schema) as writer:
        writer.write_table(INPUT, max_chunksize=16)
    return Table.of_arrow_files([str(path)], origin="the table")


def plan_of(folder: Path, *, keys: list[str] | None = None, size: int = 200) -> Plan:
    """Mini-batches of a few rows, or of the rows of each store."""
    table = table_of(folder)
    if keys:
        plan_by_keys(table, keys, folder / "plan", execute_here)
    else:
        plan_by_size(table, BySize(number=size, unit=1), folder / "plan")
    return Plan.open(folder / "plan")


def output(plan: Plan, row_format: RowFormat, run: Any) -> bytes:
    """What `row_format` makes of all mini-batches of a plan."""
    before = ColumnsBefore(plan, row_format.item_columns, index=row_format.with_index)
    encoder = row_format.encoder()
    for index in range(plan.count):
        batch = plan.load(index)
        items = len(batch)
        encoder.add(run(batch), index, before.of(index, items))
    data, lengths = encoder.take()
    schema = encoder.schema
    if schema is not None:
        schema = row_format.agreed(schema, schema, "?")
    ends = [sum(lengths[: n + 1]) for n in range(len(lengths))]
    ranges = [data[end - length : end] for end, length in zip(ends, lengths, strict=True) if length]
    return b"".join(row_format.join(iter(ranges), schema))


def frames(batch: Any) -> Any:
    made = pd.DataFrame({"score": [1.5] * len(batch)}, index=[7] * len(batch))
    batch["name"] = "spoiled"
    del batch["when"]
    return made


def mappings(batch: Any) -> Any:
    return [{"score": 1.5}] * len(batch)


def tables(batch: Any) -> Any:
    return pa.table({"score": [1.5] * len(batch)})


RUNS = [frames, mappings, tables]
EXPECTED = INPUT.append_column("score", pa.array([1.5] * ROWS))


@pytest.mark.parametrize("size", [200, 1 << 20])
@pytest.mark.parametrize("run", RUNS)
def test_parquet_has_the_types_of_the_input(tmp_path: Path, run: Any, size: int) -> None:
    plan = plan_of(tmp_path, size=size)
    assert (plan.count == 1) == (size > 200)
    found = pq.read_table(io.BytesIO(output(plan, ParquetFormat(item_columns=("all",)), run)))
    assert found.to_pylist() == EXPECTED.to_pylist()
    for field in EXPECTED.schema:
        kind = str(found.schema.field(field.name).type).replace("large_", "").replace("element", "item")
        assert kind == str(field.type), field.name


@pytest.mark.parametrize("run", RUNS)
def test_json_lines_have_the_values_of_the_input(tmp_path: Path, run: Any) -> None:
    lines = output(plan_of(tmp_path), JsonLinesFormat(item_columns=("id", "flag", "list", "money")), run)
    assert [json.loads(line) for line in lines.splitlines()] == [
        {**row, "money": str(row["money"]), "score": 1.5}
        for row in INPUT.select(["id", "flag", "list", "money"]).to_pylist()
    ]


TEXTS = ("id", "name", "flag", "small", "money")


def in_pandas() -> pd.DataFrame:
    made = INPUT.select(TEXTS).to_pandas()
    made["id"] = pd.array(INPUT["id"].to_pylist(), "Int64")
    made["flag"] = pd.array(INPUT["flag"].to_pylist(), "boolean")
    made["score"] = 1.5
    return made


@pytest.mark.parametrize("run", RUNS)
def test_csv_is_what_pandas_writes(tmp_path: Path, run: Any) -> None:
    found = output(plan_of(tmp_path), CsvFormat(item_columns=TEXTS), run)
    assert found.decode() == in_pandas().to_csv(index=False, lineterminator="\n")


@pytest.mark.parametrize("header", [False, True])
def test_text_has_the_columns_too(tmp_path: Path, header: bool) -> None:
    expected = in_pandas().to_csv(index=False, lineterminator="\n", sep=" ", header=header)
    text = TextFormat(header, item_columns=TEXTS)
    assert output(plan_of(tmp_path), text, frames).decode() == expected
    if not header:
        assert output(plan_of(tmp_path), text, lambda batch: [1.5] * len(batch)).decode() == expected


@pytest.mark.parametrize("run", RUNS)
def test_groups_have_their_own_rows_and_the_index_is_first(tmp_path: Path, run: Any) -> None:
    plan = plan_of(tmp_path, keys=["store"])
    row_format = ParquetFormat(item_columns=("store", "id"), with_index=True)
    found = pd.read_parquet(io.BytesIO(output(plan, row_format, run)))
    assert list(found.columns) == ["minibatch_index", "store", "id", "score"]
    expected = [
        (index, store, row["id"])
        for index, store in enumerate("ABC")
        for row in INPUT.to_pylist()
        if row["store"] == store
    ]
    rows = found[["minibatch_index", "store", "id"]].astype(object)
    assert list(rows.where(rows.notna(), None).itertuples(index=False, name=None)) == expected


@pytest.mark.parametrize("row_format", FORMATS, ids=lambda row_format: row_format.name)
def test_keys_stand_before_any_number_of_rows(tmp_path: Path, row_format: Any) -> None:
    plan = plan_of(tmp_path, keys=["store", "flag"])
    found = output(
        plan, row_format(item_columns=("store", "flag")), lambda batch: [{"rows": len(batch)}, {"rows": 0}]
    )
    assert (
        found.count(b"A") >= 6
        if row_format is not ParquetFormat
        else pq.read_table(io.BytesIO(found)).column("store").to_pylist()
        == [plan.keys(n)["store"] for n in range(plan.count) for _ in range(2)]
    )  # type: ignore[index]


@pytest.mark.parametrize("row_format", FORMATS, ids=lambda row_format: row_format.name)
@pytest.mark.parametrize("grouped", [False, True])
def test_files_have_their_path_as_it_was_listed(tmp_path: Path, row_format: Any, grouped: bool) -> None:
    paths = [f"/data/é {number}.png" for number in range(6)]
    columns = pa.table({"day": [1, 2, 1, 2, 1, 2]})
    files = FileList(paths=paths, columns=columns, origin="pictures")
    if grouped:
        plan_by_keys(files, ["day"], tmp_path / "plan", execute_here)
        paths = paths[::2] + paths[1::2]
    else:
        plan_by_size(files, BySize(number=2, unit=1), tmp_path / "plan")
    plan = Plan.open(tmp_path / "plan")
    plan.seen_paths = lambda found: [f"/run/links{path}" for path in found]
    join = ("day", "path") if grouped else ("path",)
    found = output(plan, row_format(item_columns=join, with_index=True), mappings)
    if row_format is ParquetFormat:
        assert pq.read_table(io.BytesIO(found)).column("path").to_pylist() == paths
    else:
        places = [found.index(os.path.basename(path).encode()) for path in paths]
        assert places == sorted(places) and b"/run/links" not in found


def test_a_path_that_is_no_text_is_kept_where_the_format_can(tmp_path: Path) -> None:
    path = os.fsdecode(b"/data/\xff.png")
    plan_by_size(FileList(paths=[path], origin="pictures"), BySize(number=1, unit=1), tmp_path / "plan")
    plan = Plan.open(tmp_path / "plan")
    for row_format in (TextFormat, CsvFormat):
        assert b"/data/\xff.png" in output(plan, row_format(item_columns=("path",)), mappings)
    (line,) = output(plan, JsonLinesFormat(item_columns=("path",)), mappings).splitlines()
    assert json.loads(line)["path"] == path
    with pytest.raises(ValueError, match="is no UTF-8, which texts in Parquet have to be"):
        output(plan, ParquetFormat(item_columns=("path",)), mappings)


@pytest.mark.parametrize("row_format", FORMATS, ids=lambda row_format: row_format.name)
@pytest.mark.parametrize("returned", [[{"s": 1}] * 2, pd.DataFrame({"s": [1, 2]})])
def test_another_number_of_rows_is_told_with_both_numbers(
    tmp_path: Path, row_format: Any, returned: Any
) -> None:
    plan = plan_of(tmp_path, keys=["store"])
    with pytest.raises(ValueError, match=r"returned 2 rows for the 14 items of mini-batch 0.*store alone"):
        output(plan, row_format(item_columns=("id",)), lambda batch: returned)
    assert output(plan, row_format(item_columns=("store",)), lambda batch: returned)


@pytest.mark.parametrize("row_format", FORMATS, ids=lambda row_format: row_format.name)
@pytest.mark.parametrize("returned", [[], pd.DataFrame(), pd.DataFrame({"s": []})])
def test_a_group_may_return_nothing(tmp_path: Path, row_format: Any, returned: Any) -> None:
    rows = output(
        plan_of(tmp_path, keys=["store"]),
        row_format(item_columns=("store",), with_index=True),
        lambda batch: returned if batch["store"][0] == "B" else [{"s": 1}],
    )
    if row_format is ParquetFormat:
        assert pq.read_table(io.BytesIO(rows)).column("store").to_pylist() == ["A", "C"]
    else:
        assert rows.count(b"A") == rows.count(b"C") == 1 and b"B" not in rows


@pytest.mark.parametrize("row_format", FORMATS, ids=lambda row_format: row_format.name)
def test_a_returned_column_of_the_same_name_is_told_with_what_to_do(tmp_path: Path, row_format: Any) -> None:
    plan = plan_of(tmp_path)
    with pytest.raises(NamesClash, match=r"columns \['id', 'name'\].*return only the other columns"):
        output(plan, row_format(item_columns=("id", "name")), lambda batch: batch[["id", "name"]])
    with pytest.raises(NamesClash, match="minibatch_index"):
        output(
            plan,
            row_format(with_index=True),
            lambda batch: batch.assign(minibatch_index=1),
        )


@pytest.mark.parametrize("row_format", FORMATS, ids=lambda row_format: row_format.name)
def test_the_journal_knows_the_columns_and_older_ones_have_none(row_format: Any) -> None:
    plain, joined = row_format(), row_format(item_columns=("id", "name"), with_index=True)
    assert "item_columns" not in plain.to_json()
    assert format_from_json(json.loads(json.dumps(joined.to_json())), None) == joined
    assert joined.kind == plain.kind + " after the index, id, name"
