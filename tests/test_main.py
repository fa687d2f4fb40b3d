"""The command as a process: its exit code, its output whole, what others left for the exit called."""

from __future__ import annotations

import subprocess
import sys

import pytest


def run(*argv: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *argv], capture_output="stdout" not in options, text=True, timeout=60, **options)


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


def test_output_that_can_not_be_written_is_no_success(tmp_path):
    (tmp_path / "job.yml").write_text("type: pipeline\njobs: {a: {type: command, command: echo, environment: azureml:e:1}}\n")
    with open("/dev/full", "w") as full:
        ended = run("-m", "daskpar", "validate", "job.yml", cwd=tmp_path, stdout=full, stderr=subprocess.PIPE)
    assert ended.returncode == 1
    assert "its output could not be written: No space left on device" in ended.stderr
