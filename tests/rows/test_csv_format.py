"""CSV: what pandas' `to_csv(index=False)` writes, whatever is flushed together."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskpar.errors import JobFailed, UsageError
from daskpar.rows.csv_format import CsvFormat

SAME, UNION = CsvFormat(), CsvFormat(columns="union")
Output = Callable[..., bytes]

NASTY = pd.DataFrame(
    {
        "n": [1, 2, 3, 4],
        "text": ["a,b", 'say "x"', "two\nlines", " blank é\r"],
        "x": [0.1, np.nan, 1e300, -0.0],
        "when": pd.to_datetime(["2024-03-31 01:30", None, "2024-10-27 02:30", "1999-12-31 00:00"], utc=True),
        "maybe": pd.array([1, None, 3, 4], "Int64"),
        "money": [Decimal("1.50"), None, Decimal("2"), Decimal("3")],
        "nested": [{"a": [1, 2]}, None, [1], "x"],
        "kind": pd.Categorical(["u", "v", None, "u"]),
    }
)


def pandas_text(frames: list[pd.DataFrame]) -> bytes:
    """Of each frame for itself, below one header."""
    texts = [frame.to_csv(index=False, header=not n, lineterminator="\n") for n, frame in enumerate(frames)]
    return "".join(texts).encode()


@pytest.mark.parametrize("cuts", [(), (1,), (1, 2, 3)])
def test_it_is_what_pandas_writes(output_of: Output, cuts: tuple[int, ...]) -> None:
    frames = [NASTY, NASTY.head(0), NASTY.tail(2), NASTY.head(1)]
    assert output_of(SAME, frames, cuts) == pandas_text(frames)


def test_ten_thousand_columns(output_of: Output) -> None:
    wide = pd.DataFrame(np.arange(20_000).reshape(2, 10_000)).add_prefix("c")
    assert output_of(SAME, [wide, wide]) == pandas_text([wide, wide])


def test_a_column_of_empty_fields(output_of: Output) -> None:
    frame = pd.DataFrame({"only": ["", None, "x"]})
    assert output_of(SAME, [frame]) == pandas_text([frame])


class Pair(NamedTuple):
    file: str
    label: int | None


@dataclass
class Record:
    file: str
    label: int | None


@pytest.mark.parametrize(
    "rows",
    [
        [{"file": "a,b", "label": 1}, {"file": "c", "label": None}],
        [Pair("a,b", 1), Pair("c", None)],
        [Record("a,b", 1), Record("c", None)],
        pa.table({"file": ["a,b", "c"], "label": [1, None]}),
        pd.DataFrame({"file": ["a,b", "c"], "label": pd.array([1, None], "Int64")}),
    ],
)
def test_rows_with_names(output_of: Output, rows: Any) -> None:
    assert output_of(SAME, [rows]) == b'file,label\n"a,b",1\nc,\n'


def test_a_named_series_is_a_column(output_of: Output) -> None:
    assert output_of(SAME, [pd.Series([1, 2], name="n")]) == b"n\n1\n2\n"


@pytest.mark.parametrize(
    "missing", [None, float("nan"), np.float32("nan"), pd.NA, pd.NaT, np.datetime64("NaT")]
)
def test_every_null_is_an_empty_field(output_of: Output, missing: Any) -> None:
    assert output_of(SAME, [[{"a": 1, "b": missing}]]) == b"a,b\n1,\n"


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (["a.txt"], "element 0 that run.. returned is a str, and rows in the format csv have names"),
        ([(1, 2)], "return a DataFrame, a named Series, a pyarrow Table, or a list of mappings"),
        (np.array([1.5]), "is a float64"),
        (pd.Series([1]), "is a int"),
        ([{}], "have no names in them"),
        ([{"a": 1}, {"b": 2}], r"row 1 has the names \['b'\], and the first row of the mini-batch \['a'\]"),
        (pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")])), "several levels"),
    ],
)
def test_what_is_no_row_with_names_costs_its_own_mini_batch(returned: Any, said: str) -> None:
    encoder = SAME.encoder()
    encoder.add([{"n": 1}], 0)
    with pytest.raises(ValueError, match=said):
        encoder.add(returned, 1)
    encoder.add([{"n": 2}], 2)
    assert encoder.take() == (b"1\n2\n", [2, 2])


@pytest.mark.parametrize("cuts", [(), (1,), (1, 2)])
def test_columns_that_differ_end_the_step_and_name_both(output_of: Output, cuts: tuple[int, ...]) -> None:
    values = [[{"a": 1}], [{"a": 2}], [{"a": 1, "b": 2}]]
    with pytest.raises(
        JobFailed, match=r"mini-batch 2 returned rows with the columns \['a', 'b'\], mini-batch [01] "
    ):
        output_of(SAME, values, cuts)


FRAMES = st.lists(
    st.lists(st.sampled_from("abcd"), unique=True, min_size=1).flatmap(
        lambda names: st.lists(
            st.fixed_dictionaries(
                {name: st.one_of(st.none(), st.text('a",\n\r é', max_size=3)) for name in names}
            ),
            min_size=1,
            max_size=3,
        )
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=60)
@given(FRAMES, st.lists(st.integers(0, 6)), st.booleans())
def test_a_union_is_that_of_pandas_whatever_is_flushed_when(
    output_of: Output, batches: list[list[dict[str, Any]]], cuts: list[int], backwards: bool
) -> None:
    cuts = [cut for cut in cuts if cut < len(batches)]
    frames = [pd.DataFrame(rows, dtype=object) for rows in batches]
    expected = pd.concat(frames).to_csv(index=False, lineterminator="\n").encode()
    assert output_of(UNION, batches, cuts, backwards=backwards) == expected
    assert output_of(UNION, frames, cuts, backwards=backwards) == expected


def test_what_is_written_is_read_again(output_of: Output) -> None:
    text = output_of(SAME, [NASTY.head(3)]).decode()  # pandas leaves a lone \r without quotes
    texts = [row["text"] for row in csv.DictReader(io.StringIO(text, newline=""))]
    assert texts == NASTY["text"].head(3).tolist()


@pytest.mark.parametrize("target", ["a.parquet", "a.csv.gz", "a.jsonl", "s3://bucket/a.feather"])
def test_the_name_of_an_export_says_no_other_format(target: str) -> None:
    with pytest.raises(UsageError, match=r"name a file such as FILE\.csv"):
        SAME.check_name(target)
    for fine in ("a.csv", "a.txt", "a", "s3://bucket/a.csv"):
        SAME.check_name(fine)
