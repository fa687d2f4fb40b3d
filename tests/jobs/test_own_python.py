"""Steps that run in a Python of their own: the same rows, kills, resume and faults as in this one."""

from __future__ import annotations

import os
import sys

import dask
import pandas
import pytest

import daskpar
from daskpar.reports.run_facts import facts_of
from other_pythons import PANDAS, of_another_version, with_another_pandas

TABLE = """
paths:
  - file: ./rows.csv
transformations:
  - read_delimited:
      delimiter: ','
      header: all_files_same_headers
"""
WHERE = """
import sys, pandas
def run(frame):
    assert not {"dask", "distributed", "yaml"} & set(sys.modules), "Dask in a processor"
    print("pandas", pandas.__version__, flush=True)
    return frame
"""
FILES = """
import os, signal, sys, time
def run(mini_batch):
    number = int(os.path.basename(mini_batch[0])[:4])
    if number == 2 and not os.path.exists(os.environ["SEEN"]):
        open(os.environ["SEEN"], "w").close()
        time.sleep(1000)
    if number == 3:
        os.kill(os.getpid(), signal.SIGSEGV)
    if number == 4:
        raise ValueError("as written in the script")
    return ["%d %d.%d %s" % ((number,) + sys.version_info[:2] + (sys.executable,))]
"""


@pytest.fixture(scope="session")
def second(pytestconfig, tmp_path_factory) -> str:
    """A Python with another pandas, kept for later sessions."""
    cache = getattr(pytestconfig, "cache", None)  # not there with `-p no:cacheprovider`
    folder = cache.mkdir("other-pythons") if cache is not None else tmp_path_factory.mktemp("pythons")
    return with_another_pandas(folder)


def rows_of_a_table(work) -> None:
    work.write("table/MLTable", TABLE)
    lines = [
        f'{n},{n / 7},"name, {n}",2024-01-{1 + n % 28:02} 10:00:00,{n % 2 == 0},{n or ""}' for n in range(60)
    ]
    work.write("table/rows.csv", "\n".join(["id,x,text,when,flag,gap", *lines, ""]))


def over_the_table(work, name: str, **more):
    return work.parallel(
        WHERE,
        name="where.py",
        arguments="--append_row_format csv",
        inputs={"table": {"type": "mltable", "path": "./table"}},
        input_data="${{inputs.table}}",
        mini_batch_size="1kb",
        outputs={"rows": {"type": "uri_file", "path": f"./{name}.csv"}},
        **more,
    )


def test_each_step_runs_where_it_was_chosen(work, second):
    """Rows of a table are the same to the byte; the command, the plan and the report have that Python too."""
    rows_of_a_table(work)
    steps = {"own": over_the_table(work, "own"), "here": over_the_table(work, "here")}
    steps["told"] = work.command("python -c 'import sys, pandas; print(sys.executable, pandas.__version__)'")
    for name in ("own", "told"):
        (steps[name].get("task") or steps[name])["environment"] = "azureml:scoring:7"
    with dask.config.set({"daskpar.environments.scoring": second}):
        plan = daskpar.plan(work.spec(steps))
        run = work.run(steps)
    about = f"{second} (Python {sys.version.split()[0]}, pandas {PANDAS}"
    assert plan.count(about) == 2
    assert plan.count("is not built") == 1, "of the step that runs here"

    assert run.status == "completed", run.summary
    assert (work.folder / "own.csv").read_bytes() == (work.folder / "here.csv").read_bytes()
    logs = {name: work.folder / "run" / "steps" / name / "logs" / "user" for name in steps}
    assert (logs["told"] / "std_out.txt").read_text() == f"{second} {PANDAS}\n"
    printed = {
        name: {line for path in logs[name].rglob("*.stdout.txt") for line in path.read_text().splitlines()}
        for name in ("own", "here")
    }
    assert printed == {"own": {f"pandas {PANDAS}"}, "here": {f"pandas {pandas.__version__}"}}
    shown = {
        name: dict((row[0], row[1:]) for row in step.sources)
        for name, step in facts_of(run.path).steps.items()
    }
    assert shown["own"]["python"][0].startswith(about), "what the report is made of"
    assert shown["own"]["python"][1] == "daskpar.environments.scoring"
    assert shown["here"]["python"][0].startswith(sys.executable)


def test_kills_crashes_and_a_resume_in_another_version(work, monkeypatch):
    """In the oldest Python that is at hand, and without any package: a hang, a crash, an error, then a resume."""
    other = of_another_version()
    work.files(6)
    step = work.parallel(
        FILES,
        environment_variables={"SEEN": str(work.folder / "seen")},
        retry_settings={"max_retries": 1, "timeout": 1},
        mini_batch_error_threshold=2,
    )
    monkeypatch.chdir(work.folder)
    first = work.run({"work": step}, environments={"any": os.path.relpath(other)}, limit=3)
    assert (first.status, first.counts["work"].succeeded) == ("partial", 3)
    monkeypatch.chdir("/")  # the run knows its Pythons, wherever it is resumed from
    run = daskpar.resume(first, dashboard=None, display=False)
    assert (run.status, run.counts["work"].failed) == ("completed", 2)
    rows = [row.split() for row in work.rows()]
    assert [row[0] for row in rows] == ["0", "1", "2", "5"]
    assert {row[2] for row in rows} == {other}
    assert {row[1] for row in rows} != {f"{sys.version_info[0]}.{sys.version_info[1]}"}
    errors = work.cli("logs", "run", "--errors").stdout
    assert "SIGSEGV" in errors and "as written in the script" in errors
