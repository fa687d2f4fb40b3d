"""Jobs that are given from Python are planned, run and resumed as those of a file are."""

from __future__ import annotations

from pathlib import Path

import pytest

import daskpar
from sdk_jobs import sdk_object, write_files

SCORE = """
import os
def run(mini_batch):
    if not os.path.exists("{up}"):
        raise OSError("the service is down")
    return [os.path.basename(str(each)) for each in mini_batch]
"""


def test_a_job_of_the_sdk_is_planned_run_and_resumed_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path)
    (tmp_path / "src/score.py").write_text(SCORE.format(up=tmp_path / "up"))
    monkeypatch.chdir(tmp_path)
    job = sdk_object("chained", tmp_path)
    assert daskpar.validate(job) == ()
    plan = daskpar.plan(job)
    assert "job chained (PipelineJob chained)" in plan and "2 mini-batches of 3 items in all" in plan
    assert not (tmp_path / "runs").exists()

    run = daskpar.run(job, run_dir="run", dashboard=None, display=False)
    assert (run.status, run.steps["cleaned"].status, run.steps["show"].status) == (
        "failed",
        "completed",
        "skipped",
    )
    (tmp_path / "up").touch()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")  # relative paths start where they did

    run = daskpar.resume("../run", dashboard=None, display=False).check()
    assert Path(run.outputs["scores"]).read_text().split() == ["a.txt", "b.txt"]
    shown = (run.logs["show"] / "user/std_out.txt").read_text().splitlines()
    assert shown == ["a.txt", "b.txt", "all rows True 2"]


def test_names_of_the_sdk_say_where_they_are() -> None:
    with pytest.raises(ImportError, match=r"RunFunction is a name of azure-ai-ml.*map_mini_batches"):
        from daskpar import RunFunction  # noqa: F401
