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
from daskpar.rows import json_lines_format, json_text
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


TEXT = st.text(st.characters(), max_size=5) | st.sampled_from(['"', "\\", "\x7f", "\u2028", "\udcff", "a\nb"])
NULLS = [None, float("nan"), pd.NA, pd.NaT]
COLUMNS: dict[str, tuple[st.SearchStrategy[Any], Any]] = {
    "int64": (st.integers(-(2**63), 2**63 - 1), "int64"),
    "uint8": (st.integers(0, 255), "uint8"),
    "float64": (st.floats(allow_infinity=True), "float64"),
    "floats": (st.floats(-1e6, 1e6) | st.integers(-99, 99).map(float), "float64"),
    "float32": (st.floats(width=32), "float32"),
    "bool": (st.booleans(), "bool"),
    "Int64": (st.none() | st.integers(-(2**63), 2**63 - 1), "Int64"),
    "Float64": (st.none() | st.floats(allow_nan=False), "Float64"),
    "boolean": (st.none() | st.booleans(), "boolean"),
    "text": (TEXT | st.sampled_from(NULLS), object),
    "string": (st.none() | st.text(st.characters(codec="utf-8"), max_size=5), "string"),
    "kind": (st.none() | st.sampled_from(["a", 'b"', "é"]), "category"),
    "numbers": (st.none() | st.sampled_from([1, 2]), "category"),
    "when": (st.none() | st.datetimes(pd.Timestamp(1700, 1, 1), pd.Timestamp(2200, 1, 1)), "datetime64[ns]"),
    "zoned": (st.none() | st.just(pd.Timestamp("2024-01-01")), "datetime64[us, Europe/Berlin]"),
    "long": (st.none() | st.timedeltas(datetime.timedelta(0), datetime.timedelta(9)), "timedelta64[ns]"),
    "money": (st.none() | st.decimals(allow_nan=False, allow_infinity=False, places=2), object),
    "day": (st.none() | st.dates(), object),
    "nested": (st.recursive(st.none() | st.integers() | TEXT, lambda v: st.lists(v) | st.dictionaries(TEXT, v)), object),
    "mixed": (st.none() | st.booleans() | st.integers() | TEXT, object),
    "arrow": (st.none() | st.integers(0, 9), "int64[pyarrow]"),
}  # fmt: skip


@st.composite
def any_frame(draw: st.DrawFn) -> pd.DataFrame:
    count = draw(st.integers(1, 6))
    chosen = draw(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, max_size=4, unique=True))
    return pd.DataFrame(
        {
            f'{name} "{chr(10)}' if draw(st.booleans()) else name: pd.Series(
                draw(st.lists(COLUMNS[name][0], min_size=count, max_size=count)), dtype=COLUMNS[name][1]
            )
            for name in chosen
        }
    )


@settings(max_examples=150)
@given(any_frame(), st.sampled_from([2, 1000]))
def test_many_rows_at_once_have_the_text_of_each_value_alone(frame: pd.DataFrame, slice_rows: int) -> None:
    def lines(least: int) -> bytes | str:
        encoder = SAME.encoder()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(json_lines_format, "_MANY_ROWS", least)
            patch.setattr(json_text, "SLICE_ROWS", slice_rows)
            try:
                encoder.add(frame, 0)
            except ValueError as error:
                return str(error)
        return encoder.take()[0]

    assert lines(1) == lines(10**9)


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "a": TEXT | st.integers(),
                "b": st.floats() | st.none() | st.booleans() | st.just(np.float64(0.1)),
            }
        )
    )
)
def test_plain_mappings_have_the_text_of_each_value_alone(rows: list[dict[str, Any]]) -> None:
    def lines() -> bytes | str:
        encoder = SAME.encoder()
        try:
            encoder.add(rows, 0)
        except ValueError as error:
            return str(error)
        return encoder.take()[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_lines_format, "_plain_lines", lambda *_: None)
        one_by_one = lines()
    assert lines() == one_by_one


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
