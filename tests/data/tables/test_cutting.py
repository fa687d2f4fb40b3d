"""Where a table is cut: by the size of its files, by its row groups, and never through a record."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from daskpar.data.mltable.open import open_mltable
from daskpar.data.tables.cutting import cut_into_pieces, cuts_of_file
from daskpar.data.tables.table import Table
from daskpar.data.tables.table_reader import TableReader

MakeTable = Callable[..., Path]


def opened(folder: Path) -> Table:
    """The table of an MLTable folder."""
    found = open_mltable(str(folder))
    assert isinstance(found, Table)
    return found


def test_a_record_on_a_boundary_belongs_to_the_piece_before(make_table: MakeTable) -> None:
    table = opened(make_table({"d.csv": "v\n" + "1234\n" * 4}, "read_delimited"))
    pieces = cut_into_pieces(table, 7)  # records start at bytes 2, 7, 12 and 17 of 22
    assert pieces.tolist() == [(0, 0, 8), (0, 8, 15), (0, 15, 22)]
    reader = TableReader(table, pieces)
    assert [len(reader.frame(i)) for i in range(3)] == [2, 1, 1]


def test_no_piece_crosses_a_file(make_table: MakeTable) -> None:
    table = opened(make_table({"a.csv": "v\n1\n2\n", "b.csv": "v\n3\n"}, "read_delimited"))
    assert cut_into_pieces(table, 1000).tolist() == [(0, 0, 6), (1, 0, 4)]


def test_what_is_wanted_of_a_file_moves_no_cut(make_table: MakeTable) -> None:
    files = {"d.csv": "v\n" + "1234\n" * 20}
    whole = opened(make_table(files, "read_delimited"))
    part = opened(make_table(files, "read_delimited", {"skip": 3}, {"take": 10}, name="part"))
    cuts = cuts_of_file(whole, 0, 30).tolist()
    assert cuts_of_file(part, 0, 30).tolist() == cuts
    inner = {int(edge) for piece in cut_into_pieces(part, 30) for edge in (piece["start"], piece["stop"])}
    assert inner & set(cuts) == {cut for cut in cuts if min(inner) < cut < max(inner)}


def test_pieces_of_records_that_span_lines_begin_at_records(make_table: MakeTable) -> None:
    data = "v\n" + '"a\nb\nc"\n' * 10
    table = opened(make_table({"d.csv": data}, {"read_delimited": {"support_multi_line": True}}))
    starts = set(range(2, len(data) + 1, 8))
    assert set(cuts_of_file(table, 0, 10).tolist()) <= starts


@pytest.mark.parametrize(
    ("size_bytes", "whole_groups", "stops"),
    [(10**9, False, [300]), (1, True, [100, 200, 300]), (1, False, list(range(1, 301)))],
    ids=["all groups together", "groups stay whole", "groups are cut by rows"],
)
def test_row_groups(size_bytes: int, whole_groups: bool, stops: list[int], tmp_path: Path) -> None:
    pq.write_table(pa.table({"n": np.arange(300)}), tmp_path / "d.parquet", row_group_size=100)
    (tmp_path / "MLTable").write_text("paths:\n- file: d.parquet\ntransformations:\n- read_parquet\n")
    pieces = cut_into_pieces(opened(tmp_path), size_bytes, whole_groups)
    assert pieces["stop"].tolist() == stops
    assert pieces["start"].tolist() == [0, *stops[:-1]]
