"""Every attribute and program argument of the article's table does what it says."""

from __future__ import annotations

import csv
import json
import threading
from pathlib import Path

import pytest

from daskpar.engine.execution_result import ExecutionResult

MLTABLE = (
    "type: mltable\npaths:\n  - file: ./a.csv\ntransformations:\n  - read_delimited:\n      delimiter: ','\n"
)
FIRST_FAILS = """
import os
def run(mini_batch):
    if "0000" in mini_batch[0]:
        raise ValueError("no such luck")
    return mini_batch
"""
COUNTING = """
import os
def run(mini_batch):
    with open(os.environ["CALLS"], "a") as file:
        file.write("call\\n")
    raise ValueError("no such luck")
"""


def logs_of(ended, step: str = "work") -> Path:
    return ended.logs[step]


@pytest.mark.parametrize("retries", [0, 3])
def test_max_retries_is_the_number_of_tries_after_the_first(work, retries):
    work.files(1)
    step = work.parallel(
        COUNTING,
        retry_settings={"max_retries": retries, "timeout": 10},
        environment_variables={"CALLS": str(work.folder / "calls")},
    )
    ended = work.run({"work": step})
    assert (ended.status, ended.steps["work"].counts.tries_failed) == ("failed", retries + 1)
    assert len(work.rows("calls")) == retries + 1


def test_timeout_ends_a_call_and_names_its_limit(work):
    work.files(2)
    step = work.parallel(
        "import time\ndef run(mini_batch):\n    if '0001' in mini_batch[0]:\n        time.sleep(600)\n    return mini_batch",
        retry_settings={"max_retries": 0, "timeout": 1},
    )
    ended = work.run({"work": step})
    assert (ended.steps["work"].counts.succeeded, ended.steps["work"].counts.failed) == (1, 1)
    failure = ended.steps["work"].first_failure
    assert failure.index == 1
    assert "timeout" in failure.message
    assert "1 s" in failure.message


def write_table(work, files):
    """An MLTable of so many files, of a row each: the number of the file, and 2."""
    for number in range(files):
        work.write(f"table/{number:02}.csv", f"x,y\n{number},2\n")
    work.write(
        "table/MLTable",
        "type: mltable\npaths:\n  - pattern: ./*.csv\ntransformations:\n  - read_delimited:\n      delimiter: ','\n",
    )


def test_timeout_leaves_loading_alone_and_task_overhead_timeout_limits_it(work):
    """A reader that never comes back, as on a share that has gone: the script puts it in the place of ours."""
    write_table(work, 1)
    script = """
    import time
    from daskpar.batches.plan import Plan
    def init():
        Plan.load = lambda *_: time.sleep(600)
    def run(mini_batch):
        return mini_batch
    """
    step = work.parallel(
        script,
        inputs={"files": {"type": "mltable", "path": "./table", "mode": "direct"}},
        mini_batch_size="1kb",
        arguments="--task_overhead_timeout 1",
    )
    ended = work.run({"work": step})
    assert ended.status == "failed"
    assert "task_overhead_timeout" in ended.steps["work"].first_failure.message


@pytest.mark.parametrize("end", ["time.sleep(600)", "os.kill(os.getpid(), 9)"])
def test_a_file_that_can_not_be_read_costs_its_own_mini_batch_though_it_is_read_with_others(work, end):
    """As on a share of which one server hangs: the script puts such a reader in the place of ours."""
    write_table(work, 30)
    script = f"""
    import os, time
    from daskpar.data.formats import byte_source
    class Share:
        def __getattr__(self, name):
            return getattr(os, name)
        def open(self, path, *more):
            if path.endswith("17.csv"):
                {end}
            return os.open(path, *more)
    def init():
        byte_source.os = Share()
    def run(mini_batch):
        return mini_batch
    """
    step = work.parallel(
        script,
        inputs={"files": {"type": "mltable", "path": "./table", "mode": "direct"}},
        mini_batch_size="1kb",
        arguments="--task_overhead_timeout 1",
        retry_settings={"max_retries": 0},
        max_concurrency_per_instance=1,
    )
    ended = work.run({"work": step}, display=False)
    assert ended.status == "completed", ended.reason
    assert ended.failures()["index"].tolist() == [17]
    assert work.rows() == [f"{number} 2" for number in range(30) if number != 17]
    told = "".join(path.read_text() for path in ended.path.rglob("*.txt"))
    assert "read files of several mini-batches together" in told


def test_progress_update_timeout_ends_a_step_that_does_not_move(work):
    work.files(2)
    step = work.parallel(
        "import time\ndef run(mini_batch):\n    time.sleep(600)",
        arguments="--progress_update_timeout 1",
        retry_settings={"max_retries": 0, "timeout": 600},
    )
    ended = work.run({"work": step})
    assert ended.status == "failed"
    assert "progress_update_timeout" in ended.reason


@pytest.mark.parametrize("ahead", [True, False])
def test_first_task_creation_timeout_ends_a_step_whose_input_is_not_listed_in_time(work, monkeypatch, ahead):
    work.files(1)
    listed = threading.Event()
    monkeypatch.setattr("daskpar.driver.startup.may_plan_ahead", lambda *_: ahead)
    monkeypatch.setattr("daskpar.driver.planning_ahead.PlanningAhead.take", lambda _: listed.wait())
    monkeypatch.setattr("daskpar.engine.plan_phase.make_plan", lambda *_, **__: listed.wait())
    ended = work.run({"work": work.parallel(arguments="--first_task_creation_timeout 1")})
    listed.set()
    assert ended.status == "failed"
    assert "first_task_creation_timeout" in ended.reason


def test_first_task_creation_timeout_ends_a_grouping_under_way(work, monkeypatch):
    stopped = threading.Event()

    class Grouping:
        def __init__(self, **_):
            pass

        def stop(self, reason, *, at_once):
            stopped.set()

        def run(self):
            assert stopped.wait(60)
            return ExecutionResult(status="interrupted")

    work.files(1)
    monkeypatch.setattr("daskpar.engine.parallel_step.Execution", Grouping)
    monkeypatch.setattr("daskpar.driver.startup.may_plan_ahead", lambda *_: False)
    monkeypatch.setattr(
        "daskpar.engine.plan_phase.make_plan", lambda *_, execute, **__: execute("pass", [], 1)
    )
    ended = work.run({"work": work.parallel(arguments="--first_task_creation_timeout 1")})
    assert ended.status == "failed"
    assert "grouping the input took longer than 1 s" in ended.reason
    assert stopped.is_set()


def test_error_threshold_is_met_by_the_attribute_and_by_the_argument_which_wins(work):
    work.files(3)
    for attribute, argument, status in [
        (1, "", "completed"),
        (0, "", "failed"),
        (0, "--error_threshold 1", "completed"),
        (5, "--error_threshold=0", "failed"),
    ]:
        ended = work.run(
            {"work": work.parallel(FIRST_FAILS, error_threshold=attribute, arguments=argument)},
            run_dir=work.folder / f"run {attribute}{argument}",
        )
        assert ended.status == status, (attribute, argument, ended.reason)


def test_error_threshold_measures_returns_also_without_append_row_to(work):
    work.files(3)
    step = work.parallel("def run(mini_batch):\n    return []", append=False, error_threshold=2)
    ended = work.run({"work": step})
    assert (ended.status, ended.steps["work"].counts.failed_items) == ("failed", 3)


def test_mini_batch_error_threshold_and_allowed_failed_percent(work):
    work.files(4)
    for number, (settings, arguments, status) in enumerate(
        [
            ({"mini_batch_error_threshold": 1}, "", "completed"),
            ({"mini_batch_error_threshold": 0}, "", "failed"),
            ({}, "--allowed_failed_percent 25", "completed"),
            ({}, "--allowed_failed_percent 24", "failed"),
        ]
    ):
        ended = work.run(
            {"work": work.parallel(FIRST_FAILS, arguments=arguments, **settings)},
            run_dir=work.folder / f"run{number}",
        )
        assert ended.status == status, (settings, arguments, ended.reason)


@pytest.mark.parametrize(
    ("level", "seen"),
    [("DEBUG", ["debug", "info", "warning"]), ("INFO", ["info", "warning"]), ("WARNING", ["warning"])],
)
def test_logging_level_chooses_what_user_logs_hold(work, level, seen):
    work.files(1)
    script = """
    import logging
    from azureml_user.parallel_run import EntryScript
    def run(mini_batch):
        for logger in (EntryScript().logger, logging.getLogger("mine")):
            logger.debug("a debug line")
            logger.info("a info line")
            logger.warning("a warning line")
        return mini_batch
    """
    ended = work.run({"work": work.parallel(script, logging_level=level)})
    user = logs_of(ended) / "user"
    script_log = (user / "entry_script_log/0/process000.log.txt").read_text()
    printed = (user / "stdout/0/process000.stdout.txt").read_text()
    for word in ("debug", "info", "warning"):
        assert (f"a {word} line" in script_log) == (word in seen)
        assert (f"a {word} line" in printed) == (word in seen)


FRAMES = """
import pandas as pd
def run(mini_batch):
    return pd.DataFrame({"name": [path[-8:] for path in mini_batch], "two words": ["x y"] * len(mini_batch)})
"""


def test_append_row_to_writes_frames_separated_by_blanks_and_one_header_on_demand(work):
    work.files(2)
    assert work.run({"work": work.parallel(FRAMES)}).status == "completed"
    assert work.rows() == ['0000.txt "x y"', '0001.txt "x y"']
    step = work.parallel(FRAMES, arguments="--append_row_dataframe_header True")
    assert work.run({"work": step}, run_dir=work.folder / "again").status == "completed"
    assert work.rows() == ['name "two words"', '0000.txt "x y"', '0001.txt "x y"']


def test_append_row_to_writes_one_line_for_each_element_of_a_list_or_tuple(work):
    work.files(3)
    script = "def run(mini_batch):\n    return ([1.5], ('a', 2), ['é'])[int(mini_batch[0][-5])]"
    work.run({"work": work.parallel(script)})
    assert work.rows() == ["1.5", "a", "2", "é"]


def test_copy_logs_to_parent_copies_the_log_tree_to_the_run(work):
    work.files(1)
    ended = work.run(
        {
            "work": work.parallel(arguments="--copy_logs_to_parent True"),
            "other": work.parallel(outputs={"rows": {"type": "uri_file"}}),
        }
    )
    assert (ended.path / "logs/work/job_result.txt").is_file()
    assert (ended.path / "logs/work/user").is_dir()
    assert not (ended.path / "logs/other").exists()


@pytest.mark.parametrize("interval", [0, 1])
def test_resource_monitor_interval_writes_the_use_of_the_node_or_nothing(work, interval):
    work.files(1)
    step = work.parallel("import time\ndef run(mini_batch):\n    time.sleep(1.5)\n    return mini_batch")
    step["task"]["program_arguments"] = f"--resource_monitor_interval {interval}"
    ended = work.run({"work": step})
    perf = logs_of(ended) / "sys/perf/0"
    names = {"node_resource_usage.csv", "node_disk_usage.csv", "processes_resource_usage.csv"}
    assert ({path.name for path in perf.glob("*.csv")} if perf.exists() else set()) == (
        names if interval else set()
    )
    if interval:
        rows = list(csv.reader((perf / "node_resource_usage.csv").read_text().splitlines()))
        assert rows[0][:3] == ["Utc Time", "Cpu Percent", "Memory Total (MB)"]
        assert len(rows) > 1


def test_instance_count_and_max_concurrency_are_nodes_and_processors_on_each(work):
    work.files(40)
    step = work.meeting(4, resources={"instance_count": 2}, max_concurrency_per_instance=2)
    ended = work.run({"work": step})
    assert ended.status == "completed", ended.reason
    rows = [json.loads(row) for row in work.rows()]
    assert len({pid for _, pid, _ in rows}) == 4
    assert len({parent for _, _, parent in rows}) == 2
    assert {path.name for path in (logs_of(ended) / "user/stdout").iterdir()} == {"0", "1"}
    assert {path.name for path in (logs_of(ended) / "user/stdout/1").iterdir()} == {
        "process000.stdout.txt",
        "process001.stdout.txt",
    }


def test_the_report_of_tries_has_one_row_for_each(work):
    work.files(3)
    ended = work.run({"work": work.parallel(FIRST_FAILS, retry_settings={"max_retries": 1, "timeout": 10})})
    text = (logs_of(ended) / "sys/job_report/processed_mini-batches.csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))
    assert len(rows) == 4
    failed = [row for row in rows if row["Status"] != "RUN_DONE"]
    assert [(row["Mini-batch Id"], row["Picked Count"], row["Status"]) for row in failed] == [
        ("0", "1", "RUN_EXCEPTION"),
        ("0", "2", "RUN_EXCEPTION"),
    ]
    assert "no such luck" in failed[0]["Error Message"]
