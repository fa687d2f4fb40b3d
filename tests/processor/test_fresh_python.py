"""What a script may take for granted, because it holds in a plain `python script.py`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from daskpar.processor.command_process import CommandRunner
from daskpar.processor.fork_server import THREAD_VARIABLES
from daskpar.processor.protocol import LogMessage

pytestmark = pytest.mark.fresh_servers


@pytest.fixture
def script(zoo, tmp_path):
    """Runs one mini-batch of a script; the pool after its orderly end, and what the script left in `out/facts`."""

    def go(text: str, name: str = "my-score.py", **settings):
        (tmp_path / name).write_text(text)
        at = zoo(
            {}, count=1, entry_script=str(tmp_path / name), code=str(tmp_path), run_timeout=30, **settings
        )
        at.submit(0, 1)
        at.wait_ended()
        at.pool.finish()
        assert at.failures == {}
        assert at.of(LogMessage) == []  # nothing was killed, nothing raised at the end
        facts = tmp_path / "out" / "facts"
        return json.loads(facts.read_text()) if facts.exists() else None

    return go


WRITE = "import json, os, pathlib\ndef tell(facts): pathlib.Path(os.environ['AZUREML_BI_OUTPUT_PATH'], 'facts').write_text(json.dumps(facts))\n"


@pytest.mark.parametrize("name", ["score.py", "my-score.py", "2nd score.py"])
def test_a_pool_finds_the_functions_of_the_entry_script(script, name):
    found = script(
        WRITE
        + """
import multiprocessing
def double(x): return 2 * x
def run(batch):
    found = {}
    for method in ("fork", "spawn", "forkserver"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            found[method] = pool.map(double, [1, 2])
    tell(found)
    return batch
""",
        name,
    )
    assert found == {"fork": [2, 4], "spawn": [2, 4], "forkserver": [2, 4]}


@pytest.mark.parametrize(
    "kept",
    [
        "concurrent.futures.ProcessPoolExecutor(1)",
        "concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context('spawn'))",
        "concurrent.futures.ThreadPoolExecutor(1)",
    ],
)
def test_an_executor_that_is_kept_does_not_hold_up_the_end(script, kept):
    """The workers of executors are stopped by hooks of `threading`, for which other exit functions wait."""
    script(f"""
import concurrent.futures, multiprocessing
def init():
    global kept
    kept = {kept}
def run(batch):
    return list(kept.map(abs, batch))
""")


def test_joblib_does_not_hold_up_the_end(script):
    pytest.importorskip("joblib")
    script("""
import joblib
def run(batch):
    return joblib.Parallel(2)(joblib.delayed(abs)(x) for x in batch)
""")


def test_exit_functions_run_in_the_order_of_a_plain_python(script):
    found = script(
        WRITE
        + """
import atexit, threading
order = []
def run(batch): return batch
def init():
    atexit.register(lambda: (order.append("atexit"), tell(order)))
    threading._register_atexit(order.append, "threading")
def shutdown(): order.append("shutdown")
"""
    )
    assert found == ["shutdown", "threading", "atexit"]


@pytest.mark.parametrize(
    ("options", "file", "words"),
    [
        ("filename='mine.log', level=logging.DEBUG", "mine.log", "DEBUG:root:said"),
        ("handlers=[logging.FileHandler('mine.log')], level=10", "mine.log", "DEBUG:root:said"),
        ("stream=sys.stderr, level=logging.DEBUG, format='%(message)s'", "stderr", "said"),
        ("level=logging.DEBUG", "stdout", "|DEBUG|"),
        ("level='DEBUG', format='<%(message)s>'", "stdout", "<said>"),
        ("force=True, filename='mine.log', level='DEBUG'", "mine.log", "DEBUG:root:said"),
    ],
)
def test_what_a_script_says_of_its_log_has_effect(script, tmp_path, options, file, words):
    script(f"""
import logging, sys
def init(): logging.basicConfig({options})
def run(batch):
    logging.debug("said")
    return batch
""")
    place = {
        "mine.log": tmp_path / "work/0/process000/mine.log",
        "stdout": tmp_path / "logs/user/stdout/0/process000.stdout.txt",
        "stderr": tmp_path / "logs/user/stderr/0/process000.stderr.txt",
    }[file]
    assert words in place.read_text()


def test_a_script_that_says_nothing_of_its_log_finds_it_in_its_output(script, tmp_path):
    script("""
import logging
def run(batch):
    logging.basicConfig()
    logging.info("said")
    return batch
""")
    assert (tmp_path / "logs/user/stdout/0/process000.stdout.txt").read_text().endswith("|root|said\n")


def test_every_thread_variable_is_set(script, monkeypatch):
    for variable in THREAD_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    found = script(WRITE + "def run(batch):\n    tell(dict(os.environ))\n    return batch\n", threads=3)
    assert {variable: found.get(variable) for variable in THREAD_VARIABLES} == dict.fromkeys(
        THREAD_VARIABLES, "3"
    )


SIGNALS = """
import signal
def run(batch):
    tell({
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "set": [n for n in signal.valid_signals() if signal.getsignal(n) is not None and callable(signal.getsignal(n))],
        "interrupt": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
        "ignored": [n for n in signal.valid_signals() if signal.getsignal(n) == signal.SIG_IGN],
        "name": signal.signal.__module__,
    })
    return batch
"""


def test_signals_are_those_of_a_fresh_python_whoever_started_the_run(script):
    plain = "import signal; print(*[int(n) for n in signal.valid_signals() if signal.getsignal(n) == signal.SIG_IGN])"
    fresh = subprocess.run([sys.executable, "-c", plain], capture_output=True, text=True, check=True)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGTERM, signal.SIGALRM})
    try:
        found = script(WRITE + SIGNALS)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert found["blocked"] == []
    assert found["set"] == [signal.SIGINT] and found["interrupt"]
    assert found["ignored"] == [int(number) for number in fresh.stdout.split()]
    assert found["name"] == "signal"


def test_a_handler_that_a_script_sets_is_the_one_that_it_finds(script):
    found = script(
        WRITE
        + """
import signal
def mine(number, frame): seen.append(number)
seen = []
def run(batch):
    first = signal.signal(signal.SIGUSR1, mine)
    signal.raise_signal(signal.SIGUSR1)
    tell([first == signal.SIG_DFL, signal.getsignal(signal.SIGUSR1) is mine, signal.signal(signal.SIGUSR1, first) is mine, seen])
    return batch
"""
    )
    assert found == [True, True, True, [signal.SIGUSR1]]


def command(tmp_path, text: str) -> str:
    runner = CommandRunner(
        command=text,
        cwd=str(tmp_path),
        environment=dict(os.environ),
        stdout_path=str(tmp_path / "stdout"),
        stderr_path=str(tmp_path / "stderr"),
        timeout=30,
    )
    assert runner.run() == 0
    return (tmp_path / "stdout").read_text()


def test_a_command_dies_of_a_pipe_that_nobody_reads(tmp_path):
    assert command(tmp_path, "while true; do echo x || echo refused; done | head -n 1") == "x\n"


@pytest.mark.parametrize("field", ["SigBlk", "SigIgn"])
def test_no_signal_is_ignored_or_blocked_in_a_command(tmp_path, field):
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGTERM})
    try:
        line = command(tmp_path, f"grep {field} /proc/self/status")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert int(line.split()[1], 16) == 0


def test_deaths_are_noticed_though_the_run_was_started_with_them_blocked(zoo):
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    try:
        at = zoo({1: "exit"}, count=3)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    at.submit(0, 3)
    at.wait_ended()
    assert sorted(at.failures) == [1]
