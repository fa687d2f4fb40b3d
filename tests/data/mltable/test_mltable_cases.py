"""Microsoft's reader as the measure: each folder of mltable_cases holds an MLTable and what that reader made of it."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from daskpar.data.columns.special_types import StreamInfo
from daskpar.data.dask_collections import read_mltable
from daskpar.errors import DaskparError

CASES = Path(__file__).parent / "mltable_cases"

DIFFERENCES: dict[str, tuple[str, list[str], list[tuple[Any, ...]]]] = {
    "472-json-mixed-kinds-lose-values": (
        "that reader keeps the kind of a column's first value and makes nulls of the rest; daskpar keeps every value",
        ["object", "float64", "object", "object"],
        [(5, 1.5, 5, "x"), ("x", 2.0, True, 5)],
    ),
    "477-json-uint64-wraps": ("that reader turns 2**63 negative", ["uint64"], [(2**63,)]),
    "434-partfmt-literal-with-regex-sign": (
        "that reader takes the + of a folder's name for a regular expression and finds nothing",
        ["object", "int64"],
        [("q", 5)],
    ),
    "461-parquet-lz4-fails": ("that reader can't read LZ4", ["int64", "object"], [(5, "x"), (6, "y")]),
    "064-date-two-and-four-digit-years": (
        "that reader gives the first date or nothing, by chance",
        ["datetime64[ns]", "object"],
        [(pd.Timestamp("2020-01-31"), "k0"), (pd.Timestamp("2020-01-31"), "k1")],
    ),
}
"""Cases whose note or message tells of a crash, of chance or of silent loss: what is wrong there, and what daskpar gives instead."""


@pytest.fixture(params=sorted(folder.name for folder in CASES.iterdir()))
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Path, dict[str, Any]]]:
    """The name, a copy of the inputs alone (some patterns match every file), and what is expected."""
    name = request.param
    expected = json.loads((CASES / name / "expected.json").read_text())
    folder = tmp_path / name
    shutil.copytree(CASES / name, folder, ignore=shutil.ignore_patterns("expected.json", "expected.parquet"))
    if expected.get("template"):
        text = (folder / "MLTable").read_text()
        (folder / "MLTable").write_text(text.replace("{CASE}", str(folder)))
    yield name, folder, expected


@pytest.mark.filterwarnings("ignore::UserWarning:daskpar.read_mltable")
def test_same_table_as_microsofts_reader(case: tuple[str, Path, dict[str, Any]]) -> None:
    name, folder, expected = case
    if name in DIFFERENCES:
        _, dtypes, rows = DIFFERENCES[name]
        got = read_mltable(folder).compute()
        assert [_dtype(dtype) for dtype in got.dtypes] == dtypes
        assert _rows(got, folder) == rows
    elif expected["outcome"] == "error":
        with pytest.raises(DaskparError) as caught:
            read_mltable(folder).compute()
        assert str(folder) in str(caught.value)
    else:
        check_table(read_mltable(folder).compute(), name, folder, expected)


def test_every_difference_is_a_case() -> None:
    assert set(DIFFERENCES) <= {folder.name for folder in CASES.iterdir()}


def check_table(got: pd.DataFrame, name: str, folder: Path, expected: dict[str, Any]) -> None:
    """Same columns, dtypes, rows and nulls."""
    assert list(got.columns) == expected["columns"]
    assert [_dtype(dtype) for dtype in got.dtypes] == expected["dtypes"]
    if expected["compare"] == "sample":
        return
    assert len(got) == expected["rows"]
    if expected["compare"] == "shape" or not expected["columns"]:
        return
    rows, wanted = _rows(got, folder), _expected_rows(name, expected)
    if expected["compare"] == "any_order":
        rows, wanted = sorted(rows, key=repr), sorted(wanted, key=repr)
    assert rows == wanted


def _dtype(dtype: Any) -> str:
    return "object" if str(dtype) in ("str", "string") else str(dtype)


def _rows(frame: pd.DataFrame, folder: Path) -> list[tuple[Any, ...]]:
    return [
        tuple(_plain(value, str(folder)) for value in row) for row in frame.itertuples(index=False, name=None)
    ]


def _expected_rows(name: str, expected: dict[str, Any]) -> list[tuple[Any, ...]]:
    table = pq.read_table(CASES / name / "expected.parquet")
    decoded = set(expected.get("json_columns", ()))
    columns = [
        [
            _stored(value) if column in decoded and value is not None else _plain(value, "")
            for value in _values(table, column)
        ]
        for column in table.column_names
    ]
    return list(zip(*columns, strict=True))


def _values(table: Any, column: str) -> list[Any]:
    values: list[Any] = table.column(column).to_pandas().tolist()
    return values


def _plain(value: Any, root: str) -> Any:
    """One form for each value: every null is None, a boolean is no number, paths are relative to the case."""
    if isinstance(value, StreamInfo):
        return "stream", value.resource_identifier.replace(
            root, "{CASE}"
        ) if root else value.resource_identifier
    if isinstance(value, str):
        return value.replace(root, "{CASE}") if root else value
    if isinstance(value, dict):
        return tuple(sorted((key, _plain(item, root)) for key, item in value.items()))
    if isinstance(value, (list, tuple, np.ndarray)):
        return tuple(_plain(item, root) for item in value)
    if value is None or value is pd.NaT or (isinstance(value, (float, np.floating)) and math.isnan(value)):
        return None
    if isinstance(value, (bool, np.bool_)):
        return Boolean(bool(value))
    return value.item() if isinstance(value, np.generic) and not isinstance(value, np.datetime64) else value


def _stored(text: Any) -> Any:
    if not isinstance(text, str):
        return None
    value = json.loads(text)
    if isinstance(value, dict) and "stream_info" in value:
        return "stream", value["stream_info"]
    if isinstance(value, dict) and set(value) == {"bytes"}:
        return bytes.fromhex(value["bytes"])
    return _plain(value, "")


class Boolean(int):
    """True or False, equal to booleans only."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (bool, Boolean)) and bool(self) == bool(other)

    def __hash__(self) -> int:
        return hash(bool(self))

    def __repr__(self) -> str:
        return str(bool(self))
