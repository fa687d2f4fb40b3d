"""Inputs that change while a job runs: rows of what was planned, or a failure with its reason, never others."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

import daskpar
from daskpar.results import Reason

SCRIPT = """
import os, pathlib
folder = pathlib.Path(os.environ["FOLDER"])
what, target = (folder / "plot").read_text().split()
target = folder / target
def run(mini_batch):
    if not (folder / "done").exists():
        (folder / "done").touch()
        size = target.stat().st_size
        if what == "truncate":
            os.truncate(target, size // 2)
        elif what == "overwrite":
            with target.open("r+b") as opened:
                opened.seek(size - 3)
                opened.write(b"999")
        elif what == "grow":
            with target.open("ab") as opened:
                opened.write(b"999")
        elif what == "replace":
            other = target.with_suffix(".new")
            other.write_bytes(target.read_bytes())
            os.replace(other, target)
        elif what == "remove":
            target.unlink()
    return [str(item) for item in (mini_batch["a"] if hasattr(mini_batch, "columns") else mini_batch)]
"""
ROWS = 40
WIDE = 200_000  # so that a part of what is read at once is read after the change


def delimited(data: Path) -> str:
    (data / "in.csv").write_text("a,b\n" + "".join(f"{i},{'x' * WIDE}\n" for i in range(ROWS)))
    return mltable(data, "read_delimited", "in.csv")


def json_lines(data: Path) -> str:
    (data / "in.jsonl").write_text("".join(json.dumps({"a": i, "b": "x" * WIDE}) + "\n" for i in range(ROWS)))
    return mltable(data, "read_json_lines", "in.jsonl")


def parquet(data: Path) -> str:
    pd.DataFrame({"a": range(ROWS)}).to_parquet(data / "in.parquet", row_group_size=1)
    return mltable(data, "read_parquet", "in.parquet")


def delta(data: Path) -> str:
    deltalake = pytest.importorskip("deltalake", reason="needs the extra daskpar[delta]")
    frame = pd.DataFrame({"a": range(ROWS), "b": [os.urandom(WIDE // 2).hex() for _ in range(ROWS)]})
    deltalake.write_deltalake(str(data / "table"), frame)
    mltable(data, "read_delta_lake", "table", how="folder")
    return next(str(path.relative_to(data)) for path in (data / "table").glob("*.parquet"))


def files(data: Path) -> str:
    for number in range(ROWS):
        (data / f"{number:02d}.txt").write_text("text")
    return "39.txt"


def mltable(data: Path, reader: str, name: str, how: str = "file") -> str:
    (data / "MLTable").write_text(
        yaml.safe_dump({"paths": [{how: f"./{name}"}], "transformations": [reader]})
    )
    return name


def job(folder: Path, make: Callable[[Path], str], what: str, **settings: Any) -> Path:
    """A job whose script does `what` to its input in its first call; the spec."""
    (folder / "data").mkdir()
    (folder / "code").mkdir()
    target = make(folder / "data")
    (folder / "plot").write_text(f"{what} {settings.pop('target', f'data/{target}')}")
    (folder / "code" / "script.py").write_text(SCRIPT)
    (folder / "model.txt").write_text("model")
    tabular = make is not files
    step = {
        "type": "parallel",
        # The script stands for somebody else who changes the files: in other modes it could not.
        "inputs": {
            "data": {"type": "mltable", "path": "./data", "mode": "direct"}
            if tabular
            else {"type": "uri_folder", "path": "./data", "mode": "direct"},
            "model": {"type": "uri_file", "path": "./model.txt", "mode": "direct"},
        },
        "outputs": {"rows": {"type": "uri_file", "path": "./rows.txt"}},
        "input_data": "${{inputs.data}}",
        "mini_batch_size": ("1kb" if make is parquet else "1mb") if tabular else "4",
        "max_concurrency_per_instance": 1,
        "retry_settings": {"max_retries": 2, "timeout": 60},
        "environment_variables": {"FOLDER": str(folder)},
        "task": {
            "type": "run_function",
            "code": "./code",
            "entry_script": "script.py",
            "environment": "azureml:any:1",
            "program_arguments": "--resource_monitor_interval 0",
            "append_row_to": "${{outputs.rows}}",
        },
        **settings,
    }
    (folder / "job.yml").write_text(yaml.safe_dump({"type": "pipeline", "jobs": {"work": step}}))
    return folder / "job.yml"


def run(spec: Path) -> Any:
    return daskpar.run(spec, run_dir=spec.parent / "run", dashboard=None, display=False)


@pytest.mark.parametrize("what", ["truncate", "overwrite", "remove"])
@pytest.mark.parametrize("make", [delimited, json_lines, parquet, delta, files])
def test_what_is_no_more_what_was_planned_fails_at_once_by_name(
    tmp_path: Path, make: Callable[[Path], str], what: str
) -> None:
    ended = run(job(tmp_path, make, what))
    result = ended.steps["work"]
    counts = result.counts
    assert ended.status == "completed" and counts.succeeded and counts.failed
    assert (counts.empty, counts.retried) == (0, 0)  # nothing is taken for empty, nothing is read twice
    assert result.first_failure.reason == Reason.INPUT_CHANGED
    assert (
        "planned" in result.first_failure.message and str(tmp_path / "data") in result.first_failure.message
    )
    rows = (tmp_path / "rows.txt").read_text().split()
    expected = [str(tmp_path / "data" / f"{i:02d}.txt") if make is files else str(i) for i in range(ROWS)]
    assert rows == [row for row in expected if row in set(rows)] and len(rows) < ROWS
    assert f"Warning: work: the input changed while the step ran: {counts.failed} mini-batch" in ended.summary


@pytest.mark.parametrize("what", ["replace", "grow"])
def test_a_file_in_its_place_is_another_one(tmp_path: Path, what: str) -> None:
    ended = run(job(tmp_path, delimited, what, mini_batch_error_threshold=0))
    assert ended.status == "failed" and "mini_batch_error_threshold" in ended.reason
    assert "has changed since the step was planned" in ended.summary


def test_files_that_are_put_back_are_run_by_retry_failed(tmp_path: Path) -> None:
    spec = job(tmp_path, files, "remove")
    target = tmp_path / "data" / "39.txt"
    kept = tmp_path / "kept"
    kept.hardlink_to(target)
    assert run(spec).steps["work"].counts.failed == 1
    kept.rename(target)
    again = daskpar.resume(tmp_path / "run", retry_failed=True, dashboard=None, display=False)
    assert again.status == "completed" and again.steps["work"].counts.failed == 0
    assert len((tmp_path / "rows.txt").read_text().split()) == ROWS and "Warning: work" not in again.summary


def test_allow_changes_takes_the_files_of_a_list_as_they_are(tmp_path: Path) -> None:
    spec = job(tmp_path, files, "truncate")
    assert run(spec).steps["work"].counts.failed == 1
    again = daskpar.resume(
        tmp_path / "run", retry_failed=True, allow_changes=True, dashboard=None, display=False
    )
    assert again.steps["work"].counts.failed == 0


@pytest.mark.parametrize("what", ["truncate", "nothing"])
def test_groups_of_rows_keep_what_was_planned_and_a_change_is_told(tmp_path: Path, what: str) -> None:
    spec = job(tmp_path, parquet, what, partition_keys=["a"])
    document = yaml.safe_load(spec.read_text())
    del document["jobs"]["work"]["mini_batch_size"]
    spec.write_text(yaml.safe_dump(document))
    step = run(spec).steps["work"]
    assert step.counts.succeeded == ROWS  # the rows were copied when they were grouped
    assert len(step.notes) == (what == "truncate")
    assert all(
        "in.parquet): the groups are those of the rows that were there before" in n for n in step.notes
    )


@pytest.mark.parametrize("what", ["overwrite", "remove", "replace"])
def test_a_model_that_changes_is_said_of_a_completed_step(tmp_path: Path, what: str) -> None:
    ended = run(job(tmp_path, files, what, target="model.txt"))
    assert ended.status == "completed" and ended.steps["work"].counts.succeeded == 10
    (note,) = ended.steps["work"].notes
    assert "model.txt is changed since the step started" in note
    assert f"Warning: work: {note}" in ended.summary


def test_nothing_is_said_where_nothing_changes(tmp_path: Path) -> None:
    ended = run(job(tmp_path, files, "nothing"))
    assert ended.steps["work"].notes == () and "Warning" not in ended.summary


def test_a_long_list_is_guarded_in_mid_run_and_between_two_processes(work: Any, monkeypatch: Any) -> None:
    """Long enough that it is looked at once, by other processes, for plan, checks and resume."""
    monkeypatch.setattr("daskpar.data.file_look.MANY", 5)
    monkeypatch.setattr("daskpar.rundir.seen_files.NAMED", 5)
    data = work.files(12)
    (work.folder / "plot").write_text(f"overwrite {data / '0007.txt'}")
    for path in data.iterdir():
        path.write_text(f"{path.name} is long enough")
    environment = {"FOLDER": str(work.folder)}
    step = work.parallel(
        SCRIPT,
        mini_batch_size="2",
        environment_variables=environment,
        max_concurrency_per_instance=1,
        retry_settings={"max_retries": 0},
        inputs={"files": {"type": "uri_folder", "path": "./data", "mode": "direct"}},  # not read-only
        mini_batch_error_threshold=-1,
        arguments="--error_threshold -1",
    )
    ended = work.run({"work": step}, limit=4)
    assert ended.status == "partial" and ended.counts["work"].failed == 1
    assert "0007.txt has changed since the step was planned" in ended.steps["work"].first_failure.message
    run = work.folder / "run"
    with pytest.raises(daskpar.RunDirectoryError, match="files of input files"):
        daskpar.resume(run, display=False, dashboard=None)
    ended = daskpar.resume(run, display=False, dashboard=None, allow_changes=True, retry_failed=True)
    assert ended.status == "completed" and ended.counts["work"].succeeded == 6
    assert daskpar.resume(run, display=False, dashboard=None).status == "completed"
