"""Mini-batches by size: of files, of bytes and of row groups."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from daskpar.batches.by_size import plan_by_size
from daskpar.batches.plan import Plan
from daskpar.data.files import list_files
from daskpar.data.mltable.open import open_mltable
from daskpar.data.tables.table import Table
from daskpar.errors import InputError
from daskpar.jobspec.model import BySize


def test_rows_are_planned_where_parquet_tells_them(tmp_path: Path) -> None:
    import pandas as pd

    pd.DataFrame({"a": range(1000), "b": ["x" * 30] * 1000}).to_parquet(
        tmp_path / "d.parquet", row_group_size=400
    )
    (tmp_path / "MLTable").write_text(
        "paths:\n- file: d.parquet\ntransformations:\n- read_parquet\n- skip: 10\n"
    )
    table = open_mltable(str(tmp_path))
    assert isinstance(table, Table)
    summary = plan_by_size(table, BySize(number=500, unit=1), tmp_path / "p")
    plan = Plan.open(tmp_path / "p")
    assert summary.items == 990 and summary.count > 3
    assert [plan.items(i) for i in range(plan.count)] == [len(plan.load(i)) for i in range(plan.count)]


def test_bytes_are_no_size_of_a_file_list(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"x")
    files = list_files(str(tmp_path))
    with pytest.raises(InputError, match="number of files"):
        plan_by_size(files, BySize(number=10, unit=1024), tmp_path / "p")
    summary = plan_by_size(files, BySize(number=0, unit=1), tmp_path / "p")
    assert summary.count == 2 and Plan.open(tmp_path / "p").load(0) == [str(tmp_path / "a.png")]


@pytest.mark.parametrize(
    ("rows_of_group", "size_bytes", "expected"),
    [(100, 10**9, [0]), (1000, 10**9, [0]), (100, 1, None), (250, 2000, None)],
    ids=["a piece of all groups", "one group", "a piece for each few rows", "pieces across groups"],
)
def test_breaks_are_the_first_pieces_of_row_groups(
    tmp_path: Path, rows_of_group: int, size_bytes: int, expected: list[int] | None
) -> None:
    import pyarrow.parquet

    (tmp_path / "table").mkdir()
    table = pa.table({"n": np.arange(1000)})
    pyarrow.parquet.write_table(table, tmp_path / "table" / "t.parquet", row_group_size=rows_of_group)
    (tmp_path / "table" / "MLTable").write_text(
        "paths:\n- file: ./t.parquet\ntransformations:\n- read_parquet\n"
    )
    plan_by_size(open_mltable(str(tmp_path / "table")), BySize(number=size_bytes, unit=1), tmp_path / "plan")
    plan = Plan.open(tmp_path / "plan")
    breaks = plan.breaks()
    assert breaks == sorted(set(breaks)) and all(0 <= at < plan.count for at in breaks)
    starts = {int(plan.pieces["start"][at]) for at in breaks}
    assert starts <= set(range(0, 1000, rows_of_group))
    if expected is not None:
        assert breaks == expected
