"""What a resume may take over from the run as it was, and what it must not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import daskpar
from daskpar.driver.options import Options
from daskpar.driver.resume import refuse_moved, reopen
from daskpar.errors import RunDirectoryError
from daskpar.rundir.run_directory import RunDirectory

QUIET: dict[str, Any] = {"dashboard": None, "display": False}


def step(**more: Any) -> dict[str, Any]:
    task = {"type": "run_function", "code": "./code", "environment": "azureml:any:1"}
    return {
        "type": "parallel",
        "max_concurrency_per_instance": 1,
        **more,
        "task": {**task, **more.get("task", {})},
    }


@pytest.fixture
def two_steps(tmp_path: Path) -> Path:
    """A step that fails while `broken` exists, then one over a table."""
    for name in ("data", "code", "table"):
        (tmp_path / name).mkdir()
    (tmp_path / "data" / "a").touch()
    (tmp_path / "broken").touch()
    (tmp_path / "table" / "t.csv").write_text("n\n" + "".join(f"{n}\n" for n in range(1000)))
    (tmp_path / "table" / "MLTable").write_text(
        "paths:\n- file: ./t.csv\ntransformations:\n- read_delimited\n"
    )
    (tmp_path / "code" / "first.py").write_text(
        f"import os\ndef run(mini_batch):\n    assert not os.path.exists({str(tmp_path / 'broken')!r})\n    return mini_batch\n"
    )
    (tmp_path / "code" / "second.py").write_text("def run(mini_batch):\n    return mini_batch\n")
    first = step(
        inputs={"files": {"type": "uri_folder", "path": "./data"}},
        outputs={"done": {"type": "uri_file"}},
        input_data="${{inputs.files}}",
        mini_batch_error_threshold=0,
        retry_settings={"max_retries": 0},
        task={"entry_script": "first.py", "append_row_to": "${{outputs.done}}"},
    )
    second = step(
        inputs={
            "rows": {"type": "mltable", "path": "./table", "mode": "direct"},
            "after": "${{parent.jobs.first.outputs.done}}",
        },
        outputs={"rows": {"type": "uri_file", "path": "./rows.txt"}},
        input_data="${{inputs.rows}}",
        mini_batch_size="1kb",
        task={"entry_script": "second.py", "append_row_to": "${{outputs.rows}}"},
    )
    (tmp_path / "job.yml").write_text(
        yaml.safe_dump({"type": "pipeline", "jobs": {"first": first, "second": second}})
    )
    return tmp_path


def test_a_step_that_never_began_is_planned_from_its_input_as_it_is_now(two_steps: Path) -> None:
    assert daskpar.run(two_steps / "job.yml", run_dir=two_steps / "run", **QUIET).status == "failed"
    (two_steps / "broken").unlink()
    with open(two_steps / "table" / "t.csv", "a") as file:
        file.writelines(f"{n}\n" for n in range(1000, 3000))
    ended = daskpar.resume(two_steps / "run", **QUIET)
    assert ended.status == "completed", ended.reason
    assert (two_steps / "rows.txt").read_text() == "".join(f"{n}\n" for n in range(3000))


def test_relative_paths_of_the_start_mean_the_same_wherever_it_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("spec", "start/here", "start/store/there", "later/late"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "name").write_text(name)
    test = f"test ! -e {tmp_path / 'broken'}"
    step = {
        "type": "command",
        "command": "cat ${{inputs.a}}/name ${{inputs.b}}/name ${{inputs.c}}/name > ${{outputs.o}}/names && "
        + test,
        "environment": "azureml:any:1",
        "inputs": {
            "a": {"type": "uri_folder", "path": "."},
            "b": {"type": "uri_folder", "path": "azureml://datastores/mine/paths/there"},
            "c": {"type": "uri_folder", "path": "."},
        },
        "outputs": {"o": {"type": "uri_folder", "path": "./out"}},
    }
    (tmp_path / "broken").touch()
    (tmp_path / "spec" / "job.yml").write_text(yaml.safe_dump({"type": "pipeline", "jobs": {"c": step}}))
    monkeypatch.chdir(tmp_path / "start")
    overrides = {"jobs.c.inputs.a": "./here", "jobs.c.inputs.c": "./here"}
    options: dict[str, Any] = {
        "overrides": overrides,
        "datastores": {"mine": "./store"},
        "run_dir": tmp_path / "run",
        **QUIET,
    }
    assert daskpar.run("../spec/job.yml", **options).status == "failed"
    (tmp_path / "broken").unlink()
    monkeypatch.chdir(tmp_path / "later")
    ended = daskpar.resume("../run", overrides={"jobs.c.inputs.c": "./late"}, allow_changes=True, **QUIET)
    assert ended.status == "completed", ended.reason
    assert (tmp_path / "spec" / "out" / "names").read_text() == "start/herestart/store/therelater/late"


def test_a_limit_that_does_not_hold_is_warned_of_again(two_steps: Path) -> None:
    spec = yaml.safe_load((two_steps / "job.yml").read_text())
    spec["jobs"]["first"] |= {"mini_batch_timeout": 5, "colour": "blue"}
    (two_steps / "job.yml").write_text(yaml.safe_dump(spec))
    assert daskpar.run(two_steps / "job.yml", run_dir=two_steps / "run", **QUIET).status == "failed"
    opened = reopen(two_steps / "run", Options())
    opened.directory.close()
    assert [warning.path for warning in opened.warnings] == ["jobs.first.mini_batch_timeout"]


def test_a_run_that_ended_before_it_said_how_it_was_started_is_refused_in_words(two_steps: Path) -> None:
    daskpar.run(two_steps / "job.yml", run_dir=two_steps / "run", **QUIET)
    (two_steps / "run" / "started-with.json").unlink()
    with pytest.raises(daskpar.RunDirectoryError, match="Start a new run"):
        daskpar.resume(two_steps / "run", **QUIET)


def test_an_unfinished_command_does_not_take_away_what_another_step_put_below_its_output(
    tmp_path: Path,
) -> None:
    (tmp_path / "broken").touch()
    outer, inner = tmp_path / "out", tmp_path / "out" / "inner"
    first = {
        "type": "command",
        "command": f"echo kept > ${{{{outputs.o}}}}/kept && test -d {inner.parent}",
        "environment": "azureml:any:1",
        "outputs": {"o": {"type": "uri_folder", "path": str(inner)}},
    }
    second = {
        "type": "command",
        "command": f"echo half > ${{{{outputs.o}}}}/half && test ! -e {tmp_path / 'broken'}",
        "environment": "azureml:any:1",
        "inputs": {"i": "${{parent.jobs.first.outputs.o}}"},
        "outputs": {"o": {"type": "uri_folder", "path": str(outer)}},
    }
    (tmp_path / "job.yml").write_text(
        yaml.safe_dump({"type": "pipeline", "jobs": {"first": first, "second": second}})
    )
    assert daskpar.run(tmp_path / "job.yml", run_dir=tmp_path / "run", **QUIET).status == "failed"
    (tmp_path / "broken").unlink()
    ended = daskpar.resume(tmp_path / "run", **QUIET)
    assert ended.status == "completed", ended.reason
    assert (inner / "kept").read_text() == "kept\n"
    assert (outer / "half").read_text() == "half\n"
    assert list(tmp_path.glob("out.unfinished-*/half")), "what the unfinished command left is kept beside"


def test_an_unfinished_command_does_not_take_away_what_was_there_before_it(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "results-of-last-year").write_text("dear")
    step = {
        "type": "command",
        "command": f"echo half > ${{{{outputs.o}}}}/half && test ! -e {tmp_path / 'broken'}",
        "environment": "azureml:any:1",
        "outputs": {"o": {"type": "uri_folder", "path": "./shared"}},
    }
    (tmp_path / "broken").touch()
    (tmp_path / "job.yml").write_text(yaml.safe_dump({"type": "pipeline", "jobs": {"c": step}}))
    for _ in range(2):
        run = tmp_path / "run"
        ended = (
            daskpar.resume(run, **QUIET)
            if run.exists()
            else daskpar.run(tmp_path / "job.yml", run_dir=run, **QUIET)
        )
        assert ended.status == "failed"
    (tmp_path / "broken").unlink()
    assert daskpar.resume(tmp_path / "run", **QUIET).status == "completed"
    assert (tmp_path / "shared" / "results-of-last-year").read_text() == "dear"
    assert [[path.name for path in (tmp_path / f"shared.unfinished-{n}").iterdir()] for n in (1, 2)] == [
        ["half"],
        ["half"],
    ]


def test_a_failed_job_says_so_by_its_exit_code_also_when_nobody_reads_its_words(two_steps: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "daskpar",
        "job.yml",
        "--run-dir",
        "run",
        "--quiet",
        "--dashboard",
        "none",
    ]
    process = subprocess.Popen(command, cwd=two_steps, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    process.stderr.close()
    assert process.wait() == 1


def test_a_run_that_was_on_a_cluster_says_so_when_it_goes_on_here(
    two_steps: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=1, processes=False, dashboard_address=":0", host="127.0.0.1", protocol="tcp"
    ) as cluster:
        address = cluster.scheduler_address
        first = daskpar.run(two_steps / "job.yml", run_dir=two_steps / "run", scheduler=address, **QUIET)
    assert f"resume {two_steps / 'run'} --scheduler {address}" in first.summary
    (two_steps / "broken").unlink()
    assert daskpar.resume(two_steps / "run", dashboard=None).status == "completed"
    said = capsys.readouterr()
    assert f"was started with --scheduler {address}, and goes on on this machine" in said.out + said.err


def test_a_run_that_was_moved_with_its_data_is_told_at_once(tmp_path: Path) -> None:
    """Processors would wait for the data at its old place."""
    with RunDirectory.create(tmp_path / "two", "job", tmp_path / "job.yml") as run:
        refuse_moved(run, {"data": str(run.staged_inputs / "data")})
        with pytest.raises(
            RunDirectoryError, match=r"/two was .*/one when it started.* move it back to .*/one"
        ):
            refuse_moved(run, {"data": f"{tmp_path}/one/inputs/data"})
        (tmp_path / "one").symlink_to(run.path)
        (run.staged_inputs / "data").mkdir(parents=True)
        refuse_moved(run, {"data": f"{tmp_path}/one/inputs/data"})
