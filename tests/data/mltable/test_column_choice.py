"""Columns that are named by a pattern."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from daskpar.data.dask_collections import read_mltable

MakeTable = Callable[..., Path]


@pytest.mark.parametrize(
    ("pattern", "kept"),
    [
        ("[[:digit:]]", ["a1"]),
        (r"\\p{Lu}", ["B"]),
        ("(?<first>a)", ["a", "a1", "ca"]),
        (r"^a\\z", ["a"]),
        ("(?i)b", ["B"]),
        ("é", ["é"]),
    ],
)
def test_patterns_are_those_of_the_engine(pattern: str, kept: list[str], make_table: MakeTable) -> None:
    table = make_table(
        {"d.csv": "a,a1,B,ca,é\n1,2,3,4,5\n"},
        "read_delimited",
        {"keep_columns": {"pattern": pattern.replace("\\\\", "\\")}},
    )
    assert read_mltable(table).columns.tolist() == kept
