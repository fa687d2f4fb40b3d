"""Writing a plan: whole or not at all, and on the disk before it counts."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from daskpar.batches.plan import Plan
from daskpar.batches.plan_writer import write_plan
from daskpar.errors import RunDirectoryError


def test_an_interrupted_rewrite_leaves_no_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_plan(tmp_path, kind="files", paths=["a"])
    monkeypatch.setattr(os, "replace", _interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_plan(tmp_path, kind="files", paths=["b", "c"])
    with pytest.raises(RunDirectoryError, match="holds no plan"):
        Plan.open(tmp_path)


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_plan_is_on_the_disk_before_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file is synced, then the folder, then plan.json gets its name, which is synced too before anything is committed."""
    log: list[str] = []
    sync, rename = os.fsync, os.replace

    def synced(fd: int) -> None:
        log.append(Path(os.readlink(f"/proc/self/fd/{fd}")).name)
        sync(fd)

    def renamed(old: object, new: object) -> None:
        log.append(f"-> {Path(str(new)).name}")
        rename(str(old), str(new))

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    write_plan(
        tmp_path / "p", kind="grouped", paths=["p", "q"], offsets=np.array([0, 2]), keys=pa.table({"k": [1]})
    )
    files = ["plan.arrow", "groups.arrow", "plan.json"]
    assert log == [done for file in files for done in (f".{file}.tmp", f"-> {file}", "p")]
