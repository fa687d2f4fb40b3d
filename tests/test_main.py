"""The command as a process: its exit code, its output whole, what others left for the exit called."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from unittest.mock import Mock

import pytest

from daskpar import cli


def run(*argv: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *argv], capture_output="stdout" not in options, text=True, timeout=60, **options
    )


@pytest.mark.parametrize(
    ("arguments", "code", "stream", "words"),
    [
        (["--version"], 0, "stdout", "daskpar"),
        (["validate", "none.yml"], 2, "stderr", "there is no file none.yml"),
        (["status", "none"], 2, "stderr", "none does not exist"),
        (["validate"], 2, "stderr", "usage:"),
    ],
)
def test_a_command_gives_its_code_and_all_its_words(tmp_path, arguments, code, stream, words):
    ended = run("-m", "daskpar", *arguments, cwd=tmp_path)
    assert ended.returncode == code
    assert words in getattr(ended, stream)


def test_what_was_left_for_the_exit_is_called(tmp_path):
    text = "import atexit, sys; atexit.register(print, 'left for the exit'); sys.argv[1:] = ['validate', 'none.yml']; "
    ended = run("-c", text + "from daskpar.__main__ import main; main()", cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "left for the exit\n")


def test_a_run_that_loads_dask_itself(tmp_path):
    """On several threads at once; whatever else the tests run is forked from a Python that has loaded it."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.txt").write_text("x")
    (tmp_path / "count.py").write_text("def init():\n    pass\ndef run(files):\n    return files\n")
    (tmp_path / "job.yml").write_text(ONE_FILE)
    ended = run("-m", "daskpar", "job.yml", "--run-dir", "run", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr


ONE_FILE = """
type: pipeline
jobs:
  count:
    type: parallel
    inputs: {files: {type: uri_folder, path: ./data}}
    outputs: {rows: {type: uri_file, path: ./rows.txt}}
    input_data: ${{inputs.files}}
    mini_batch_size: "1"
    max_concurrency_per_instance: 1
    task:
      type: run_function
      code: .
      entry_script: count.py
      environment: azureml:any:1
      append_row_to: ${{outputs.rows}}
"""


def test_garbage_is_looked_for_once_a_run_has_started(tmp_path):
    text = """
import gc, sys
import daskpar.__main__ as program
from daskpar import cli
usual = gc.get_threshold()
def command(argv):
    before = gc.get_stats()[0]["collections"], gc.get_threshold() > usual
    few = [[] for _ in range(program.STARTED // 2)]
    none = gc.get_stats()[0]["collections"] == before[0]
    many = [[] for _ in range(program.STARTED)]
    print(before[1], none, gc.get_threshold() == usual, gc.get_freeze_count() > len(few), len(gc.callbacks))
    return 0
cli.run_command = command
program.main()
"""
    ended = run("-c", text, cwd=tmp_path)
    assert (ended.stdout, ended.stderr) == ("True True True True 0\n", "")


@pytest.fixture
def job(tmp_path):
    text = "type: pipeline\njobs: {a: {type: command, command: echo x, environment: azureml:e:1}}\n"
    (tmp_path / "job.yml").write_text(text)


def test_output_that_can_not_be_written_is_no_success(tmp_path, job):
    with open("/dev/full", "w") as full:
        ended = run("-m", "daskpar", "validate", "job.yml", cwd=tmp_path, stdout=full, stderr=subprocess.PIPE)
    assert ended.returncode == 1
    assert "its output could not be written: No space left on device" in ended.stderr


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("validate job.yml >&-", 0),
        ("job.yml --dashboard none --run-dir run >&- 2>&- <&-", 0),
        ("validate none.yml 2>&-", 2),
        ("validate none.yml 2>/dev/full", 2),
        ("job.yml --dashboard none --run-dir run >/dev/null 2>/dev/full", 0),
        ("validate job.yml >/dev/full 2>/dev/full", 1),
    ],
)
def test_streams_that_are_closed_or_full_change_no_other_exit_code(tmp_path, job, command, code):
    ended = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m daskpar {command}"],
        cwd=tmp_path,
        timeout=60,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert (ended.returncode, ended.stderr) == (code, "")


def test_a_system_error_that_has_nothing_to_do_with_output_is_not_taken_for_it(
    tmp_path, job, monkeypatch, capsys
):
    for error in (
        BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"),
        BrokenPipeError(errno.EPIPE, "Broken pipe"),
        TimeoutError(),
    ):
        monkeypatch.setattr("daskpar.pipeline.validate", Mock(side_effect=error))
        with pytest.raises(type(error)):
            cli.main(["validate", str(tmp_path / "job.yml")])
    assert "output" not in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("where", ["in the command", "before it"])
def test_a_signal_during_start_up_ends_it_in_words(tmp_path, number, where):
    """Whichever signal, and also where whoever started the command blocks it."""
    text = f"""
import os, signal, time
signal.pthread_sigmask(signal.SIG_BLOCK, {{{int(number)}, signal.SIGCHLD}})
def hang(*_):
    os.kill(os.getpid(), {int(number)})
    time.sleep(60)
import daskpar.__main__ as program
if {where == "before it"}:
    program._open_closed_streams = hang
else:
    import daskpar.cli
    daskpar.cli.run_command = hang
program.main()
"""
    ended = run("-c", text, cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (130, "daskpar: interrupted before anything ran\n")


@pytest.mark.parametrize("files", [20, 24, 30])
def test_too_few_descriptors_are_said_in_words(tmp_path, files):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.txt").touch()
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "score.py").write_text("def run(batch): return batch\n")
    (tmp_path / "job.yml").write_text(
        "type: pipeline\njobs: {w: {type: parallel, inputs: {d: {type: uri_folder, path: ./data}}, input_data: '${{inputs.d}}', "
        "mini_batch_size: '1', mini_batch_error_threshold: 0, error_threshold: -1, "
        "task: {type: run_function, code: ./code, entry_script: score.py, environment: 'azureml:e:1'}}}\n"
    )
    command = (
        f"ulimit -n {files}; exec {sys.executable} -m daskpar job.yml --quiet --run-dir run --dashboard none"
    )
    ended = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60, env=os.environ
    )
    assert "Traceback" not in ended.stderr
    assert ended.returncode == 0 or (ended.returncode == 3 and "oo many open files" in ended.stderr), (
        ended.stderr
    )
