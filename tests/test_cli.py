"""The command line: verbs, exit codes, and every way of ending, with no process left behind."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import select
import signal
import subprocess
import termios

import psutil
import pytest

from daskpar import cli
from daskpar.cli import main
from daskpar.errors import InfrastructureLost, UsageError
from waiting import until

SLOW = """
import os, pathlib, time
HERE = pathlib.Path(__file__).parent
def run(mini_batch):
    name = os.path.basename(mini_batch[0])
    (HERE / ("called-" + name)).touch()
    if name >= "0005.txt" and not (HERE / "go").exists():
        (HERE / "hangs").touch()
        time.sleep(600)
    return [name]
"""


@pytest.fixture
def slow(work):
    """A job whose mini-batches hang from the sixth on until the file `go` is there, started on the command line.

    Which of those three comes first is the engine's affair.
    """
    work.files(8)
    work.spec({"work": work.parallel(SLOW, retry_settings={"max_retries": 0, "timeout": 3600})})
    work.process = work.start("job.yml", "--run-dir", "run", "--dashboard", "none")
    until((work.folder / "code/hangs").exists, process=work.process)
    yield work
    work.process.kill()
    work.process.wait()
    until(lambda: work.processes() == [])


def test_a_completed_job_says_where_all_is_and_exits_with_0(work):
    work.files(3)
    work.spec({"work": work.parallel()})
    done = work.cli("job.yml", "--dashboard", "none")
    assert done.returncode == 0, done.stderr
    assert "3 of 3 mini-batches succeeded" in done.stdout
    assert str(work.folder / "rows.txt") in done.stdout
    [run] = (work.folder / "runs").iterdir()
    assert str(run) in done.stdout
    assert run.name.startswith("job-")


def test_quiet_shows_the_end_alone(work):
    work.files(1)
    work.spec({"work": work.parallel()})
    done = work.cli("run", "job.yml", "--dashboard", "none", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Completed" in done.stdout


def test_a_failed_job_ends_with_the_first_traceback_and_exits_with_1(work):
    work.files(3)
    work.spec({"work": work.parallel("def run(mini_batch):\n    raise ValueError('bad luck')")})
    done = work.cli("job.yml", "--dashboard", "none", "--run-dir", "run")
    assert done.returncode == 1
    assert "score.py" in done.stderr
    assert "ValueError: bad luck" in done.stderr
    assert "mini-batch 0" in done.stderr
    assert "0000.txt" in done.stderr
    assert str(work.folder / "run/steps/work/logs") in done.stderr
    assert "Traceback" in work.cli("logs", "run", "--errors").stdout
    assert "failed" in work.cli("status", "run").stdout


def test_the_dashboard_answers_at_the_address_that_is_shown(slow):
    """Another job of the same folder, with a dashboard on a free port."""
    import urllib.request

    (slow.folder / "code/go").touch()
    slow.process.send_signal(signal.SIGTERM)
    slow.process.wait()
    (slow.folder / "code/go").unlink()
    (slow.folder / "code/hangs").unlink()
    slow.process = slow.start("job.yml", "--run-dir", "run2", "--dashboard", "127.0.0.1:0")
    until((slow.folder / "code/hangs").exists, process=slow.process)
    address = ""
    while "http://" not in address:
        address = slow.process.stdout.readline()
        assert address, "no address was shown"
    url = "http://" + address.split("http://")[1].split()[0].rstrip(".,;)")
    with urllib.request.urlopen(url, timeout=30) as answer:
        assert answer.status == 200
    (slow.folder / "code/go").touch()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_signal_ends_a_job_cleanly_and_resume_goes_on(slow, number):
    slow.process.send_signal(number)
    said, _ = slow.process.communicate(timeout=30)
    assert slow.process.returncode == 130
    assert "interrupted" in said.lower()
    assert "resume" in said
    assert "Traceback" not in said
    assert not (slow.folder / "rows.txt").exists()
    assert slow.processes() == []
    assert "interrupted" in slow.cli("status", "run").stdout
    assert slow.cli("export", "run", "--partial", "part.txt").returncode == 0
    kept = slow.rows("part.txt")
    # The last result before the hang may not have left the processor; it is run again then.
    assert kept in ([f"{n:04}.txt" for n in range(4)], [f"{n:04}.txt" for n in range(5)])
    for path in (slow.folder / "code").glob("called-*"):
        path.unlink()
    (slow.folder / "code/go").touch()
    done = slow.cli("resume", "run", "--dashboard", "none", "--allow-changes")
    assert done.returncode == 0, done.stderr
    assert slow.rows() == [f"{n:04}.txt" for n in range(8)]
    # What was committed is not run again.
    assert sorted(path.name for path in (slow.folder / "code").glob("called-*")) == [
        f"called-{n:04}.txt" for n in range(len(kept), 8)
    ]


def test_a_closed_terminal_ends_a_job_cleanly_and_resume_goes_on(work):
    """Its own terminal, as a window or a connection that is closed: a hang-up comes, and no word can be written any more."""
    work.files(8)
    work.spec({"work": work.parallel(SLOW, retry_settings={"max_retries": 0, "timeout": 3600})})
    master, terminal = os.openpty()
    process = work.start(
        "job.yml",
        *("--run-dir", "run", "--dashboard", "none"),
        fresh=True,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(terminal)
    hangs = work.folder / "code/hangs"
    while not hangs.exists():
        assert process.poll() is None
        if select.select([master], [], [], 0.05)[0]:
            os.read(master, 4096)
    os.close(master)
    assert process.wait(30) == 130
    until(lambda: work.processes() == [])
    assert "interrupted" in work.cli("status", "run").stdout
    (work.folder / "code/go").touch()
    done = work.cli("resume", "run", "--dashboard", "none")
    assert done.returncode == 0, done.stderr
    assert work.rows() == [f"{n:04}.txt" for n in range(8)]


def test_the_second_ctrl_c_ends_a_job_at_once(work):
    """The script ignores every gentle word."""
    work.files(1)
    script = """
    import pathlib, signal, time
    def run(mini_batch):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        pathlib.Path(__file__).with_name("called").touch()
        while True:
            time.sleep(1)
    """
    work.spec({"work": work.parallel(script, retry_settings={"max_retries": 0, "timeout": 3600})})
    process = work.start("job.yml", "--run-dir", "run", "--dashboard", "none")
    until((work.folder / "code/called").exists, process=process)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert work.processes() == []


def test_a_driver_that_is_killed_takes_its_processes_along(slow):
    children = psutil.Process(slow.process.pid).children(recursive=True)
    slow.process.kill()
    slow.process.wait()
    psutil.wait_procs(children, timeout=10)
    until(lambda: slow.processes() == [])


def test_a_command_ends_with_its_job_and_all_it_started(work):
    work.spec({"work": work.command("sleep 600 & setsid sleep 600 & touch started; wait")})
    process = work.start("job.yml", "--run-dir", "run", "--dashboard", "none")
    until((work.folder / "run/steps/work/work/started").exists, process=process)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert work.processes() == []


def test_ctrl_c_stops_steps_side_by_side_and_skips_what_waits(work):
    work.files(1)
    hang = "import pathlib, time\ndef run(mini_batch):\n    pathlib.Path(__file__).with_name('called').touch()\n    time.sleep(600)"
    step = work.parallel(hang, retry_settings={"max_retries": 0, "timeout": 3600})
    after = work.command("true", inputs={"x": "${{parent.jobs.work.outputs.rows}}"})
    work.spec({"work": step, "beside": work.command("touch started; sleep 600"), "after": after})
    process = work.start("job.yml", "--run-dir", "run", "--dashboard", "none")
    until(
        lambda: (
            (work.folder / "code/called").exists()
            and (work.folder / "run/steps/beside/work/started").exists()
        ),
        process=process,
    )
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 130, said
    status = work.cli("status", "run").stdout
    assert status.count("interrupted") >= 2


def test_a_closed_pipe_is_no_crash(work):
    work.files(1)
    work.spec({"work": work.parallel()})
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as gone:
        done = work.cli(
            "plan", "job.yml", fresh=True, capture_output=False, stdout=gone, stderr=subprocess.PIPE
        )
    assert "Traceback" not in done.stderr


def test_validate_says_what_is_odd_and_runs_nothing(work, capsys):
    work.files(1)
    script = "import pathlib\npathlib.Path(__file__).with_name('imported').touch()\ndef run(mini_batch):\n    return mini_batch\n"
    spec = work.spec(
        {"work": work.parallel(script, colour="blue", arguments="--resource_monitor_interva 20")}
    )
    before = sorted(work.folder.rglob("*"))
    assert main(["validate", str(spec)]) == 0
    said = capsys.readouterr().out
    assert "colour" in said
    assert "--resource_monitor_interval" in said
    assert "no mistakes found" in said
    assert main(["plan", str(spec)]) == 0
    assert sorted(work.folder.rglob("*")) == before


def test_validate_knows_the_configured_datastores_beside_those_given(work, capsys):
    import dask

    work.files(1)
    work.write("store/x.csv", "1")
    side = {"type": "uri_file", "path": "azureml://datastores/configured/paths/x.csv"}
    spec = work.spec(
        {"work": work.parallel(inputs={"files": {"type": "uri_folder", "path": "./data"}, "side": side})}
    )
    with dask.config.set({"daskpar.datastores": {"configured": f"file://{work.folder}/store"}}):
        assert main(["validate", str(spec), "--datastore", "other=/nowhere"]) == 0
    assert main(["validate", str(spec), "--datastore", "other=/nowhere"]) == 2
    assert "the datastore 'configured' is not known here" in capsys.readouterr().err


def test_plan_shows_values_where_they_come_from_and_the_mini_batches(work, capsys):
    work.files(7)
    component = {"type": "parallel", **work.parallel(mini_batch_error_threshold=3, error_threshold=4)}
    step = {"type": "parallel", "component": component, "inputs": component["inputs"], "mini_batch_size": "2"}
    step["component"] = {**component, "inputs": {"files": {"type": "uri_folder"}}, "mini_batch_size": "5"}
    step["component"]["task"] = {**component["task"], "program_arguments": "--error_threshold 9"}
    spec = work.spec({"work": step})
    assert main(["plan", str(spec), "--set", "instance_count=2"]) == 0
    said = capsys.readouterr().out
    lines = {line.split()[0]: line for line in said.splitlines() if line.startswith("  ") and line.split()}
    assert "4 mini-batches of 7 items" in said
    assert "job.yml:" in lines["mini_batch_size"]
    assert "component" in lines["mini_batch_error_threshold"]
    assert "default" in lines["logging_level"]
    assert "argument" in lines["error_threshold"]
    assert "9" in lines["error_threshold"]
    assert "4" in lines["error_threshold"]
    assert "command line" in lines["instance_count"]


def test_plan_shows_what_is_in_force_where_nothing_is_given(work, capsys):
    work.files(1)
    extra = {"environment_variables": {"A": "x y"}, "max_concurrency_per_instance": None}
    step = work.parallel(arguments="--who 'two words' --n ${{inputs.n}}", **extra)
    step["inputs"]["n"] = "${{name}}"
    command = work.command("echo ${{name}}", limits={"timeout": 10}, code="./code")
    spec = work.spec({"work": step, "tell": command})
    assert main(["plan", str(spec)]) == 0
    said = capsys.readouterr().out
    first, second = said.split("step tell:")
    lines = {line.split()[0]: line for line in first.splitlines() if line.startswith("  ") and line.split()}
    assert (
        "--who 'two words' --n RUN_work" in lines["program_arguments"]
        and "job.yml:" in lines["program_arguments"]
    )
    assert "'A=x y'" in lines["environment_variables"] and "job.yml:" in lines["environment_variables"]
    assert "4210.0" in lines["progress_update_timeout"]
    assert " here (cores" in lines["max_concurrency_per_instance"]
    assert all("job.yml:" in lines[name] for name in ("code", "entry_script"))
    assert "input files: uri_folder ro_mount" in first
    lines = {line.split()[0]: line for line in second.splitlines() if line.startswith("  ") and line.split()}
    assert "10.0" in lines["limits.timeout"] and "job.yml:" in lines["limits.timeout"]
    assert "echo RUN_tell" in lines["command"] and "job.yml:" in lines["code"]


def test_a_plan_that_can_not_be_made_ends_with_exit_code_2_when_all_is_shown(work, capsys):
    work.write("table/a.csv", "Store,Brand\n1,x\n")
    work.write(
        "table/MLTable", "paths:\n  - file: ./a.csv\ntransformations:\n  - read_delimited: {delimiter: ','}\n"
    )
    table = {"files": {"type": "mltable", "path": "./table", "mode": "direct"}}
    spec = work.spec(
        {
            "work": work.parallel(inputs=table, partition_keys=["Stor"], mini_batch_size=None),
            "tell": work.command("echo hi"),
        }
    )
    assert main(["plan", str(spec)]) == 2
    said = capsys.readouterr()
    assert "mini-batches can't be planned" in said.out and "echo hi" in said.out
    assert "Stor" in said.err and "Did you mean 'Store'" in said.err


def test_set_changes_inputs_and_settings(work):
    work.files(3)
    script = """
    import argparse
    parser = argparse.ArgumentParser()
    parser.add_argument("--word")
    known, _ = parser.parse_known_args()
    def run(mini_batch):
        return [known.word] * len(mini_batch)
    """
    step = work.parallel(script, arguments="--word ${{inputs.word}}")
    step["inputs"]["word"] = "${{parent.inputs.word}}"
    work.spec({"work": step}, inputs={"word": "hello"})
    done = work.cli(
        "job.yml",
        "--dashboard",
        "none",
        "--quiet",
        "--set",
        "inputs.word=bye you",
        "--set",
        "jobs.work.mini_batch_size=3",
    )
    assert done.returncode == 0, done.stderr
    assert work.rows() == ["bye you"] * 3
    [run] = (work.folder / "runs").iterdir()
    assert "1 of 1 mini-batch succeeded" in work.cli("status", str(run)).stdout + done.stdout


def test_a_spec_in_another_folder_finds_what_lies_beside_it(work, monkeypatch, tmp_path_factory):
    work.files(2)
    work.spec({"work": work.parallel()})
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    done = work.cli(str(work.folder / "job.yml"), "--dashboard", "none", "--quiet", cwd=elsewhere)
    assert done.returncode == 0, done.stderr
    assert work.rows() == ["0000.txt", "0001.txt"]
    assert [path.name for path in elsewhere.iterdir()] == ["runs"]


def test_a_scheduler_that_nobody_answers_at_is_infrastructure_lost(work, monkeypatch, capsys):
    monkeypatch.setattr("daskpar.engine.cluster.CONNECT_SECONDS", 1)
    work.files(1)
    spec = work.spec({"work": work.parallel()})
    assert main([str(spec), "--scheduler", "tcp://127.0.0.1:9", "--run-dir", str(work.folder / "run")]) == 3
    assert "no Dask scheduler answers at 'tcp://127.0.0.1:9'" in capsys.readouterr().err


def test_help_and_version(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert main([]) == 2
    assert "daskpar resume RUN" in capsys.readouterr().out


def test_each_verb_is_on_the_page_of_all_and_has_one_of_its_own(capsys):
    assert main([]) == 2
    page = capsys.readouterr().out
    for name, verb in cli.VERBS.items():
        assert f"daskpar {verb.usage}" in page
        with pytest.raises(SystemExit) as ended:
            main([name, "--help"])
        assert ended.value.code == 0
        assert f"usage: daskpar {name} " in capsys.readouterr().out


def test_a_cluster_is_chosen_in_one_way(work, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["run", "job.yml", "--scheduler", "tcp://a:1", "--worker-processes"])
    assert ended.value.code == 2
    assert "not allowed with argument" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UsageError("bad"), 2, "daskpar: bad\n"),
        (InfrastructureLost("gone"), 3, "daskpar: gone\n"),
        (KeyboardInterrupt(), 130, "daskpar: interrupted before anything ran\n"),
    ],
)
def test_an_error_becomes_a_message_and_its_exit_code(monkeypatch, capsys, error, code, message):
    def fail(arguments):
        raise error

    failing = dataclasses.replace(cli.VERBS["status"], handler=fail)
    monkeypatch.setattr(cli, "VERBS", {**cli.VERBS, "status": failing})
    assert main(["status", "run"]) == code
    assert capsys.readouterr() == ("", message)
