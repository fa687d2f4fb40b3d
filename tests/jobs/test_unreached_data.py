"""Storage that goes away in mid-run: nothing is charged, other nodes go on, and what lasts can be resumed."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import daskpar
from s3_bucket import Bucket, s3_bucket
from waiting import until

SCRIPT = """
import os, pathlib, time
calls = pathlib.Path(os.environ["FOLDER"], "calls")
def run(mini_batch):
    with calls.open("a") as opened:
        opened.write("call\\n")
    time.sleep(0.05)
    return [str(item) for item in (mini_batch["a"] if hasattr(mini_batch, "columns") else mini_batch)]
"""


def job(folder: Path, data: dict[str, Any], **settings: Any) -> Path:
    """A job of 24 mini-batches that takes a second; the spec."""
    (folder / "code").mkdir()
    (folder / "code" / "script.py").write_text(SCRIPT)
    arguments = settings.pop("arguments", "")
    step = {
        "type": "parallel",
        "inputs": {"data": data},
        "outputs": {"rows": {"type": "uri_file", "path": "./rows.txt"}},
        "input_data": "${{inputs.data}}",
        "max_concurrency_per_instance": 2,
        "retry_settings": {"max_retries": 0, "timeout": 60},
        "environment_variables": {"FOLDER": str(folder)},
        "task": {
            "type": "run_function",
            "code": "./code",
            "entry_script": "script.py",
            "environment": "azureml:any:1",
            "program_arguments": f"--resource_monitor_interval 0 {arguments}",
            "append_row_to": "${{outputs.rows}}",
        },
        **settings,
    }
    (folder / "job.yml").write_text(yaml.safe_dump({"type": "pipeline", "jobs": {"work": step}}))
    return folder / "job.yml"


def local_folder(folder: Path) -> dict[str, Any]:
    (folder / "data").mkdir()
    for number in range(24):
        (folder / "data" / f"{number:02d}.txt").write_text("text")
    return {"type": "uri_folder", "path": "./data", "mode": "ro_mount"}


def calls(folder: Path) -> int:
    return len((folder / "calls").read_text().split()) if (folder / "calls").exists() else 0


def run(spec: Path, **options: Any) -> Any:
    return daskpar.run(
        spec, **{"run_dir": spec.parent / "run", "dashboard": None, "display": False, **options}
    )


def rows(folder: Path) -> int:
    return len((folder / "rows.txt").read_text().split())


def meanwhile(work: Any) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_a_folder_that_goes_away_and_comes_back_costs_nothing(tmp_path: Path) -> None:
    spec = job(tmp_path, local_folder(tmp_path), mini_batch_size="1")

    def plot() -> None:
        until(lambda: calls(tmp_path) >= 4)
        (tmp_path / "data").rename(tmp_path / "away")
        log = tmp_path / "run" / "steps" / "work" / "logs" / "sys" / "master_role.txt"
        until(lambda: log.exists() and "can't reach its data" in log.read_text())
        (tmp_path / "away").rename(tmp_path / "data")

    plotting = meanwhile(plot)
    ended = run(spec)
    plotting.join()
    counts = ended.steps["work"].counts
    assert (ended.status, counts.succeeded, counts.tries_failed) == ("completed", 24, 0)
    assert rows(tmp_path) == 24 and ended.steps["work"].notes == ()


def test_one_that_stays_away_ends_the_step_lost_and_is_resumed(tmp_path: Path) -> None:
    spec = job(tmp_path, local_folder(tmp_path), mini_batch_size="1", arguments="--progress_update_timeout 3")

    def plot() -> None:
        until(lambda: calls(tmp_path) >= 4)
        (tmp_path / "data").rename(tmp_path / "away")

    plotting = meanwhile(plot)
    ended = run(spec)
    plotting.join()
    assert (ended.status, ended.exit_code) == ("lost", 3)
    assert ended.steps["work"].counts.tries_failed == 0
    assert "no data was reached for" in ended.reason and "resume" in ended.reason
    (tmp_path / "away").rename(tmp_path / "data")
    again = daskpar.resume(tmp_path / "run", dashboard=None, display=False)
    assert again.status == "completed" and rows(tmp_path) == 24


def hides_folders() -> bool:
    """Whether this process may give a child a mount of its own."""
    try:
        done = subprocess.run(
            ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[str]:
    """The address of a scheduler with three workers, one of which sees an empty folder in place of the data."""
    from distributed import Client, LocalCluster

    def look_a_second() -> None:
        from daskpar.rundir import probe

        probe.PATIENCE_SECONDS = 1.0

    hide = f'mount -t tmpfs none "{tmp_path / "data"}" && exec "$@"'
    with LocalCluster(
        n_workers=2, threads_per_worker=2, dashboard_address="127.0.0.1:0", processes=True
    ) as cluster:
        worker = [sys.executable, "-m", "distributed.cli.dask_worker", cluster.scheduler_address]
        with subprocess.Popen(
            [
                "unshare",
                "-rm",
                "sh",
                "-c",
                hide,
                "sh",
                *worker,
                "--no-nanny",
                "--no-dashboard",
                "--nthreads",
                "2",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as hidden:
            until(lambda: len(cluster.scheduler.workers) == 3, "the worker that sees no data", process=hidden)
            with Client(cluster, set_as_default=False) as client:
                client.run(look_a_second)
            yield cluster.scheduler_address
            hidden.kill()


@pytest.mark.skipif(not hides_folders(), reason="this kernel gives no mount namespace to this user")
@pytest.mark.timeout(180)
def test_a_node_that_does_not_see_the_data_is_passed_over(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    spec = job(tmp_path, local_folder(tmp_path), mini_batch_size="1", resources={"instance_count": 3})
    ended = run(spec, scheduler=request.getfixturevalue("scheduler"))
    counts = ended.steps["work"].counts
    assert (ended.status, counts.succeeded, counts.tries_failed) == ("completed", 24, 0), ended.summary


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A bucket of 24 small CSV files."""
    with s3_bucket(monkeypatch) as found:
        for number in range(24):
            found.put(f"data/{number:02d}.csv", b"a\n1\n2\n")
        yield found


def table_in(folder: Path) -> dict[str, Any]:
    (folder / "table").mkdir()
    (folder / "table" / "MLTable").write_text(
        yaml.safe_dump({"paths": [{"folder": "s3://box/data/"}], "transformations": ["read_delimited"]})
    )
    return {"type": "mltable", "path": "./table", "mode": "direct"}


@pytest.mark.timeout(180)
def test_a_store_that_is_down_for_a_while_costs_nothing(tmp_path: Path, store: Bucket) -> None:
    spec = job(tmp_path, table_in(tmp_path), mini_batch_size="1kb")

    def plot() -> None:
        until(lambda: calls(tmp_path) >= 4)
        store.stop()
        log = tmp_path / "run" / "steps" / "work" / "logs" / "sys" / "master_role.txt"
        until(lambda: log.exists() and "can't reach its data" in log.read_text())
        store.start()

    plotting = meanwhile(plot)
    ended = run(spec)
    plotting.join()
    counts = ended.steps["work"].counts
    assert (ended.status, counts.succeeded, counts.tries_failed) == ("completed", 24, 0)
    assert rows(tmp_path) == 48


@pytest.mark.timeout(180)
def test_objects_that_change_or_go_fail_by_name(tmp_path: Path, store: Bucket) -> None:
    spec = job(tmp_path, table_in(tmp_path), mini_batch_size="1kb")

    def plot() -> None:
        until(lambda: calls(tmp_path) >= 1)
        store.put("data/22.csv", b"a\n8\n9\n")  # of the same size
        store.delete("data/23.csv")

    plotting = meanwhile(plot)
    ended = run(spec)
    plotting.join()
    counts = ended.steps["work"].counts
    assert (counts.succeeded, counts.failed, counts.retried) == (22, 2, 0)
    assert "2 mini-batches failed because a file was not what was planned" in ended.summary
    assert not {"8", "9"} & set((tmp_path / "rows.txt").read_text().split())


@pytest.mark.timeout(180)
def test_a_store_that_is_down_when_a_later_step_plans_ends_the_run_lost(
    tmp_path: Path, store: Bucket
) -> None:
    """What an earlier step has done is kept, and `resume` goes on when the store is there again."""
    table_in(tmp_path)
    spec = job(
        tmp_path, {"type": "mltable", "path": "${{parent.jobs.first.outputs.table}}", "mode": "direct"}
    )
    content = yaml.safe_load(spec.read_text())
    content["jobs"]["work"]["mini_batch_size"] = "1kb"
    content["jobs"]["first"] = {
        "type": "command",
        "command": f"cp {tmp_path}/table/MLTable ${{{{outputs.table}}}}/MLTable",
        "environment": "azureml:any:1",
        "outputs": {"table": {"type": "mltable"}},
    }
    spec.write_text(yaml.safe_dump(content))
    store.stop()
    ended = run(spec)
    assert (ended.status, ended.exit_code) == ("lost", 3), ended.summary
    assert ended.steps["first"].status == "completed" and "can't be listed" in ended.reason
    store.start()
    again = daskpar.resume(tmp_path / "run", dashboard=None, display=False)
    assert again.status == "completed" and rows(tmp_path) == 48
