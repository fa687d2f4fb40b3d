"""One mini-batch in this process: what its script finds there, where the debugger stops, what is left behind."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

import daskpar
from daskpar.driver.measure import measure

SURROUNDINGS = """
import argparse, json, logging, multiprocessing, os, signal, sys, tempfile
from azureml_user.parallel_run import EntryScript
import beside
STARTED = []
def init():
    STARTED.append("init")
    logging.info("ready")
def run(mini_batch, mini_batch_context):
    helper = EntryScript()
    yield "first"
    yield json.dumps({
        "argv": sys.argv, "name": __name__, "file": __file__, "main": __name__ == "__main__", "started": STARTED,
        "beside": beside.__file__, "path": [p for p in sys.path if p and "site-packages" not in p],
        "variables": {name: value for name, value in os.environ.items() if name in (
            "FLAVOUR", "OMP_NUM_THREADS", "POLARS_MAX_THREADS", "ARROW_DEFAULT_MEMORY_POOL", "DASKPAR_PROCESSOR",
            "AZUREML_BI_OUTPUT_PATH", "MLFLOW_TRACKING_URI")},
        "folder": os.getcwd(), "empty": os.listdir("."), "temporary": os.path.isdir(tempfile.gettempdir()),
        "process": multiprocessing.current_process().name, "agent": helper.agent_name, "level": helper.logging_level,
        "output_dir": str(helper.output_dir), "working_dir": str(helper.working_dir),
        "index": mini_batch_context.minibatch_index, "keys": mini_batch_context.partition_key_value,
        "same": mini_batch_context.dataset is mini_batch, "batch": list(mini_batch), "task": mini_batch.task_id,
        "interrupts": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
        "unloaded": "dask" not in sys.modules,
    })
"""

FAILING = """
import json, os, sys
def init():
    print("begun")
def shutdown():
    print("shut down")
def run(mini_batch):
    names = [os.path.basename(path) for path in mini_batch]
    if os.environ.get("WRITES"):
        open(mini_batch[0], "a").write("changed")
    if names == ["0001.txt"]:
        return json.loads("{")
    if names == ["0002.txt"]:
        breakpoint()
    if names == ["0003.txt"]:
        import pdb; pdb.set_trace()
    if names == ["0004.txt"]:
        names = [input("your name: ")]
    if names == ["0005.txt"]:
        os.kill(os.getpid(), 2)
    if names == ["0006.txt"]:
        return []
    open(os.path.join(sys.argv[-1], names[0]), "w").write("made")
    return names
"""


def failing(work, **more):
    """A job of eight mini-batches, most of which need a person."""
    work.files(8)
    made = {
        "rows": {"type": "uri_file", "path": "./rows.txt"},
        "made": {"type": "uri_folder", "path": "./made"},
    }
    step = work.parallel(FAILING, outputs=made, arguments="--made ${{outputs.made}}", **more)
    return {"work": step, "other": work.command("true")}


def untouched(work) -> bool:
    """Whether neither outputs nor inputs were written."""
    inputs = [path.read_text() for path in sorted((work.folder / "data").iterdir())]
    return inputs == [f"{number}\n" for number in range(8)] and not any(
        (work.folder / name).exists() for name in ("rows.txt", "made", "runs")
    )


def leavings(said: str) -> str:
    """The folder in which something was kept; empty where nothing was."""
    kept = re.search(r"^kept: (\S+) ", said, re.MULTILINE)
    return kept[1] if kept else ""


def test_the_script_finds_what_it_finds_in_a_run(work):
    work.files(4)
    work.write("code/beside.py", "")
    work.write("beside.py", "raise ValueError('the one in the current folder')")
    step = work.parallel(
        SURROUNDINGS,
        arguments="--rows ${{outputs.rows}} --text 'a b'",
        environment_variables={"FLAVOUR": "sweet", "POLARS_MAX_THREADS": "7"},
        mini_batch_size="2",
        outputs={"rows": {"type": "uri_file", "path": "./rows.jsonl"}},
        task={
            "type": "run_function",
            "code": "./code",
            "entry_script": "score.py",
            "environment": "azureml:any:1",
            "program_arguments": "--append_row_format text --error_threshold 4",
            "append_row_to": "${{outputs.rows}}",
        },
    )
    run = work.run({"work": step}).check()
    done = work.cli("debug", "run", "--mini-batch", "0003.txt", fresh=True)
    assert done.returncode == 0, done.stdout + done.stderr
    real = json.loads(work.rows("rows.jsonl")[3])
    row = next(line for line in done.stdout.splitlines() if line.startswith("{"))
    scratch = re.search(r"outputs go to (\S+)", done.stdout)[1]
    assert not leavings(done.stdout) and not os.path.exists(scratch)
    here = row.replace(f"{scratch}/steps/work/outputs/rows", str(work.folder)).replace(scratch, str(run.path))
    here = json.loads(here)
    # An import finds the code first, and nothing in the current folder; what comes after is the same.
    assert here.pop("path")[0] == real.pop("path")[0] == str(work.folder / "code")
    assert here == real


def test_a_person_at_a_terminal(work):
    """Stops in the user's frame, although the exception was raised in a library; nothing is written anywhere."""
    work.spec(failing(work))
    ours, theirs = pty.openpty()
    process = work.start(
        *("debug", "job.yml", "--mini-batch", "0001.txt"),
        fresh=True,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said = ""

    def answer(prompt: str, text: str) -> None:
        nonlocal said
        seen = len(said)
        while prompt not in said[seen:]:
            said += os.read(ours, 4096).decode()
        os.write(ours, f"{text}\n".encode())

    answer("(Pdb) ", "p names")
    answer("(Pdb) ", "down")
    answer("(Pdb) ", "q")
    try:
        while piece := os.read(ours, 4096).decode():
            said += piece
    except OSError:  # the terminal is closed
        pass
    os.close(ours)
    assert process.wait() == 1, said
    assert "step work, mini-batch 1 of 8: 0001.txt" in said and "begun" in said
    assert "run() failed: JSONDecodeError" in said
    first, second = said.index("score.py(12)run()"), said.index("json/__init__.py")
    traceback = said.index("Traceback (most recent call last)")
    assert traceback < first and "['0001.txt']" in said[first:] and said.index("loads()", first) > first
    assert second and "daskpar/driver" not in said
    assert untouched(work) and not leavings(said)


@pytest.mark.parametrize(
    ("mini_batch", "options", "typed", "code", "expected"),
    [
        (
            "0000.txt",
            ["--pdb"],
            "p mini_batch\nc\n",
            0,
            ["score.py(8)run()", "data/0000.txt']", "it succeeds: 1 of 1"],
        ),
        ("0000.txt", ["--pdb"], "q\n", 130, ["left in the debugger"]),
        ("0002.txt", [], "p names\nc\n", 0, ["['0002.txt']", "0002.txt\nit succeeds"]),
        ("0004.txt", [], "Ada\n", 0, ["your name: ", "Ada\nit succeeds"]),
        (
            "0005.txt",
            [],
            "p names\nq\n",
            130,
            ["KeyboardInterrupt", "['0005.txt']", "interrupted: the mini-batch"],
        ),
        ("0006.txt", [], "", 1, ["it fails: run() returned 0 elements for 1 items", "shut down"]),
    ],
)
def test_what_is_typed(work, mini_batch, options, typed, code, expected):
    work.spec(failing(work))
    done = work.cli("debug", "job.yml", "--mini-batch", mini_batch, *options, input=typed)
    assert done.returncode == code, done.stdout + done.stderr
    missing = [text for text in expected if text not in done.stdout + done.stderr]
    assert not missing, done.stdout + done.stderr
    kept = leavings(done.stdout)
    assert bool(kept) == (code == 0 and "0006" not in mini_batch)
    if kept:
        made = "Ada" if mini_batch == "0004.txt" else mini_batch
        assert (Path(kept) / "steps/work/outputs/made" / made).read_text() == "made"
        subprocess.run(["rm", "-r", kept], check=True)
    assert untouched(work)


def test_a_breakpoint_in_a_run_names_the_command_that_stops_there(work):
    alone = failing(work, max_concurrency_per_instance=1)  # so that the first one fails first
    run = work.run(alone, mini_batches="1-6")
    failures = work.folder / "run/steps/work/logs/user/error.txt"
    told = failures.read_text()
    for index, what in ((2, "BreakpointReached: breakpoint()"), (3, "BdbQuit"), (4, "EOFError")):
        command = f"python -m daskpar debug {run.path} --step work --mini-batch {index}"
        assert any(what in line and command in line for line in told.splitlines()), told
    assert run.counts["work"].failed == 6
    done = work.cli("debug", "run", input="q\n")
    assert (
        "step work, mini-batch 1 of 8" in done.stdout
        and "in the run it failed: JSONDecodeError" in done.stdout
    )


def test_inputs_can_not_be_changed(work):
    """As in a run: read-only where this machine allows that; copies are the try's own."""
    from daskpar.processor.private_mounts import can_mount

    jobs = failing(work, environment_variables={"WRITES": "1"})
    work.spec(jobs)
    if can_mount():
        done = work.cli("debug", "job.yml")
        assert done.returncode == 1 and "Read-only file system" in done.stdout
    jobs["work"]["inputs"]["files"]["mode"] = "download"
    work.spec(jobs)
    done = work.cli("debug", "job.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (Path(leavings(done.stdout)) / "steps/work/input-copies").exists()
    subprocess.run(["rm", "-r", leavings(done.stdout)], check=True)
    assert untouched(work)


TABLE = """
import pathlib, sys
def init():
    pathlib.Path(sys.argv[2], "begun").touch()
def run(rows, context):
    if len(rows) == 0 or context.partition_key_value == {"store": 2}:
        raise KeyError(context.partition_key_value)
    return rows.assign(half=rows["n"] / 2)
"""


@pytest.fixture
def table(work):
    """A step that gets groups of rows, and what else it may be asked for."""
    work.write("table/part.csv", "store,n\n" + "".join(f"{row % 3},{row}\n" for row in range(9)))
    work.write(
        "table/MLTable",
        "paths: [{file: ./part.csv}]\ntransformations: [{read_delimited: {delimiter: ','}}]\n",
    )
    step = work.parallel(
        TABLE,
        inputs={"files": {"type": "mltable", "path": "${{parent.inputs.rows}}", "mode": "direct"}},
        outputs={
            "rows": {"type": "uri_file", "path": "./rows.parquet"},
            "made": {"type": "uri_folder", "path": "./made"},
        },
        partition_keys=["store"],
        mini_batch_size=None,
        arguments="",
    )
    step["task"]["program_arguments"] = "--made ${{outputs.made}} --resource_monitor_interval 0"
    top = {"inputs": {"rows": {"type": "mltable", "path": "./table"}}}
    work.spec({"work": step, "other": work.parallel(name="other.py", inputs=step["inputs"])}, **top)
    return work


def test_from_python(table, monkeypatch, capsys):
    import dask.dataframe
    import pandas

    monkeypatch.chdir(table.folder)
    before = (os.getcwd(), dict(os.environ), list(sys.argv), list(sys.path))
    frame = daskpar.mini_batch("job.yml", "store=1", step="work")
    assert frame["n"].tolist() == [1, 4, 7]
    assert daskpar.mini_batch("job.yml", {"store": 2}, step="work")["n"].tolist() == [2, 5, 8]
    tried = daskpar.debug("job.yml", step="work")
    assert tried.succeeded and (tried.step, tried.index) == ("work", 0)
    assert tried.returned["half"].tolist() == [0, 1.5, 3]
    assert pandas.read_parquet(io.BytesIO(tried.appended)).equals(tried.returned)
    assert (tried.folder / "steps/work/outputs/made/begun").exists() and not (table.folder / "made").exists()
    subprocess.run(["rm", "-r", tried.folder], check=True)
    assert "store int64, n int64, half float64" in capsys.readouterr().out

    # A collection, and a script that was mended meanwhile; the debugger finds nobody at the end of its input.
    rows = dask.dataframe.from_pandas(pandas.DataFrame({"store": [5, 2], "n": [1, 2]}), npartitions=2)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    failed = daskpar.debug("job.yml", "store=2", step="work", inputs={"rows": rows})
    assert not failed.succeeded and isinstance(failed.error, KeyError)
    table.write("code/score.py", "def run(rows):\n    return rows")
    again = daskpar.debug("job.yml", "store=2", step="work", inputs={"rows": rows})
    assert again.succeeded and again.folder is None
    assert (os.getcwd(), dict(os.environ), list(sys.argv), list(sys.path)) == before
    for path in (failed.folder,):
        subprocess.run(["rm", "-r", path], check=True)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("job.yml", {}, "several steps have mini-batches: work, other"),
        ("job.yml", {"step": "wrok"}, "Did you mean 'work'"),
        ("job.yml", {"step": "work", "mini_batch": "store=9"}, "no mini-batch has store=9"),
        ("job.yml", {"step": "work", "port": 70000}, "is no port"),
        ("none.yml", {}, "no spec and no run directory"),
        ("table", {}, "is not a run directory"),
    ],
)
def test_what_can_not_be_tried(table, monkeypatch, source, options, message):
    monkeypatch.chdir(table.folder)
    with pytest.raises(daskpar.DaskparError, match=message):
        daskpar.debug(source, **options)
    assert not list(table.folder.glob("runs"))


def test_a_command_has_no_mini_batches(work):
    work.spec({"one": work.command("true")})
    with pytest.raises(daskpar.UsageError, match="a command has no mini-batches"):
        daskpar.debug(work.folder / "job.yml")


def test_an_input_that_another_step_writes(work):
    first = work.command("seq 3 > ${{outputs.out}}/a.txt", outputs={"out": {"type": "uri_folder"}})
    inputs = {"files": {"type": "uri_folder", "path": "${{parent.jobs.first.outputs.out}}"}}
    jobs = {"first": first, "work": work.parallel(inputs=inputs)}
    with pytest.raises(daskpar.UsageError, match=r"reads what step first writes .*run the job .*debug"):
        daskpar.debug(work.spec(jobs))
    run = work.run(jobs).check()
    with pytest.raises(daskpar.UsageError, match=r"no mini-batch of .* has failed"):
        daskpar.debug(run)
    assert daskpar.mini_batch(run, "a.txt") == [str(run.path / "steps/first/outputs/out/a.txt")]
    assert daskpar.debug(run, 0).appended == b"a.txt\n"


def test_an_input_of_which_a_run_has_written_some(work, capsys):
    work.files(3)
    rows = {"files": {"type": "uri_folder", "path": "${{parent.jobs.work.outputs.rows}}"}}
    jobs = {"work": work.parallel(), "after": work.parallel(inputs=rows, name="after.py")}
    jobs["after"]["outputs"] = {"rows": {"type": "uri_file", "path": "${{parent.outputs.last}}"}}
    top = {"outputs": {"last": {"type": "uri_file"}}}
    run = daskpar.run(
        work.spec(jobs, **top), limit=1, run_dir=work.folder / "run", dashboard=None, display=False
    )
    with pytest.raises(daskpar.UsageError, match=r"is not there: step work is partial in that run .*resume"):
        daskpar.debug(run, 0, step="after")
    work.write("rows.txt", "of an earlier run\n")
    daskpar.debug(run, 0, step="after")
    said = capsys.readouterr().out
    assert "rows.txt) is not complete: step work is partial" in said and "no step writes" not in said


JOINED = """
def run(rows):
    if 5 in set(rows.id):
        raise ValueError("five")
    rows["id"] = 0
    return rows[["price"]]
"""


def test_columns_before_the_rows_and_items_that_failed_alone(work, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    work.write("table/part.csv", "id,price\n" + "".join(f"{row},{row}.5\n" for row in range(9)))
    work.write(
        "table/MLTable",
        "paths: [{file: ./part.csv}]\ntransformations: [{read_delimited: {delimiter: ','}}]\n",
    )
    step = work.parallel(
        JOINED,
        inputs={"files": {"type": "mltable", "path": "./table", "mode": "direct"}},
        outputs={
            "rows": {"type": "uri_file", "path": "./rows.csv"},
            "bad": {"type": "uri_folder", "path": "./bad"},
        },
        mini_batch_size="24",
        error_threshold=9,
        retry_settings={"max_retries": 0},
        arguments="--append_row_format csv --append_row_join id --append_row_index True "
        "--isolate_failed_items True --failed_items_to ${{outputs.bad}}",
    )
    spec = work.spec({"work": step})
    # What would be appended is what a run appends.
    assert daskpar.debug(spec, 0).appended.startswith(b"minibatch_index,id,price\n0,0,0.5\n0,1,1.5\n")

    found = measure(spec, 9, {}, {})["work"]
    assert len(found.failed) == 1 and not found.failed & found.seconds.keys()

    # All that is asked for, and no more: nothing at the place of an output looks complete.
    run = work.run({"work": step}, limit=2)
    assert run.status == "partial" and not (work.folder / "bad/MLTable").exists()
    assert "five" in (run.path / "steps/work/failed_items.jsonl").read_text()
    whole = daskpar.resume(run, dashboard=None, display=False).check()
    assert (work.folder / "bad/MLTable").exists() and "python -m daskpar debug" in whole.summary
    capsys.readouterr()
    tried = daskpar.debug(whole)
    assert isinstance(tried.error, ValueError)
    assert "in the run it failed: ValueError: five" in capsys.readouterr().out
    daskpar.debug(whole, str(tried.index))
    assert "in the run it failed: ValueError: five" in capsys.readouterr().out


def test_a_job_without_a_file_and_what_it_wrote_into_an_output_of_the_pipeline(work, monkeypatch):
    monkeypatch.chdir(work.folder)
    work.files(2)
    script = "import pathlib, sys\ndef run(mini_batch):\n    pathlib.Path(sys.argv[2], 'made.txt').touch()\n    return mini_batch"
    step = work.parallel(script, outputs={"made": {"type": "uri_folder", "path": "${{parent.outputs.made}}"}})
    step["task"]["program_arguments"] = "--made ${{outputs.made}}"
    step["task"].pop("append_row_to")
    job = {"type": "pipeline", "outputs": {"made": {"type": "uri_folder"}}, "jobs": {"work": step}}
    assert [Path(path).name for path in daskpar.mini_batch(job, 1)] == ["0001.txt"]
    tried = daskpar.debug(job)
    assert tried.succeeded and [path.name for path in tried.folder.rglob("*.txt")] == ["made.txt"]
    subprocess.run(["rm", "-r", tried.folder], check=True)
    with pytest.raises(daskpar.UsageError, match="a job can't be of type int"):
        daskpar.mini_batch(7)


def test_an_editor(work, monkeypatch, capsys):
    work.files(1)
    spec = work.spec({"work": work.parallel()})
    monkeypatch.setitem(sys.modules, "debugpy", None)
    with pytest.raises(daskpar.UsageError, match="pip install debugpy"):
        daskpar.debug(spec, port=5678)
    calls = []
    editor = types.ModuleType("debugpy")
    editor.listen = lambda address: calls.append(address) or address
    editor.wait_for_client = lambda: calls.append("waits")
    monkeypatch.setitem(sys.modules, "debugpy", editor)
    assert daskpar.debug(spec, port=5678).succeeded
    assert calls == [("127.0.0.1", 5678), "waits"]
    assert "waiting for a debugger at 127.0.0.1:5678" in capsys.readouterr().out


SLEEPING = """
import os, time
def run(mini_batch):
    time.sleep(0.01)
    if mini_batch[0].endswith("0007.txt"):
        raise ValueError("bad luck")
    return ["x" * 99] * len(mini_batch)
"""


def test_a_few_on_the_side_say_what_the_whole_takes(work):
    from daskpar.driver.plan_text import plan_text

    work.files(40)
    jobs = {"work": work.parallel(SLEEPING, mini_batch_error_threshold=0, mini_batch_size="2")}
    spec = work.spec(jobs | {"after": work.command("cat ${{parent.jobs.work.outputs.rows}}")})
    found = measure(spec, 5, {}, {})
    assert list(found) == ["work"]
    seen = found["work"]
    assert sorted([*seen.seconds, *seen.failed]) == [2, 6, 10, 14, 18] and not seen.trouble
    assert (
        seen.time_on(1).value
        > 0.2
        > 0.05
        > seen.time_on(20).value - seen.init_seconds - max(seen.seconds.values())
    )
    assert seen.peak_bytes > 1 << 20
    text, troubles = plan_text(spec, {}, {}, measured=found)
    assert not troubles
    for line in ("measured: 5 of 20 mini-batches (2, 6, 10, 14, 18)", "about 40 rows, 3.9 kB", "how sure: ±"):
        assert line in text, text
    assert sorted(path.name for path in work.folder.iterdir()) == ["code", "data", "job.yml"]


def test_what_fails_can_not_be_measured(work):
    work.files(2)
    spec = work.spec({"work": work.parallel("def run(mini_batch):\n    raise ValueError('bad luck')")})
    done = work.cli("plan", str(spec), "--measure", "5")
    assert done.returncode == 1
    assert "could not be measured: no mini-batch succeeded" in done.stderr and "bad luck" in done.stdout
