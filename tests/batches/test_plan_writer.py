"""Writing a plan: whole or not at all, and on the disk before it counts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from daskpar.batches.plan import Plan
from daskpar.batches.plan_arrow import StoredPaths, write_paths
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
    files = ["paths", "groups.arrow", "plan.json"]
    assert log == [done for file in files for done in (f".{file}.tmp", f"-> {file}", "p")]


def test_paths_in_an_arrow_file_of_an_earlier_version_are_read(tmp_path: Path) -> None:
    names = ["one", "two é", "three"]
    write_plan(tmp_path, kind="files", paths=names)
    file, document = tmp_path / "plan.arrow", json.loads((tmp_path / "plan.json").read_text())
    column = pa.array([name.encode() for name in names], pa.large_binary())
    with (
        pa.OSFile(str(file), "wb") as sink,
        pa.ipc.new_file(sink, pa.schema({"path": column.type})) as writer,
    ):
        writer.write_table(pa.table({"path": column}))
    data = file.read_bytes()
    ends = np.array([0, 3, 9, 14], "i8").tobytes()
    document["paths"] = {"count": 3, "offsets": data.index(ends), "data": data.index(b"onetwo")}
    document["files"] = {}
    (tmp_path / "paths").unlink()
    (tmp_path / "plan.json").write_text(json.dumps(document))
    assert Plan.open(tmp_path).paths() == names


@pytest.mark.parametrize("start", [0, 2, 5])
def test_paths_in_a_part_of_an_arrow_column(tmp_path: Path, start: int) -> None:
    names = ["one", "two é", "", "four", "five"]
    column = pa.chunked_array([names[:3], names[3:]])[start:]
    stored = StoredPaths(tmp_path, write_paths(tmp_path / "paths", column))
    assert stored.slice(0, stored.count) == list(stored.column()) == names[start:]
