"""`take`, `skip` and `select_partitions` of rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daskpar.data.dask_collections import read_mltable
from daskpar.data.mltable.open import open_mltable
from daskpar.data.tables import file_reader
from daskpar.data.tables.cutting import cut_into_pieces
from daskpar.data.tables.table import Table
from daskpar.errors import InputError

MakeTable = Callable[..., Path]


@pytest.mark.parametrize(
    ("steps", "rows"),
    [
        ([{"select_partitions": [1, 2]}, {"select_partitions": [0]}], [3, 4]),
        ([{"select_partitions": [1, 2]}, {"skip": 1}, {"select_partitions": [0]}], [4]),
        ([{"take": 3}, {"select_partitions": [0, 1]}], [1, 2, 3]),
        ([{"skip": 3}, {"select_partitions": [0, 1]}], [4]),
        ([{"filter": "v != 3"}, {"select_partitions": [1]}, {"take": 5}], [4]),
    ],
)
def test_partitions_are_counted_among_those_that_are_left(
    steps: list[dict[str, Any]], rows: list[int], make_table: MakeTable
) -> None:
    folder = make_table({"d.csv": "v\n1\n2\n3\n4\n5\n6\n"}, {"read_delimited": {"partition_size": 4}}, *steps)
    assert read_mltable(folder).compute()["v"].tolist() == rows


def test_a_partition_beyond_those_chosen_is_refused(make_table: MakeTable) -> None:
    steps = [{"select_partitions": [1, 2]}, {"select_partitions": [2]}]
    with pytest.raises(InputError, match="there is no partition 2: the table has 2"):
        read_mltable(
            make_table({"d.csv": "v\n1\n2\n3\n4\n"}, {"read_delimited": {"partition_size": 3}}, *steps)
        )


def test_take_reads_no_more_than_it_needs(make_table: MakeTable, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_table(
        {"d.csv": "v\n" + "12345\n" * 2_000_000},
        "read_delimited",
        {"filter": "v > 5"},
        {"skip": 10},
        {"take": 20},
    )
    read: list[int] = []
    original = file_reader.read_records
    monkeypatch.setattr(
        file_reader, "read_records", lambda *args: read.append(args[3] - args[2]) or original(*args)
    )
    table = open_mltable(str(folder))
    assert sum(read) < 500_000
    assert isinstance(table, Table) and len(cut_into_pieces(table, 1024)) == 1
    assert len(read_mltable(folder).compute()) == 20
