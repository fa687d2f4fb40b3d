"""One step: only what it made is moved aside, and its code runs after its fingerprint is kept."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from daskpar.driver import step_lifecycle
from daskpar.driver.background_fingerprint import BackgroundFingerprint
from daskpar.driver.step_lifecycle import StepLifecycle
from daskpar.jobspec.load import load_job
from daskpar.results import Status
from daskpar.rundir.run_directory import RunDirectory
from daskpar.rundir.step_folder import StepState

BEGUN = {"values": {"x": 1}, "code": {}}


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
        one = StepLifecycle(
            step=job.steps[1], job=job, directory=directory, session="s", publish=told.append, **nothing
        )
        one._step_run(
            StepState(step="outer", kind="command", status=Status.RUNNING), BackgroundFingerprint(dict, BEGUN)
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
        one = StepLifecycle(
            step=job.steps[1], job=job, directory=directory, session="s", publish=print, **nothing
        )
        running = one._step_run(
            StepState(step="coded", kind="command", status=Status.RUNNING), BackgroundFingerprint(dict, BEGUN)
        )
    assert {str(tmp_path / name) for name in ("data", "out", "own")} <= set(running.data)  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["parallel", "command"])
def test_no_code_of_the_user_runs_before_what_the_step_depends_on_is_written_down(
    work: Any, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    asked_for = threading.Event()
    look, without_inputs = step_lifecycle.fingerprint_without_inputs, BackgroundFingerprint.wait_for_code

    def late(*arguments: Any) -> dict[str, object]:
        assert asked_for.wait(10)
        return look(*arguments)

    def ask(self: BackgroundFingerprint) -> None:
        asked_for.set()
        without_inputs(self)

    monkeypatch.setattr(step_lifecycle, "fingerprint_without_inputs", late)
    monkeypatch.setattr(BackgroundFingerprint, "wait_for_code", ask)
    work.files(1)
    state = work.folder / "run" / "steps" / "work" / "step.json"
    check = f"import json; json.load(open({str(state)!r}))['fingerprint']['code']"
    script = f"def run(mini_batch):\n    {check}\n    return mini_batch\n"
    step = work.parallel(script) if kind == "parallel" else work.command(f'python -c "{check}"')
    ended = work.run({"work": step})
    assert ended.status == "completed", ended.reason
