"""What is started before the first step: only what the run will need, and nothing is left of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from daskpar.driver.options import Options
from daskpar.driver.startup import Startup, start_servers, started_ahead
from daskpar.jobspec.load import load_job
from daskpar.processor import prestart
from daskpar.processor.fetching import fetch_ahead


def environments() -> list[dict[str, str]]:
    return [found.environment for found in prestart._waiting]


@pytest.mark.parametrize(
    "variables",
    [{}, {"A": "1"}, {"OUT": "${{outputs.rows}}"}],
    ids=["none", "one", "of a run"],
)
def test_fork_servers_have_the_variables_of_the_run(work: Any, variables: dict[str, str]) -> None:
    work.files(1)
    spec = work.spec(
        {"work": work.parallel(environment_variables=variables, outputs={"rows": {"type": "uri_file"}})}
    )
    job = load_job(spec, run_directory=Path(work.folder / "run"))
    with started_ahead(job, Options()):
        ahead = environments()
        assert [set(found) for found in ahead] == [set(variables)]
        start_servers(job, Options())
        assert environments() == ahead == [dict(job.steps[0].environment_variables)]
    assert environments() == []


@pytest.mark.parametrize(
    "options", [Options(scheduler="tcp://host:1"), Options(compute="here"), Options(worker_processes=True)]
)
def test_other_machines_start_their_own(work: Any, options: Options) -> None:
    work.files(1)
    with started_ahead(load_job(work.spec({"work": work.parallel()})), options):
        assert environments() == []


def test_a_machine_that_refuses_processes_is_for_the_node_to_tell(
    work: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    work.files(1)
    monkeypatch.setattr(
        prestart, "ForkServer", lambda **_: (_ for _ in ()).throw(OSError("no more processes"))
    )
    with started_ahead(load_job(work.spec({"work": work.parallel()})), Options()):
        assert environments() == []


def test_a_run_plans_in_a_server_of_its_own(work: Any) -> None:
    """One of another run in this process has the variables of that one's step."""
    work.files(1)
    job = load_job(work.spec({"work": work.parallel(environment_variables={"A": "1"})}))
    run = Startup(job, work.folder / "run", Options(), {}, "session")
    try:
        prestart.prestart({"A": "of another"}, tabular=True)
        assert run._in_server(os.getpid) == os.getpid()
        start_servers(job, Options())
        assert run._in_server(os.getpid) != os.getpid()
        assert run._in_server(os.getenv, "A") == "1"
        assert sorted(found["A"] for found in environments()) == ["1", "of another"]
    finally:
        prestart.close_all()


@pytest.mark.fresh_servers
def test_a_job_that_begins_with_a_command_leaves_no_early_server_waiting(work: Any) -> None:
    """It would wait, for nobody, until the run ends."""
    work.files(1)
    job = load_job(work.spec({"work": {"type": "command", "command": "true"}}))
    with prestart.started_early(wanted=True):
        (server,) = prestart._unprepared
        with started_ahead(job, Options()):
            assert prestart._unprepared == [] and server.process.returncode is not None


def test_of_a_step_that_was_completed_before_no_fetcher_waits(
    work: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would wait until the run ends, with all that fetch for it."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    data = {"type": "uri_folder", "path": "s3://box/in", "mode": "ro_mount"}
    job = load_job(work.spec({"work": work.parallel(inputs={"files": data})}))
    with started_ahead(job, Options()):
        (fetcher,) = fetch_ahead._waiting
        start_servers(job, Options())
        assert fetch_ahead._waiting == [fetcher]
        start_servers(job, Options(), ["work"])
        assert fetch_ahead._waiting == [] and fetcher.process.returncode is not None
        assert len(prestart._waiting) == 1
