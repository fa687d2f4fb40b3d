"""The log tree: which files a step has after its events, and what they say."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from daskpar.events import NodeEvent, ProcessorEvent, Progress, ResourceSample, StepStarted, Warned
from daskpar.paths import LogPaths
from daskpar.reports import user_errors
from daskpar.reports.log_files import append
from daskpar.reports.log_tree import LogTree, logging_level
from daskpar.reports.node_logs import NodeLogs
from daskpar.reports.overview import MasterRole, Overview
from daskpar.reports.resource_log import NODE_COLUMNS, Resources
from daskpar.reports.user_errors import UserErrors, trace_text
from daskpar.results import Counts, Reason

from .conftest import START, ended, failure, planned, tries_ended

Started = Callable[..., StepStarted]


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def progress(after: float, done: int = 0, doing: str = "", **counts: int) -> Progress:
    return Progress(
        time=START + after,
        step="score",
        counts=Counts(planned=20, succeeded=done, **counts),
        running=2,
        doing=doing,
    )


def processor(state: str, number: int = 0, detail: str = "", after: float = 0.5) -> ProcessorEvent:
    return ProcessorEvent(
        time=START + after,
        step="score",
        node=0,
        address="tcp://10.0.0.4:1",
        processor=number,
        pid=4711,
        state=state,
        detail=detail,
    )


def sample(node_usage: dict[str, float], after: float = 1.0) -> ResourceSample:
    processes = ({"Process": "process000", "Pid": 7, "Memory (MB)": 12.34567},)
    return ResourceSample(
        time=START + after,
        step="score",
        node=0,
        node_usage=node_usage,
        disk_usage={"Disk Free (MB)": 5.0},
        processes=processes,
    )


def test_a_whole_step_leaves_the_tree_of_azure(layout: LogPaths, started: Started) -> None:
    run = layout.root.parent.parent.parent
    tree = LogTree(run, copy_logs=["score"])
    tree.hear(started(logging_level="INFO"))
    tree.hear(planned(20))
    tree.hear(processor("ready"))
    tree.hear(progress(1, 2))
    tree.hear(tries_ended([(0, None), (1, Reason.EXCEPTION)], (failure(1),)))
    tree.hear(sample({"Cpu Percent": 12.5}))
    tree.hear(ended(planned=20, succeeded=20, items=200))
    tree.close()
    found = {str(path.relative_to(layout.root)) for path in layout.root.rglob("*") if path.is_file()}
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
        assert shown.replace("process001", "<process>") in read(layout.readme)


def test_events_go_to_their_own_step_and_strangers_nowhere(tmp_path: Path) -> None:
    tree = LogTree(tmp_path)
    for name in ("a", "b"):
        tree.hear(StepStarted(time=START, step=name, kind="parallel", folder=str(tmp_path / "steps" / name)))
    tree.hear(Warned(time=START, step="a", text="only a"))
    tree.hear(Warned(time=START, step="", text="for all"))
    tree.hear(Warned(time=START, step="c", text="unknown"))
    tree.close()
    logs = [read(tmp_path / "steps" / name / "logs" / "sys" / "master_role.txt") for name in ("a", "b")]
    assert [("only a" in log, "for all" in log, "unknown" in log) for log in logs] == [
        (True, True, False),
        (False, True, False),
    ]
    assert not (tmp_path / "steps" / "c").exists()


def test_one_writer_that_fails_leaves_the_others_at_work(
    layout: LogPaths, started: Started, caplog: pytest.LogCaptureFixture
) -> None:
    layout.root.mkdir(parents=True)
    (layout.root / "sys").write_text("a file where a folder should be")
    tree = LogTree(layout.root.parent.parent.parent)
    with caplog.at_level(logging.WARNING):
        tree.hear(started())
        tree.hear(planned(1))
        tree.hear(tries_ended([(1, Reason.EXCEPTION)], (failure(1),)))
        tree.hear(ended("failed", "too many failures"))
        tree.close()
    assert "too many failures" in read(layout.job_result)
    assert "mini-batch 1" in read(layout.user_error)
    assert sorted(record.args[0] for record in caplog.records if record.args) == [
        "JobReport",
        "MasterRole",
        "NodeLogs",
    ]


def test_logging_level_is_found_beside_its_source(started: Started) -> None:
    assert logging_level(started(logging_level="DEBUG (node pipeline.yml:31)")) == "DEBUG"
    assert logging_level(started(logging_level=("WARNING", "default"))) == "WARNING"
    assert logging_level(started()) == "INFO"


def test_overview_says_how_far_it_is(layout: LogPaths, started: Started) -> None:
    overview = Overview(layout)
    phases = [progress(1, doing="listing"), progress(2, doing="listing 40 %"), progress(3)]
    for event in (
        started(),
        planned(20),
        *phases,
        progress(5, 1),
        progress(14, 10),
        ended(planned=20, succeeded=20, items=200),
    ):
        overview.hear(event)
    lines = [line.split(" ", 1)[1] for line in read(layout.overview(START)).splitlines()]
    assert lines == [
        "step score started",
        "20 mini-batches, 200 items; on 1 node with 2 processors",
        "listing; 2 processors busy",
        "nothing processed yet; 2 processors busy",
        "10 of 20 mini-batches processed (50 %), 0 items, 0.8/s, 0:00:13 left",
        "step score completed after 1 min 0 s: 20 of 20 mini-batches succeeded; 200 items",
    ]
    metrics = read(layout.metrics(START + 1)).splitlines()
    assert (
        metrics[0]
        == "Datetime,Total Tasks,Scheduled Tasks,Completed Tasks,Failed Tasks,Elapsed Time,Estimated Remaining Time"
    )
    assert metrics[-1] == "2026-11-23T13:21:00.000000Z,20,20,20,0,60.0,0.0"
    assert read(layout.job_result).startswith("Status: completed\n")


def test_a_command_step_has_a_readme_of_its_own(layout: LogPaths) -> None:
    tree = LogTree(layout.root.parent.parent.parent)
    tree.hear(StepStarted(time=START, step="score", kind="command", folder=str(layout.root.parent)))
    tree.hear(ended("failed", "exit code 2"))
    tree.close()
    found = sorted(str(path.relative_to(layout.root)) for path in layout.root.rglob("*") if path.is_file())
    assert found == [
        "job_progress_overview.2026112313.txt",
        "job_result.txt",
        "readme.txt",
        "sys/master_role.txt",
    ]
    assert "user/std_err.txt" in read(layout.readme)
    assert "user/std_out.txt, user/std_err.txt: what the command wrote" in read(layout.job_result)


def test_the_result_says_running_until_the_end(layout: LogPaths, started: Started) -> None:
    overview = Overview(layout)
    overview.hear(started())
    assert read(layout.job_result) == "Status: running\n"
    overview.hear(ended("failed", "3 failed", failure(7, final=True), planned=9, failed=3))
    text = read(layout.job_result)
    for expected in (
        "Status: failed",
        "Reason: 3 failed",
        "mini-batch 7",
        "data/7.csv",
        'ValueError: bad, "value" 1',
        "job_error.txt",
    ):
        assert expected in text


def test_the_orchestrators_log_keeps_settings_warnings_nodes_and_result(
    layout: LogPaths, started: Started
) -> None:
    lost = NodeEvent(
        time=START, step="score", node=1, address="tcp://b", state="lost", detail="connection closed"
    )
    events = [
        started(timeout="60 (default)"),
        planned(2),
        lost,
        Warned(time=START, step="score", text="a\nwarning"),
        processor("ready"),
    ]
    events += [tries_ended([(0, None)]), ended("failed", "boom")]
    said = {}
    for level in ("DEBUG", "INFO", "WARNING"):
        own = LogPaths(layout.root / level)
        watcher = MasterRole(own, level)
        for event in events:
            watcher.hear(event)
        said[level] = [
            line.split("|")[1] + " " + line.split("|", 4)[4] for line in read(own.master_role).splitlines()
        ]
    assert said["WARNING"] == [
        "WARNING node 1 at tcp://b lost: connection closed",
        "WARNING a warning",
        "ERROR reason: boom",
    ]
    assert "INFO setting timeout = 60 (default)" in said["INFO"]
    assert "DEBUG 0/process000 (pid 4711) ready" in said["DEBUG"]
    assert not [line for line in said["INFO"] if line.startswith("DEBUG")]


@pytest.mark.parametrize(("level", "lines"), [("DEBUG", 5), ("INFO", 3), ("WARNING", 1)])
def test_a_processors_log_by_level(layout: LogPaths, level: str, lines: int) -> None:
    logs = NodeLogs(layout, level)
    logs.hear(processor("ready"))
    logs.hear(tries_ended([(0, None), (1, None), (2, Reason.EXCEPTION), (3, None)], (failure(2),)))
    logs.hear(ended())
    text = read(layout.processor(0, 0)) + (
        read(layout.processor(0, 1)) if layout.processor(0, 1).exists() else ""
    )
    assert len(text.splitlines()) == lines
    assert (
        "ERROR|4711|" in text
        and 'mini-batch 2: EXCEPTION, goes back to the queue: ValueError: bad, "value" 1' in text
    )
    assert layout.node(0).exists() == (level != "WARNING")


def test_debug_names_everything_of_a_try_and_info_sums_a_bulk(layout: LogPaths) -> None:
    for level in ("DEBUG", "INFO"):
        logs = NodeLogs(LogPaths(layout.root / level), level)
        logs.hear(processor("ready"))
        logs.hear(tries_ended([(0, None), (1, None), (2, None)]))
        logs.close()
    debug = read(LogPaths(layout.root / "DEBUG").processor(0, 0)).splitlines()[0]
    assert debug.startswith("2026-11-23 13:20:00,250|DEBUG|4711|")
    assert debug.endswith(
        "|mini-batch 0 ip=tcp://10.0.0.4:1 pid=4711 try=1 status=RUN_DONE total=10 succeeded=10 failed=0 "
        "start=2026-11-23T13:20:00.000000Z duration=0.250000 process_time=0.062500 run_time=0.125000"
    )
    info = read(LogPaths(layout.root / "INFO").processor(0, 0)).splitlines()
    assert [line.split("|", 4)[4] for line in info] == [
        "2 mini-batches done (indices 0 to 2), 20 items, 0.250 s in run(), 0.500 s in all"
    ]


def test_errors_are_written_in_short_in_full_and_by_kind(layout: LogPaths) -> None:
    errors = UserErrors(layout)
    first, second = failure(1, number=1), failure(3, number=3, final=True, time=START + 0.5)
    timeout = failure(2, Reason.TIMEOUT, time=START + 2)
    errors.hear(
        tries_ended(
            [(1, Reason.EXCEPTION), (3, Reason.EXCEPTION), (2, Reason.TIMEOUT)], (first, second, timeout)
        )
    )
    errors.hear(ended("failed"))
    assert read(layout.user_error).splitlines()[1] == (
        '2026-11-23T13:20:00.500000Z 0/process001: mini-batch 3 failed (EXCEPTION): ValueError: bad, "value" 3'
    )
    assert 'File "score.py", line 3, in run' in read(layout.trace(0, 1))
    kinds = read(layout.job_error)
    assert kinds.startswith("3 failed tries of run() or of loading, by kind.")
    assert "1. EXCEPTION: 2 failed tries, 1 of them final. First: mini-batch 3 on 0/process001" in kinds
    assert "2. TIMEOUT: 1 failed try, 0 of them final. First: mini-batch 2 on 0/process000" in kinds


def test_an_equal_trace_is_written_once(layout: LogPaths) -> None:
    errors = UserErrors(layout)
    for index in (4, 6, 8):
        errors.hear(tries_ended([(index, Reason.EXCEPTION)], (failure(index),)))
    text = read(layout.trace(0, 0))
    assert text.count("Traceback") == 1
    assert text.count("trace as for mini-batch 4 above") == 2


def test_errors_do_not_fill_the_disk(layout: LogPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_errors, "FILE_LIMIT_BYTES", 2000)
    errors = UserErrors(layout)
    for index in range(0, 200, 2):
        errors.hear(tries_ended([(index, Reason.EXCEPTION)], (failure(index, number=index),)))
    errors.close()
    for path in (layout.user_error, layout.trace(0, 0)):
        assert path.stat().st_size < 3000
        assert read(path).count("more errors are not written here") == 1
    assert "100 failed tries" in read(layout.job_error)


def test_kinds_beyond_the_kept_ones_are_counted(layout: LogPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_errors, "KINDS_KEPT", 1)
    errors = UserErrors(layout)
    for reason in (Reason.EXCEPTION, Reason.TIMEOUT, Reason.DIED):
        errors.hear(tries_ended([(0, reason)], (failure(0, reason),)))
    errors.close()
    assert "... and 2 failed tries of other kinds" in read(layout.job_error)


def test_a_failing_init_is_an_error_of_the_script(layout: LogPaths) -> None:
    errors = UserErrors(layout)
    errors.hear(processor("init_failed", detail="Traceback ...\nKeyError: 'MODEL'"))
    assert "0/process000: import or init() failed: Traceback ... KeyError: 'MODEL'" in read(layout.user_error)
    assert "    KeyError: 'MODEL'" in read(layout.trace(0, 0))


def test_a_failure_without_a_trace_is_its_message() -> None:
    bare = failure(1)
    text = trace_text(type(bare)(index=1, reason=Reason.DIED, message="killed by SIGSEGV"), 2, START, None)
    assert text == "2026-11-23T13:20:00.000000Z mini-batch 1, try 2: DIED\n    killed by SIGSEGV\n\n"


def test_resources_have_azures_columns_and_a_resumed_step_goes_on_with_its_files(layout: LogPaths) -> None:
    for after in (1.0, 2.0):
        Resources(layout).hear(sample({"Cpu Percent": 12.5, "# of UDP Connections": 3}, after))
    folder = layout.perf(0)
    lines = read(folder / "node_resource_usage.csv").splitlines()
    assert lines[0] == ",".join(NODE_COLUMNS)
    assert lines[1] == "2026-11-23T13:20:01.000000Z,12.5" + ",N/A" * 11 + ",3"
    assert len(lines) == 3
    assert read(folder / "processes_resource_usage.csv").splitlines()[:2] == [
        "Utc Time,Process,Pid,Memory (MB)",
        "2026-11-23T13:20:01.000000Z,process000,7,12.346",
    ]
    assert len(read(folder / "node_disk_usage.csv").splitlines()) == 3


def test_text_that_is_no_utf8_is_kept_readable(tmp_path: Path) -> None:
    append(tmp_path / "deep" / "log.txt", "file \udcff\n")
    assert (tmp_path / "deep" / "log.txt").read_bytes() == b"file \\udcff\n"
