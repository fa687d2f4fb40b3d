"""The files of a plan: what a power cut took away is noticed."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskpar.batches.plan import Plan
from daskpar.batches.plan_writer import write_plan
from daskpar.data.mltable.open import open_mltable
from daskpar.errors import PlanDamaged


def a_grouped_plan(folder: Path) -> Path:
    """A plan over rows that were brought together in its own folder; where it is."""
    from daskpar.batches.by_keys import plan_by_keys
    from daskpar.batches.grouping import execute_here

    (folder / "table").mkdir()
    (folder / "table" / "t.csv").write_text("k,n\n" + "".join(f"{n % 3},{n}\n" for n in range(30)))
    (folder / "table" / "MLTable").write_text("paths:\n- file: ./t.csv\ntransformations:\n- read_delimited\n")
    plan_by_keys(open_mltable(str(folder / "table")), ["k"], folder / "plan", execute_here)
    return folder / "plan"


DAMAGES = {
    "empty": lambda path: os.truncate(path, 0),
    "torn": lambda path: os.truncate(path, path.stat().st_size - 1),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["plan.arrow", "groups.arrow", "groups-00000.arrow", "plan.json"])
def test_what_a_power_cut_took_of_a_plan_is_noticed(tmp_path: Path, name: str, damage: str) -> None:
    plan = a_grouped_plan(tmp_path)
    assert Plan.reopen(plan).load(1)["n"].tolist() == list(range(1, 30, 3))
    DAMAGES[damage](plan / name)
    with pytest.raises(PlanDamaged, match=name.replace(".", r"\.")):
        Plan.reopen(plan)
    if name in ("plan.arrow", "groups.arrow"):
        with pytest.raises(PlanDamaged, match=name):
            Plan.open(plan)  # processors as well, before they would map it


def test_after_another_boot_content_counts_and_what_was_never_synced_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plan(tmp_path / "files", kind="files", paths=["one", "two"])
    grouped = a_grouped_plan(tmp_path)
    monkeypatch.setattr("daskpar.batches.plan.same_boot", lambda earlier: False)
    assert Plan.reopen(tmp_path / "files").load(1) == ["two"]
    with pytest.raises(PlanDamaged, match="the machine has booted since"):
        Plan.reopen(grouped)
    zeros = tmp_path / "files" / "paths"
    zeros.write_bytes(bytes(zeros.stat().st_size))
    with pytest.raises(PlanDamaged, match="not what was written"):
        Plan.reopen(tmp_path / "files")


@given(
    st.lists(st.text(st.sampled_from("aé/ \udc80"), max_size=6), min_size=1, max_size=300),
    st.lists(st.integers(0, 299), max_size=30),
)
@settings(max_examples=60, deadline=None)
def test_paths_that_are_picked_out_are_those_with_their_numbers(paths: list[str], chosen: list[int]) -> None:
    """Near each other or far apart, in any order, more than once."""
    with tempfile.TemporaryDirectory() as folder:
        write_plan(Path(folder) / "plan", kind="files", paths=paths, per_batch=1)
        stored = Plan.open(Path(folder) / "plan").stored_paths
        assert stored is not None
        numbers = [number % len(paths) for number in chosen]
        assert stored.some(np.array(numbers, np.int64)) == [paths[number] for number in numbers]
