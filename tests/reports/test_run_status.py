"""Reading a run directory back: finished, running, crashed, damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from daskpar.driver.result import completed_before
from daskpar.errors import RunDirectoryError, UsageError
from daskpar.events import Event, Progress, StepKind, StepStarted
from daskpar.reports.log_tree import LogTree
from daskpar.reports.run_status import logs_text, status_text
from daskpar.results import Counts, Reason
from daskpar.rundir.run_directory import RunDirectory
from daskpar.rundir.step_folder import StepState

from .conftest import START, ended, failure, planned, tries_ended


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(tmp_path / "run", "iris", tmp_path / "pipeline.yml")


def save(run: RunDirectory, name: str = "score", kind: str = "parallel", **values: object) -> None:
    run.step(name).save(StepState(step=name, kind=kind, started=1.0, **values))  # type: ignore[arg-type]


def write(run: RunDirectory, *events: Event, name: str = "score") -> None:
    tree = LogTree(run.path)
    tree.handle(StepStarted(time=START, step=name, kind=StepKind.PARALLEL, folder=str(run.step(name).path)))
    for event in events:
        tree.handle(event)


def progress(done: int, after: float) -> Progress:
    return Progress(
        time=START + after,
        step="score",
        counts=Counts(planned=20, succeeded=done - 1, failed=1, items=done),
        running=2,
    )


def test_a_completed_run(run: RunDirectory) -> None:
    save(
        run,
        status="completed",
        counts=Counts(planned=2, succeeded=2, items=20),
        seconds=3.5,
        outputs={"scores": "/out/s.txt"},
    )
    save(run, "prep", "command", status="completed", exit_code=0, seconds=0.5)
    run.update(status="completed", exit_code=0, ended=100.0)
    run.close()
    text = status_text(run.path)
    assert text.startswith(f"iris: completed\n  spec: {run.identity.spec}\n  started: ")
    assert "score (parallel): completed after 3.50 s\n  2 of 2 mini-batches succeeded; 20 items\n" in text
    assert "\n  scores: /out/s.txt (nothing is there)\n  logs: " in text
    assert "prep (command): completed after 0.50 s\n  exit code: 0\n" in text
    assert "resume" not in text


@pytest.mark.parametrize("inside", [False, True])
def test_an_output_that_is_gone_is_said(run: RunDirectory, tmp_path: Path, inside: bool) -> None:
    output = tmp_path / "out"
    rows = output / "rows.txt" if inside else output
    save(run, status="completed", outputs={"o": str(output)}, rows=str(rows))
    run.update(status="completed", exit_code=0, ended=100.0)
    run.close()
    rows.parent.mkdir(exist_ok=True)
    rows.write_text("1")
    assert (
        f"  o: {output}\n" in status_text(run.path) + "\n"
        and "no longer" not in completed_before(run).summary
    )
    rows.unlink()
    remark = f"({f'{rows} is' if inside else 'it is'} no longer there, and its rows are gone with it: start a new run)"
    assert (
        f"  o: {output} {remark}\n" in status_text(run.path)
        and f"  o: {output} {remark}\n" in completed_before(run).summary
    )
    run.step("score").parts.mkdir()
    assert (
        f"no longer there; `python -m daskpar export {run.path} --partial FILE --step score` writes"
        in status_text(run.path)
    )


def test_a_step_that_could_not_say_how_it_ended_is_as_its_run(run: RunDirectory) -> None:
    save(run, status="running")
    run.update(status="lost", reason="step score: the disk fails", exit_code=3, ended=100.0)
    run.close()
    assert "score (parallel): lost" in status_text(run.path) and "crashed" not in status_text(run.path)
    assert logs_text(run.path).startswith("score: lost")


def test_a_failed_run_says_why_and_what_to_do(run: RunDirectory) -> None:
    save(run, status="failed", reason="too many\nfailures", counts=Counts(planned=2, failed=2), seconds=3.5)
    run.update(status="failed", reason="step score: too many", exit_code=1, ended=100.0)
    run.close()
    text = status_text(run.path)
    assert (
        "iris: failed" in text
        and "  reason: step score: too many" in text
        and "  reason: too many\n  failures" in text
    )
    assert text.endswith(f"Go on with it: python -m daskpar resume {run.path}")


def test_a_run_that_is_running_and_one_whose_driver_is_gone(run: RunDirectory) -> None:
    save(run, status="running")
    write(run, planned(20), progress(5, 10))
    running = status_text(run.path)
    assert (
        running.startswith("iris: running")
        and "run by: " in running
        and "score (parallel): running" in running
    )
    assert "5 of 20 mini-batches done, 1 of them failed (written 2026-11-23T13:20:10.000000Z)" in running
    run.close()
    crashed = status_text(run.path)
    assert crashed.startswith("iris: crashed (its driver is gone)") and "score (parallel): crashed" in crashed
    assert "5 of 20 mini-batches done" in crashed and "resume" in crashed


def test_steps_that_have_not_started_are_named(run: RunDirectory) -> None:
    run.effective_spec.write_text("jobs: {prep: {}, score: {}, report: {}}")
    save(run, "prep", "command", status="completed")
    save(run, status="running")
    assert status_text(run.path).endswith("\n\nnot started: report")
    with pytest.raises(UsageError, match=r"there is no step 'reprot' in the job of .* Did you mean 'report'"):
        logs_text(run.path, step="reprot")
    with pytest.raises(UsageError, match="step 'report' has not started"):
        logs_text(run.path, step="report")
    run.close()


def test_a_run_before_its_first_step(run: RunDirectory) -> None:
    run.close()
    assert "No step has started." in status_text(run.path)
    assert logs_text(run.path) == "No step has started, so there are no logs yet."


@pytest.mark.parametrize(
    "table", ["", "Datetime,Total Tasks\n", "Datetime,Total Tasks\n2026,x\n", "Datetime,Total"]
)
def test_a_torn_table_of_progress_is_left_out(run: RunDirectory, table: str) -> None:
    save(run, status="running")
    path = run.step("score").logs.root / "sys" / "metrics" / "20260101" / "progress.csv"
    path.parent.mkdir(parents=True)
    path.write_text(table)
    run.close()
    assert "done" not in status_text(run.path).replace("not done", "")


@pytest.mark.parametrize("read", [status_text, logs_text])
def test_a_folder_that_is_no_run_directory(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(RunDirectoryError):
        read(tmp_path)


def test_logs_name_every_file_that_there_is(run: RunDirectory) -> None:
    save(run, status="failed", seconds=3.5)
    tries = tries_ended([(0, None), (1, Reason.EXCEPTION)], (failure(1),))
    write(
        run, planned(2), progress(1, 1), tries, ended("failed", "too many", failure(1), planned=2, failed=1)
    )
    run.close()
    text = logs_text(run.path)
    root = run.step("score").logs.root
    for name in (
        "job_result.txt",
        "job_progress_overview.2026112313.txt",
        "job_error.txt",
        "user/error",
        "sys/master_role.txt",
    ):
        assert str(root / name) in text
    assert str(root / "user" / "stdout") not in text, "nothing was printed"
    assert "  | Status: failed\n  | Reason: too many\n" in text


def test_errors_are_shown_by_kind_with_traces(run: RunDirectory) -> None:
    save(run, status="failed")
    save(run, "prep", "command", status="failed")
    save(run, "fine", status="completed")
    write(run, planned(2), tries_ended([(1, Reason.EXCEPTION)], (failure(1),)), ended("failed", "too many"))
    write(run, name="prep")
    (run.step("prep").logs.root / "job_result.txt").write_text("Status: failed\nReason: exit code 2\n")
    run.close()
    text = logs_text(run.path, errors=True)
    assert "1. EXCEPTION: 1 failed try" in text and "Traceback (most recent call last):" in text
    assert "prep: Status: failed\nReason: exit code 2" in text
    assert "fine: no errors" in text
    assert "prep" not in logs_text(run.path, step="score", errors=True)


def test_long_errors_end_with_where_the_rest_is(run: RunDirectory) -> None:
    save(run, status="failed")
    path = run.step("score").logs.root / "job_error.txt"
    path.parent.mkdir(parents=True)
    path.write_text("line\n" * 1000)
    run.close()
    text = logs_text(run.path, errors=True)
    assert len(text.splitlines()) == 201
    assert text.endswith(f"... the rest is in {path}")


def test_an_unknown_step_is_named_with_the_nearest(run: RunDirectory) -> None:
    save(run, status="running")
    run.close()
    with pytest.raises(UsageError, match=r"'scoer' has not started.*Did you mean 'score'"):
        logs_text(run.path, step="scoer")
    with pytest.raises(UsageError, match=r"Steps that have started: score\."):
        logs_text(run.path, step="zzz")
