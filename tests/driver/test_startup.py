"""What is started before the first step: only what the run will need, and nothing is left of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from daskpar.driver.options import Options
from daskpar.driver.startup import start_servers, started_ahead
from daskpar.jobspec.load import NO_RUN, load_job, resolve_job
from daskpar.processor import prestart

PLACEHOLDERS = (f"{NO_RUN}/",)


def environments() -> list[dict[str, str]]:
    return [found.environment for found in prestart._waiting]


@pytest.mark.parametrize(
    ("variables", "ahead"),
    [({}, [{}]), ({"A": "1"}, [{"A": "1"}]), ({"OUT": "${{outputs.rows}}"}, [])],
    ids=["none", "one", "of a run"],
)
def test_fork_servers_have_the_variables_of_the_run(
    work: Any, variables: dict[str, str], ahead: list[dict[str, str]]
) -> None:
    work.files(1)
    spec = work.spec(
        {"work": work.parallel(environment_variables=variables, outputs={"rows": {"type": "uri_file"}})}
    )
    definition = load_job(spec)
    job = resolve_job(definition, run_directory=Path(work.folder / "run"))
    with started_ahead(definition.preview, Options(), placeholders=PLACEHOLDERS):
        assert environments() == ahead
        start_servers(job, Options())
        assert environments() == [dict(job.steps[0].environment_variables)]
    assert environments() == []


@pytest.mark.parametrize(
    "options", [Options(scheduler="tcp://host:1"), Options(compute="here"), Options(worker_processes=True)]
)
def test_other_machines_start_their_own(work: Any, options: Options) -> None:
    work.files(1)
    with started_ahead(load_job(work.spec({"work": work.parallel()})).preview, options):
        assert environments() == []


def test_a_machine_that_refuses_processes_is_for_the_node_to_tell(
    work: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    work.files(1)
    monkeypatch.setattr(
        prestart, "ForkServer", lambda **_: (_ for _ in ()).throw(OSError("no more processes"))
    )
    with started_ahead(load_job(work.spec({"work": work.parallel()})).preview, Options()):
        assert environments() == []
