"""Columns whose values would be changed to have one type are refused; all others are not."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from daskpar.rows.one_kind import check_one_kind
from daskpar.rows.parquet_format import ParquetFormat

MOMENT = datetime.datetime(2024, 1, 1, 5)
ZONED = MOMENT.replace(tzinfo=datetime.UTC)

REFUSED = [
    ([1, 1.5], "a whole number in row 0 (1) and a fraction in row 1 (1.5); return float() of all"),
    ([None, 1.5, np.int8(2)], "a fraction in row 1 (1.5) and a whole number in row 2"),
    ([datetime.date(2024, 1, 1), MOMENT], "a date in row 0"),
    ([MOMENT, None, ZONED], "a moment without a zone in row 0"),
    ([True, 1], "a truth value in row 0 (True) and a whole number"),
    (["a", b"b"], "a text in row 0 ('a') and bytes"),
    ([Decimal(1), 0.5], "a decimal in row 0"),
    ([{"x": 1}, {"y": 2}, {"x": 1.5}], "the column 'a.x' can't have one type"),
    ([[1], [0.5]], "the column 'a[]' can't have one type"),
    ([{"x": [MOMENT]}, {"x": [ZONED]}], "the column 'a.x[]'"),
    (["long" * 50, 1], "…) and a whole number"),
]


@pytest.mark.parametrize(("values", "said"), REFUSED)
def test_values_that_would_change_are_refused_with_both_rows(values: list[Any], said: str) -> None:
    with pytest.raises(ValueError) as caught:
        check_one_kind(values, "a")
    assert said in str(caught.value)
    for returned in (
        [{"a": value} for value in values],
        pd.DataFrame({"a": pd.Series(values, dtype=object)}),
    ):
        encoder = ParquetFormat().encoder()
        with pytest.raises(ValueError, match="can't have one type"):
            encoder.add(returned, 0)


@pytest.mark.parametrize(
    "values",
    [
        [],
        [None, None],
        [1, None, np.int64(3), float("nan")],
        [0.5, np.float32(1), None, float("nan"), pd.NA],
        [Decimal("1.5"), 2],
        [True, np.bool_(False), None],
        [MOMENT, pd.Timestamp(MOMENT), pd.NaT],
        [{"x": 1}, {"x": None, "y": "b"}, None],
        [[1, 2], [], None, (3,)],
        ["a", np.str_("b")],
    ],
)
def test_values_of_one_kind_and_nulls_are_taken(values: list[Any]) -> None:
    check_one_kind(values, "a")
    ParquetFormat().encoder().add([{"a": value} for value in values], 0)
