"""JSON lines: one object for each row."""

from __future__ import annotations

import datetime
import json
import uuid
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import dask.dataframe
import numpy as np
import pandas as pd
import pyarrow.json
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskpar.errors import JobFailed
from daskpar.rows.json_lines_format import JsonLinesFormat

SAME, UNION = JsonLinesFormat(), JsonLinesFormat(columns="union")
Output = Callable[..., bytes]
ZONE = datetime.timezone(datetime.timedelta(hours=1))
DAY = datetime.datetime(2024, 1, 2, 3, 4, 5, 6, ZONE)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        (2**80, str(2**80)),
        (True, "true"),
        (0.1, "0.1"),
        ("é\n}\n\u2028", '"é\\n}\\n\u2028"'),
        ("\udcff", '"\\udcff"'),  # of a file's name that is no UTF-8
        (None, "null"),
        (float("nan"), "null"),
        (pd.NA, "null"),
        (pd.NaT, "null"),
        (np.int8(3), "3"),
        (np.float32(0.5), "0.5"),
        (np.bool_(True), "true"),
        (np.str_("x"), '"x"'),
        (np.array([[1, 2], [3, 4]]), "[[1,2],[3,4]]"),
        (np.array([1.0, np.nan]), "[1.0,null]"),
        ({"a": [np.int64(1), {"b": DAY}]}, '{"a":[1,{"b":"2024-01-02T03:04:05.000006+01:00"}]}'),
        ((1, "x"), '[1,"x"]'),
        (DAY, '"2024-01-02T03:04:05.000006+01:00"'),
        (DAY.date(), '"2024-01-02"'),
        (pd.Timestamp("2024-01-02", tz="UTC"), '"2024-01-02T00:00:00+00:00"'),
        (np.datetime64("2024-01-02T03:04:05"), '"2024-01-02T03:04:05"'),
        (pd.Timedelta("1s"), '"P0DT0H0M1S"'),
        (datetime.timedelta(seconds=1.5), '"PT1.5S"'),
        (Decimal("1.50"), '"1.50"'),
        (uuid.UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (Path("/a/b"), '"/a/b"'),
    ],
)
def test_the_text_of_a_value(output_of: Output, value: Any, text: str) -> None:
    assert output_of(SAME, [[{"v": value}]]).decode() == f'{{"v":{text}}}\n'
    frame = pd.DataFrame({"v": pd.Series([value], dtype=object)})
    assert output_of(SAME, [frame]).decode() == f'{{"v":{text}}}\n'


def test_columns_of_numpy_and_pandas_types(output_of: Output) -> None:
    frame = pd.DataFrame(
        {
            "i": np.array([1, 2], "uint8"),
            "f": np.array([0.5, np.nan], "float32"),
            "b": [True, False],
            "I": pd.array([1, None], "Int64"),
            "s": ["x", None],
            "t": pd.to_datetime(["2024-01-01", None]).tz_localize("Europe/Berlin"),
            "c": pd.Categorical(["u", None]),
        }
    )
    first, second = map(json.loads, output_of(SAME, [frame]).splitlines())
    assert first == {
        "i": 1,
        "f": 0.5,
        "b": True,
        "I": 1,
        "s": "x",
        "t": "2024-01-01T00:00:00+01:00",
        "c": "u",
    }
    assert second == {"i": 2, "f": None, "b": False, "I": None, "s": None, "t": None, "c": None}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (float("inf"), "JSON has no such number"),
        (b"x", "builtins.bytes, which JSON has no form for"),
        ({1}, "builtins.set"),
    ],
)
def test_what_json_has_no_form_for_names_its_column(value: Any, said: str) -> None:
    with pytest.raises(ValueError, match=f"the column 'v' holds.*{said}"):
        SAME.encoder().add([{"v": value}], 0)


def test_others_read_it(output_of: Output, tmp_path: Path) -> None:
    values = [[{"n": n, "text": f"zeile {n}\n", "nested": {"a": [n]}} for n in range(5)] for _ in range(3)]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(output_of(SAME, values, cuts=(1,)))
    texts = [row["text"] for rows in values for row in rows]
    assert pd.read_json(path, lines=True)["text"].tolist() == texts
    assert pyarrow.json.read_json(path)["text"].to_pylist() == texts
    assert dask.dataframe.read_json(str(path), lines=True).compute()["text"].tolist() == texts


def test_columns_that_differ_end_the_step(output_of: Output) -> None:
    with pytest.raises(JobFailed, match=r"mini-batch 1 returned .* mini-batch 0 with"):
        output_of(SAME, [[{"a": 1}], [{"b": 1}]])


ROWS = st.lists(
    st.lists(st.sampled_from("abc"), unique=True, min_size=1).flatmap(
        lambda names: st.lists(
            st.fixed_dictionaries(
                {name: st.one_of(st.none(), st.integers(), st.text(max_size=3)) for name in names}
            ),
            max_size=3,
        )
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=60)
@given(ROWS, st.lists(st.integers(0, 6)), st.booleans())
def test_a_union_has_nulls_whatever_is_flushed_when(
    output_of: Output, batches: list[list[dict[str, Any]]], cuts: list[int], backwards: bool
) -> None:
    cuts = [cut for cut in cuts if cut < len(batches)]
    data = output_of(UNION, batches, cuts, backwards=backwards)
    names = {name for rows in batches for row in rows for name in row}
    expected = [dict.fromkeys(names) | row for rows in batches for row in rows]
    assert [json.loads(line) for line in data.decode().split("\n")[:-1]] == expected
    assert data == output_of(UNION, batches)
