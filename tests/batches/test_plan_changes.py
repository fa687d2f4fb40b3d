"""What --allow-changes lets a plan expect: files as they are now, where the planned mini-batches still fit them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from daskpar.batches.by_size import plan_by_size
from daskpar.batches.plan import Plan
from daskpar.batches.plan_changes import take_changes
from daskpar.data.files import list_files
from daskpar.data.mltable.open import open_mltable
from daskpar.errors import InputChanged
from daskpar.jobspec.model import BySize


def write_text(path: Path, text: str) -> None:
    path.write_text(text)
    os.utime(path, ns=(1, len(text) * 1000 + ord(text[2])))


def table_of(folder: Path, name: str, reader: str) -> Plan:
    (folder / "MLTable").write_text(f"paths:\n- file: ./{name}\ntransformations:\n- {reader}\n")
    plan_by_size(open_mltable(str(folder)), BySize(number=0, unit=1), folder / "plan")
    return Plan.open(folder / "plan")


def test_files_of_a_list_are_taken_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in "ab":
        write_text(tmp_path / "data" / name, "before")
    plan_by_size(list_files(str(tmp_path / "data")), BySize(number=0, unit=1), tmp_path / "plan")
    write_text(tmp_path / "data" / "a", "after, and longer")
    (tmp_path / "data" / "b").unlink()
    take_changes(Plan.open(tmp_path / "plan"))
    plan = Plan.open(tmp_path / "plan")
    assert plan.load(0) == [str(tmp_path / "data" / "a")]
    with pytest.raises(InputChanged):
        plan.load(1)


@pytest.mark.parametrize(("text", "taken"), [("a\n3\n4\n", True), ("a\n3\n", False), ("a\n3\n4\n5\n", False)])
def test_text_is_where_it_has_the_size_that_was_planned(tmp_path: Path, text: str, taken: bool) -> None:
    write_text(tmp_path / "d.csv", "a\n1\n2\n")
    take_changes_of(
        table_of(tmp_path, "d.csv", "read_delimited"), lambda: write_text(tmp_path / "d.csv", text)
    )
    plan = Plan.open(tmp_path / "plan")
    if taken:
        assert plan.load(0)["a"].tolist() == [3, 4]
    else:
        with pytest.raises(InputChanged):
            plan.load(0)


@pytest.mark.parametrize(("values", "taken"), [([30, 40], True), ([30], False), ([30, 40, 50], False)])
def test_parquet_is_where_it_has_the_row_groups_that_were_planned(
    tmp_path: Path, values: list[int], taken: bool
) -> None:
    file = tmp_path / "d.parquet"
    pd.DataFrame({"a": [1, 2]}).to_parquet(file)
    plan = table_of(tmp_path, "d.parquet", "read_parquet")

    def change() -> None:
        pd.DataFrame({"a": values, "b": ["more"] * len(values)}).to_parquet(file)

    take_changes_of(plan, change)
    again = Plan.open(tmp_path / "plan")
    if taken:
        assert again.load(0)["a"].tolist() == values
    else:
        with pytest.raises(InputChanged):
            again.load(0)


def take_changes_of(plan: Plan, change: Callable[[], None]) -> None:
    """Change a file after its plan was opened, and take that."""
    change()
    take_changes(plan)
