"""The folder that a step splits is planned while the cluster opens, where nothing of the run can change it before."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from daskpar.batches import by_size, plan_writer
from daskpar.batches.plan import Plan
from daskpar.driver.options import Options
from daskpar.driver.planning_ahead import PlanningAhead, may_plan_ahead, remove_stale
from daskpar.driver.startup import Startup, start_servers
from daskpar.engine.planning import WantedColumns, plan_there
from daskpar.errors import InputError
from daskpar.jobspec.load import load_job
from daskpar.jobspec.model import BySize, Input
from daskpar.processor import prestart
from daskpar.rundir.run_directory import RunDirectory


def planned(place: Path, count: int = 2) -> Any:
    return plan_writer.write_plan(place, kind="files", paths=[f"/{number}" for number in range(count)])


def test_what_goes_wrong_is_raised_where_the_plan_is_taken(tmp_path: Path) -> None:
    def fail(place: Path) -> Any:
        raise InputError("no such folder")

    ahead = PlanningAhead(tmp_path / "step" / "plan", fail)
    for _ in range(2):
        with pytest.raises(InputError, match="no such folder"):
            ahead.take()
    ahead.drop()
    assert list((tmp_path / "step").iterdir()) == []


def test_a_plan_is_in_its_place_once_it_is_taken(tmp_path: Path) -> None:
    plan = tmp_path / "step" / "plan"
    plan.mkdir(parents=True)
    (plan / "paths").write_text("what a killed driver has left")
    ahead = PlanningAhead(plan, planned)
    assert ahead.take() == Plan.open(plan).summary
    assert [path.name for path in plan.parent.iterdir()] == ["plan"]


def test_a_planner_that_is_still_at_work_when_nobody_wants_its_plan_leaves_nothing(tmp_path: Path) -> None:
    """The run did not come about, and its folder is gone; or it goes on elsewhere, with a plan of its own."""
    folder, listed, made = tmp_path / "data", threading.Event(), []
    folder.mkdir()
    (folder / "a").touch()
    plan = tmp_path / "run" / "steps" / "work" / "plan"
    data = Input(name="files", type="uri_folder", path=str(folder))

    def slowly(place: Path) -> Any:
        listed.wait()
        try:
            return plan_there(data, BySize(number=1, unit=1), WantedColumns(), place, {})
        except OSError as error:
            made.append(error)
            raise

    ahead = PlanningAhead(plan, slowly)
    planned(plan)
    ahead.drop()
    listed.set()
    with pytest.raises(FileNotFoundError):
        ahead.take()
    assert len(made) == 1 and Plan.open(plan).summary.count == 2
    assert [path.name for path in plan.parent.iterdir()] == ["plan"]


def test_what_an_earlier_driver_had_planned_ahead_is_removed(tmp_path: Path) -> None:
    plan = tmp_path / "plan"
    ahead = PlanningAhead(plan, planned)
    ahead._making.result()
    planned(plan)
    remove_stale(plan)
    assert [path.name for path in tmp_path.iterdir()] == ["plan"]


@pytest.mark.parametrize(
    ("changes", "ahead"),
    [
        ({}, True),
        ({"inputs": {"files": {"type": "uri_folder", "path": "./data/"}}}, True),
        ({"inputs": {"files": {"type": "mltable", "path": "./table"}}}, False),
        ({"outputs": {"rows": {"type": "uri_file", "path": "./data/rows.txt"}}}, False),
        ({"outputs": {"rows": {"type": "uri_folder", "path": "./data"}}}, False),
        ({"outputs": {"rows": {"type": "uri_folder", "path": "./data2"}}}, True),
    ],
)
def test_only_a_folder_that_the_run_does_not_write_to_is_planned_ahead(
    work: Any, changes: dict[str, Any], ahead: bool
) -> None:
    work.files(2)
    work.write("table/MLTable", "type: mltable\npaths:\n  - folder: ../data\n")
    job = load_job(work.spec({"work": work.parallel(**changes)}), run_directory=work.folder / "run")
    (step,) = job.steps
    assert may_plan_ahead(job, step, work.folder / "run") is ahead


def test_a_run_directory_within_the_folder_is_not_planned_ahead(work: Any) -> None:
    work.files(2)
    inside = work.folder / "data" / "run"
    job = load_job(work.spec({"work": work.parallel()}), run_directory=inside)
    assert not may_plan_ahead(job, job.steps[0], inside)


def test_another_process_plans(work: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver's own has Dask to import meanwhile."""
    work.files(3)
    monkeypatch.setattr(by_size, "plan_by_size", None)  # here alone
    job = load_job(work.spec({"work": work.parallel()}), run_directory=work.folder / "run")
    directory = RunDirectory.create(work.folder / "run", job.name, job.spec)
    with directory:
        run = Startup(job, directory, Options(), {}, "session")
        try:
            start_servers(job, Options())
            (step,) = job.steps
            run._open_early(step, step.inputs["files"], [])
            summary = run.plans["work"].take()
        finally:
            prestart.close_all()
        plan = Plan.open(directory.step("work").plan)
        assert plan.summary == summary and summary.count == 3
        assert [os.path.basename(path) for i in range(3) for path in plan.load(i)] == [
            "0000.txt",
            "0001.txt",
            "0002.txt",
        ]


@pytest.mark.parametrize("files", [0, 3])
def test_jobs_end_as_if_nothing_had_been_planned_ahead(
    work: Any, files: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planner is killed: the driver plans by itself."""
    work.files(files)
    found = {}
    for name in ("planned", "killed"):
        if name == "killed":
            monkeypatch.setattr(prestart, "call_in_child", _killed)
        run = work.run({"work": work.parallel()}, run_dir=work.folder / name)
        plan = work.folder / name / "steps" / "work" / "plan" / "plan.json"
        document = json.loads(plan.read_text()) if plan.exists() else None
        found[name] = run.status, run.exit_code, run.reason, document
    assert found["planned"] == found["killed"]
    assert found["planned"][0] == ("completed" if files else "failed")


def _killed(*_: object) -> None:
    raise EOFError


def test_the_names_are_written_before_anybody_has_looked(tmp_path: Path) -> None:
    asked = []

    def looked() -> list[Any]:
        asked.append((tmp_path / "plan" / plan_writer.PATHS).stat().st_size > 0)
        return []

    plan_writer.write_plan(tmp_path / "plan", kind="files", paths=["/a", "/b"], stamps=looked)
    assert asked == [True]
