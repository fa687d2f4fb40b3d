"""Rows that pandas or Dask would take for something else, or for nothing."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from daskpar.driver import read_rows
from daskpar.rows.csv_format import CsvFormat
from daskpar.rows.json_lines_format import JsonLinesFormat
from daskpar.rows.text_format import PLAIN_TEXT


@pytest.fixture
def rows_in(monkeypatch):
    def given(path: Path, row_format) -> None:
        found = read_rows._Rows((str(path),), row_format, None, 0)
        monkeypatch.setattr(read_rows, "_rows_of", lambda run, step: found)

    return given


def test_texts_in_csv_that_look_like_nulls_are_texts(tmp_path, rows_in):
    """`NA` is Namibia; only an empty field is missing."""
    written = pd.DataFrame({"country": ["NA", "None", None, "null"], "x": [1.5, None, 2, 3]})
    written.to_csv(tmp_path / "rows.csv", index=False)
    rows_in(tmp_path / "rows.csv", CsvFormat())
    for read in (read_rows.read_pandas(tmp_path, None), read_rows.read_dask(tmp_path, None).compute()):
        assert [None if pd.isna(c) else c for c in read["country"]] == ["NA", "None", None, "null"]
        assert (read["x"].dtype, read["x"].sum(), read["x"].isna().sum()) == ("float64", 6.5, 1)


@pytest.mark.parametrize("row_format", [JsonLinesFormat(), PLAIN_TEXT])
def test_an_output_without_rows_is_an_empty_bag(tmp_path, rows_in, row_format):
    (tmp_path / "rows").touch()
    rows_in(tmp_path / "rows", row_format)
    assert read_rows.read_bag(tmp_path, None).compute(scheduler="sync") == []
