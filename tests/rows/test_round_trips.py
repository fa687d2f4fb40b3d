"""What is written in each format is read again by pandas, pyarrow and Dask, whatever the values and the mini-batches."""

from __future__ import annotations

import datetime
import io
import itertools
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dask
import dask.bag
import dask.dataframe
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.json as pajson
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from daskpar.rows.csv_format import CsvFormat
from daskpar.rows.json_lines_format import JsonLinesFormat
from daskpar.rows.parquet_format import ParquetFormat

Output = Callable[..., bytes]
BERLIN = ZoneInfo("Europe/Berlin")
NAMES = ("id", "name", "score", "good", "when", "money", "tags", "place")
TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=5
) | st.sampled_from(['"', "a,b", "é\n", " ", "🜁", "null", "007", "1e5"])
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.none() | st.integers(-(2**63), 2**63 - 1),
            "name": st.none() | TEXT,
            "score": st.floats(allow_nan=False, allow_infinity=False),
            "good": st.none() | st.booleans(),
            "when": st.datetimes(datetime.datetime(1990, 1, 1), datetime.datetime(2037, 1, 1)).map(
                lambda moment: moment.replace(tzinfo=datetime.UTC).astimezone(BERLIN)
            ),
            "money": st.decimals(-1000, 1000, places=2),
            "tags": st.lists(st.integers(0, 9), max_size=3),
            "place": st.builds(lambda x, y: {"x": x, "y": y}, st.none() | st.integers(0, 9), TEXT),
        }
    ).map(lambda row: {name: row[name] for name in NAMES}),  # it is drawn in any order
    min_size=1,
    max_size=8,
)
CUTS = st.lists(st.integers(1, 7), max_size=3)
# An example takes milliseconds, Dask's graphs included: shrinking one would take minutes.
FEW = settings(
    max_examples=15,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def batches(rows: list[dict[str, Any]], cuts: list[int]) -> list[list[dict[str, Any]]]:
    bounds = [0, *sorted({cut for cut in cuts if cut < len(rows)}), len(rows)]
    return [rows[a:b] for a, b in itertools.pairwise(bounds)]


@pytest.fixture(scope="module", autouse=True)
def on_this_thread() -> Any:
    with dask.config.set(scheduler="synchronous"):
        yield


def plain(value: Any) -> Any:
    """As Python has it: nulls None, arrays lists, moments by their instant."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if hasattr(value, "tolist") and not isinstance(value, str):
        value = value.tolist()
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.UTC).replace(tzinfo=None)
    return None if value is None or value is pd.NA or value != value else value


def plain_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [plain(row) for row in frame.to_dict("records")]


@FEW
@given(ROWS, CUTS)
def test_parquet(output_of: Output, tmp_path: Path, rows: list[dict[str, Any]], cuts: list[int]) -> None:
    data = output_of(ParquetFormat(), batches(rows, cuts))
    path = tmp_path / "rows.parquet"
    path.write_bytes(data)
    expected = [plain(row) for row in rows]
    table = pq.read_table(io.BytesIO(data))
    assert [plain(row) for row in table.to_pylist()] == expected
    assert str(table.schema.field("when").type) == "timestamp[us, tz=Europe/Berlin]"
    assert plain_rows(pd.read_parquet(path)) == expected
    lazily = dask.dataframe.read_parquet(path, split_row_groups=True)[["id", "name", "good", "when"]]
    assert plain_rows(lazily.compute()) == [{name: row[name] for name in lazily.columns} for row in expected]


FLAT = ("id", "name", "score", "good", "money")


@FEW
@given(ROWS, CUTS, st.booleans())
def test_csv(
    output_of: Output, tmp_path: Path, rows: list[dict[str, Any]], cuts: list[int], frames: bool
) -> None:
    flat = [{name: row[name] for name in FLAT} for row in rows]
    pieces: list[Any] = list(batches(flat, cuts))
    if frames:
        kinds = {"id": "Int64", "good": "boolean"}
        pieces = [
            pd.DataFrame(
                {
                    name: pd.array([row[name] for row in piece], kinds[name])
                    if name in kinds
                    else [row[name] for row in piece]
                    for name in FLAT
                }
            )
            for piece in pieces
        ]
    data = output_of(CsvFormat(), pieces)
    path = tmp_path / "rows.csv"
    path.write_bytes(data)

    def text(name: str, value: Any) -> str:
        return "" if value is None else repr(value) if name == "score" else str(value)

    expected = [{name: text(name, value) for name, value in row.items()} for row in flat]
    options: dict[str, Any] = {"dtype": str, "keep_default_na": False}
    assert pd.read_csv(path, **options).to_dict("records") == expected
    assert dask.dataframe.read_csv(path, blocksize=None, **options).compute().to_dict("records") == expected
    found = pacsv.read_csv(
        io.BytesIO(data),
        parse_options=pacsv.ParseOptions(newlines_in_values=True),
        convert_options=pacsv.ConvertOptions(column_types=dict.fromkeys(FLAT, pa.string())),
    )
    assert found.to_pylist() == expected


@FEW
@given(ROWS, CUTS)
def test_json_lines(output_of: Output, tmp_path: Path, rows: list[dict[str, Any]], cuts: list[int]) -> None:
    data = output_of(JsonLinesFormat(), batches(rows, cuts))
    path = tmp_path / "rows.jsonl"
    path.write_bytes(data)
    expected = [{**row, "when": row["when"].isoformat(), "money": str(row["money"])} for row in rows]
    assert [json.loads(line) for line in data.decode().split("\n")[:-1]] == expected
    assert (
        dask.bag.read_text(path, encoding="utf-8", linedelimiter="\n").map(json.loads).compute() == expected
    )
    schema = pa.schema(
        [
            ("id", pa.int64()), ("name", pa.string()), ("score", pa.float64()), ("good", pa.bool_()),
            ("when", pa.string()), ("money", pa.string()), ("tags", pa.list_(pa.int64())),
            ("place", pa.struct([("x", pa.int64()), ("y", pa.string())])),
        ]
    )  # fmt: skip
    read = pajson.read_json(io.BytesIO(data), parse_options=pajson.ParseOptions(explicit_schema=schema))
    assert read.to_pylist() == expected
    names = pd.read_json(path, lines=True, dtype=False)["name"]
    assert [plain(name) for name in names] == [row["name"] for row in rows]


def test_decimals_of_pandas_keep_their_digits(output_of: Output) -> None:
    frame = pd.DataFrame({"money": [Decimal("1.10"), None]})
    assert output_of(CsvFormat(), [frame]) == b'money\n1.10\n""\n'
    found = pq.read_table(io.BytesIO(output_of(ParquetFormat(), [frame])))
    assert found["money"].to_pylist() == [Decimal("1.10"), None]


@pytest.mark.parametrize("row_format", [ParquetFormat(), CsvFormat(), JsonLinesFormat()])
@pytest.mark.parametrize("returned", [pd.DataFrame(index=[0, 1]), pa.table({"a": [1]}).select([]), [{}]])
def test_rows_without_any_column_are_told(row_format: Any, returned: Any) -> None:
    """Nothing of them could be written, and none may be lost without a word."""
    with pytest.raises(ValueError, match="have no names in them"):
        row_format.encoder().add(returned, 0)
    assert row_format.encoder().add(pd.DataFrame(), 0) == 0
