"""The log tree: which files a step has after its events, and which events each step gets."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from daskpar.events import ProcessorState, StepKind, StepStarted, Warned
from daskpar.paths import LogPaths
from daskpar.reports.log_tree import LogTree, logging_level
from daskpar.results import Reason

from .conftest import START, Started, ended, failure, planned, processor, progress, read, sample, tries_ended


def test_a_whole_step_leaves_the_tree_of_azure(logs: LogPaths, started: Started) -> None:
    run = logs.root.parent.parent.parent
    tree = LogTree(run, copy_logs=["score"])
    tree.handle(started(logging_level="INFO"))
    tree.handle(planned(20))
    tree.handle(processor(ProcessorState.READY))
    tree.handle(progress(1, 2))
    tree.handle(tries_ended([(0, None), (1, Reason.EXCEPTION)], (failure(1),)))
    tree.handle(sample({"Cpu Percent": 12.5}))
    tree.handle(ended(planned=20, succeeded=20, items=200))
    tree.close()
    found = {str(path.relative_to(logs.root)) for path in logs.root.rglob("*") if path.is_file()}
    assert found == {
        "readme.txt", "job_progress_overview.2026112313.txt", "job_result.txt", "job_error.txt", "user/error.txt",
        "user/error/0/process001.txt", "sys/master_role.txt", "sys/node/0/_main.txt", "sys/node/0/process000.txt",
        "sys/node/0/process001.txt", "sys/job_report/processed_mini-batches.csv", "sys/job_report/process_summary.csv",
        "sys/job_report/node_summary.csv", "sys/metrics/20261123132001/progress.csv", "sys/perf/0/node_resource_usage.csv",
        "sys/perf/0/node_disk_usage.csv", "sys/perf/0/processes_resource_usage.csv",
    }  # fmt: skip
    copied = {
        str(path.relative_to(run / "logs" / "score"))
        for path in (run / "logs" / "score").rglob("*")
        if path.is_file()
    }
    assert copied == found
    for name in found:
        last = name.split("/")[-1]
        shown = {
            "job_progress_overview.2026112313.txt": "job_progress_overview",
            "process000.txt": "<process>.txt",
        }.get(last, last)
        assert shown.replace("process001", "<process>") in read(logs.readme)


def test_a_command_step_has_a_readme_of_its_own(logs: LogPaths) -> None:
    tree = LogTree(logs.root.parent.parent.parent)
    tree.handle(StepStarted(time=START, step="score", kind=StepKind.COMMAND, folder=str(logs.root.parent)))
    tree.handle(ended("failed", "exit code 2"))
    tree.close()
    found = sorted(str(path.relative_to(logs.root)) for path in logs.root.rglob("*") if path.is_file())
    assert found == [
        "job_progress_overview.2026112313.txt",
        "job_result.txt",
        "readme.txt",
        "sys/master_role.txt",
    ]
    assert "user/std_err.txt" in read(logs.readme)
    assert "user/std_out.txt, user/std_err.txt: what the command wrote" in read(logs.job_result)


def test_events_go_to_their_own_step_and_strangers_nowhere(tmp_path: Path) -> None:
    tree = LogTree(tmp_path)
    for name in ("a", "b"):
        tree.handle(
            StepStarted(time=START, step=name, kind=StepKind.PARALLEL, folder=str(tmp_path / "steps" / name))
        )
    tree.handle(Warned(time=START, step="a", text="only a"))
    tree.handle(Warned(time=START, step="", text="for all"))
    tree.handle(Warned(time=START, step="c", text="unknown"))
    tree.close()
    logs = [read(tmp_path / "steps" / name / "logs" / "sys" / "master_role.txt") for name in ("a", "b")]
    assert [("only a" in log, "for all" in log, "unknown" in log) for log in logs] == [
        (True, True, False),
        (False, True, False),
    ]
    assert not (tmp_path / "steps" / "c").exists()


def test_one_writer_that_fails_leaves_the_others_at_work(
    logs: LogPaths, started: Started, caplog: pytest.LogCaptureFixture
) -> None:
    logs.root.mkdir(parents=True)
    (logs.root / "sys").write_text("a file where a folder should be")
    tree = LogTree(logs.root.parent.parent.parent)
    with caplog.at_level(logging.WARNING):
        tree.handle(started())
        tree.handle(planned(1))
        tree.handle(tries_ended([(1, Reason.EXCEPTION)], (failure(1),)))
        tree.handle(ended("failed", "too many failures"))
        tree.close()
    assert "too many failures" in read(logs.job_result)
    assert "mini-batch 1" in read(logs.user_error)
    assert sorted(record.args[0] for record in caplog.records if record.args) == [
        "JobReport",
        "MasterRole",
        "NodeLogs",
    ]


def test_logging_level_is_found_beside_its_source(started: Started) -> None:
    assert logging_level(started(logging_level="DEBUG (pipeline.yml:31)")) == "DEBUG"
    assert logging_level(started(logging_level=("WARNING", "default"))) == "WARNING"
    assert logging_level(started()) == "INFO"
