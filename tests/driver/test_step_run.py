"""One step: what it depends on is never written down after its end, and only what it made is moved aside before it is run again."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from daskpar.driver import step_run
from daskpar.driver.step_run import OneStep, Seen
from daskpar.errors import UsageError
from daskpar.jobspec.load import load_job
from daskpar.rundir.run_directory import RunDirectory
from daskpar.rundir.step_folder import StepState

BEGUN = {"values": {"x": 1}, "code": {}}


def test_what_is_found_is_saved_while_the_step_runs() -> None:
    saved: list[Mapping[str, object]] = []
    seen = Seen(lambda: {"data": {"count": 2}}, BEGUN)
    seen.start(saved.append)
    assert seen.close() == {**BEGUN, "inputs": {"data": {"count": 2}}}
    assert saved == [seen.close()]
    assert seen.gap == ""


def test_what_is_found_too_late_is_not_saved() -> None:
    saved: list[Mapping[str, object]] = []
    found = threading.Event()

    def find() -> Mapping[str, object]:
        found.wait()
        return {"data": {}}

    seen = Seen(find, BEGUN)
    seen.start(saved.append)
    assert seen.close(0) == BEGUN
    assert "in time" in seen.gap
    found.set()
    assert seen.close() == BEGUN
    assert saved == []


def test_all_but_the_input_files_is_saved_first() -> None:
    saved: list[Mapping[str, object]] = []
    go_on = threading.Event()

    def find() -> Mapping[str, object]:
        go_on.wait()
        return {"data": {}}

    seen = Seen(find, {}, lambda: BEGUN)
    seen.start(saved.append)
    seen.begun()
    assert saved == [BEGUN]
    go_on.set()
    assert seen.close() == {**BEGUN, "inputs": {"data": {}}}
    assert saved == [BEGUN, seen.close()]


@pytest.mark.parametrize("refuses", ["begin", "save"])
def test_nothing_of_the_user_runs_where_what_it_depends_on_can_not_be_written_down(refuses: str) -> None:
    def fail(*_: object) -> Mapping[str, object]:
        raise UsageError("no room")

    begin = fail if refuses == "begin" else lambda: BEGUN
    seen = Seen(lambda: pytest.fail("looked at"), {}, begin)
    seen.start(fail)
    with pytest.raises(UsageError, match="no room"):
        seen.begun()
    assert seen.close() == {} and "(no room)" in seen.gap


def test_what_an_earlier_process_found_is_not_looked_at_again() -> None:
    seen = Seen(lambda: pytest.fail("looked at again"), {**BEGUN, "inputs": {}})
    seen.start(lambda _: pytest.fail("saved again"))
    assert seen.close() == {**BEGUN, "inputs": {}}


@pytest.mark.parametrize(
    "error", [UsageError("no such bucket"), OSError("no such bucket"), ValueError("no such bucket")]
)
def test_what_can_not_be_looked_at_says_why(error: Exception) -> None:
    def find() -> Mapping[str, object]:
        raise error

    seen = Seen(find, BEGUN)
    seen.start(lambda _: pytest.fail("saved"))
    assert seen.close() == BEGUN
    assert "(no such bucket)" in seen.gap


def command(text: str, path: Path, **more: Any) -> dict[str, Any]:
    outputs = {"o": {"type": "uri_folder", "path": str(path)}}
    return {"type": "command", "command": text, "environment": "azureml:any:1", "outputs": outputs, **more}


def test_a_command_whose_node_was_lost_keeps_what_other_steps_put_below_its_output(tmp_path: Path) -> None:
    out = tmp_path / "out"
    jobs = {"inner": command("true", out / "inner"), "outer": command("true", out)}
    (tmp_path / "job.yml").write_text(yaml.safe_dump({"type": "pipeline", "jobs": jobs}))
    for name in ("inner/kept", "half"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).touch()
    with RunDirectory.create(tmp_path / "run", "job", tmp_path / "job.yml") as directory:
        job = load_job(tmp_path / "job.yml", run_directory=directory.path)
        told: list[Any] = []
        nothing: dict[str, Any] = {
            "cluster": None,
            "ready": None,
            "datastores": {},
            "resumed": False,
            "allow_changes": False,
        }
        one = OneStep(
            step=job.steps[1], job=job, directory=directory, session="s", publish=told.append, **nothing
        )
        one._running(
            StepState(step="outer", kind="command", status="running"), Seen(dict, BEGUN)
        ).before_again()  # type: ignore[union-attr]
    assert (out / "inner" / "kept").exists() and not (out / "half").exists()
    assert (tmp_path / "out.unfinished-1" / "half").exists()
    assert [event.text for event in told] == [
        f"What the unfinished step outer left in {out} is now {out}.unfinished-1."
    ]


def test_what_any_step_of_the_job_reads_or_writes_is_no_code_of_a_command(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    reads = {"inputs": {"d": {"type": "uri_folder", "path": str(tmp_path / "data")}}}
    jobs = {
        "reader": command("ls ${{inputs.d}}", tmp_path / "out", **reads),
        "coded": command("true", tmp_path / "own", code=str(tmp_path)),
    }
    (tmp_path / "job.yml").write_text(yaml.safe_dump({"type": "pipeline", "jobs": jobs}))
    with RunDirectory.create(tmp_path / "run", "job", tmp_path / "job.yml") as directory:
        job = load_job(tmp_path / "job.yml", run_directory=directory.path)
        nothing: dict[str, Any] = {
            "cluster": None,
            "ready": None,
            "datastores": {},
            "resumed": False,
            "allow_changes": False,
        }
        one = OneStep(step=job.steps[1], job=job, directory=directory, session="s", publish=print, **nothing)
        running = one._running(StepState(step="coded", kind="command", status="running"), Seen(dict, BEGUN))
    assert {str(tmp_path / name) for name in ("data", "out", "own")} <= set(running.data)  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["parallel", "command"])
def test_no_code_of_the_user_runs_before_what_the_step_depends_on_is_written_down(
    work: Any, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    asked_for = threading.Event()
    look, begun = step_run.begun_fingerprint, Seen.begun

    def late(*arguments: Any) -> dict[str, object]:
        assert asked_for.wait(10)
        return look(*arguments)

    def ask(self: Seen) -> None:
        asked_for.set()
        begun(self)

    monkeypatch.setattr(step_run, "begun_fingerprint", late)
    monkeypatch.setattr(Seen, "begun", ask)
    work.files(1)
    state = work.folder / "run" / "steps" / "work" / "step.json"
    check = f"import json; json.load(open({str(state)!r}))['fingerprint']['code']"
    script = f"def run(mini_batch):\n    {check}\n    return mini_batch\n"
    step = work.parallel(script) if kind == "parallel" else work.command(f'python -c "{check}"')
    ended = work.run({"work": step})
    assert ended.status == "completed", ended.reason
