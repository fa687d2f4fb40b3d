"""The logs of processors that were killed: nothing that was written is lost, and each line says whose it is."""

from __future__ import annotations

import os
import re

import pytest

from daskpar.processor.protocol import ProcessorChanged
from daskpar.processor.stacks import open_stacks, read_stacks
from daskpar.results import InitFailed

HALF = """
import ctypes, os, sys, time
def run(mini_batch):
    sys.stdout.write("half a line, ")
    print("and more of it", end="")
    sys.stderr.write("half an error")
    END
"""
SLOW_INIT = """
import os, time
def init():
    if os.environ["DASKPAR_PROCESSOR"] == "process001":
        time.sleep(3600)
def run(mini_batch):
    return ["done"]
"""


def script(folder, text):
    (folder / "code").mkdir(exist_ok=True)
    path = folder / "code" / "own.py"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    "end", ["time.sleep(3600)", "os._exit(1)", "ctypes.string_at(0)", "os.kill(os.getpid(), 9)"]
)
def test_the_half_line_before_an_end_is_kept(zoo, tmp_path, end):
    own = script(tmp_path, HALF.replace("END", end))
    at = zoo({}, count=1, entry_script=own, run_timeout=1.0 if "sleep" in end else 60.0)
    at.submit(0, 1)
    at.wait_ended()
    assert (
        tmp_path / "logs/user/stdout/0/process000.stdout.txt"
    ).read_text() == "half a line, and more of it"
    assert (tmp_path / "logs/user/stderr/0/process000.stderr.txt").read_text() == "half an error"


def test_stacks_of_each_killed_processor_stay_and_the_last_ones_are_told(zoo, tmp_path):
    at = zoo({0: "hang", 1: "segfault", 2: "exit"}, count=3, run_timeout=2.0)
    for block in range(3):
        at.submit(block, block + 1, block=block)
        at.wait_ended(block)
    text = (tmp_path / "logs/sys/node/0/process000.stacks.txt").read_text()
    pids = [str(m.pid) for m in at.of(ProcessorChanged) if m.state == "started"]
    told = re.findall(r"^--- process (\d+) started .+Z ---$", text, re.MULTILINE)
    assert told[:3] == pids[:3]
    assert text.index("in hang") < text.index("in segfault")
    assert "in hang" in at.failures[0].trace and "in segfault" not in at.failures[0].trace
    assert "in segfault" in at.failures[1].trace and "in hang" not in at.failures[1].trace
    assert at.failures[2].trace == ""


def test_a_file_of_stacks_that_is_larger_than_what_is_read_of_it(zoo, tmp_path):
    settings = zoo({}).settings
    path = settings.log_paths.stacks(0, 0)
    for word in ("first", "last"):
        fd = open_stacks(path)
        os.write(fd, (f"{word}\n" * 100_000).encode())
        os.close(fd)
    assert set(read_stacks(settings, 0).split()[1:]) == {"last"}


def test_a_processor_that_nobody_needed_says_so(zoo, tmp_path):
    at = zoo({}, count=1, processors=2, entry_script=script(tmp_path, SLOW_INIT))
    at.submit(0, 1)
    at.wait_ended()
    at.wait(lambda said: any(m.processor == 1 for m in said if isinstance(m, ProcessorChanged)))
    at.pool.finish()
    ended = {m.processor: m.detail for m in at.of(ProcessorChanged) if m.state == "ended"}
    assert ended[0] == ""
    assert ended[1].startswith("not needed any more")
    assert at.of(InitFailed) == []


@pytest.mark.parametrize("what", ["init", "run"])
@pytest.mark.parametrize("fault", ["raise", "hang"])
def test_the_log_that_an_error_names_holds_its_trace(work, what, fault):
    does = {"raise": "raise ValueError('here it is')", "hang": "here_it_is()"}[fault]
    work.files(1)
    step = work.parallel(
        f"""
import time
def here_it_is():
    time.sleep(3600)
def init():
    {does if what == "init" else "pass"}
def run(mini_batch):
    {does}
""",
        retry_settings={"max_retries": 0, "timeout": 1},
        arguments="--init_timeout 1",
    )
    run = work.run({"s": step})
    assert run.status == "failed"
    result = (work.folder / "run/steps/s/logs/job_result.txt").read_text()
    log = re.search(r"  log: (.+)", result)[1]
    with open(log) as file:
        assert re.search("here.it.is", file.read())
