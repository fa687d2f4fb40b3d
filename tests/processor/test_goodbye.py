"""SIGTERM to all processes of a job: who dies with the node is not charged, who dies alone is."""

from __future__ import annotations

import os
import signal

import pytest

from daskpar.processor import goodbye
from daskpar.processor.protocol import ProcessorChanged
from daskpar.results import Reason
from waiting import until


def _terminate(at) -> None:
    until(lambda: 1 in at.calls, "the call")
    [pid] = [m.pid for m in at.messages if isinstance(m, ProcessorChanged) and m.state == "ready"]
    os.kill(pid, signal.SIGTERM)


def test_a_processor_that_dies_with_its_node_costs_no_try(zoo, monkeypatch):
    monkeypatch.setattr(goodbye, "GOODBYE_SECONDS", 600.0)
    at = zoo({1: "hang"}, count=3)
    at.submit(0, 3)
    _terminate(at)
    # Nothing is said of this death yet.
    until(lambda: not any(one.ready and not zoo.gone(one.pid) for one in list(at.pool.processors)), "its end")
    at.pool.close()
    at.wait_ended()
    assert at.accounted(0, 3) and not at.failures


def test_one_that_dies_alone_has_failed(zoo, monkeypatch):
    monkeypatch.setattr(goodbye, "GOODBYE_SECONDS", 0.05)
    at = zoo({1: "hang"}, count=3)
    at.submit(0, 3)
    _terminate(at)
    at.wait_ended()
    assert {index: failure.reason for index, failure in at.failures.items()} == {1: Reason.DIED}
    assert "SIGTERM" in at.failures[1].message


SCRIPT = """
import os, signal, sys, time
stopped = []
def handler(*_):
    HOW
    stopped.append(1)
def init():
    signal.signal(signal.SIGTERM, handler)
def run(batch):
    if batch == [1]:
        print("at it", flush=True)
        while not stopped:
            time.sleep(0.01)
        raise RuntimeError("told to stop")
    return batch
"""


@pytest.mark.parametrize(
    ("how", "goes"),
    [
        ("os._exit(7)", True),
        ("sys.exit(0)", True),
        ("pass", True),
        ("os._exit(7)", False),
        ("sys.exit(0)", False),
    ],
    ids=["ends with its node", "raises with it", "notes it with it", "ends alone", "raises alone"],
)
def test_a_script_that_takes_the_signal_itself(zoo, tmp_path, monkeypatch, how, goes):
    """What comes of the call counts only where its node stays."""
    monkeypatch.setattr(goodbye, "GOODBYE_SECONDS", 600.0 if goes else 0.05)
    script = tmp_path / "term.py"
    script.write_text(SCRIPT.replace("HOW", how))
    at = zoo({}, count=3, entry_script=str(script), code=str(tmp_path))
    at.submit(0, 3)
    log = tmp_path / "logs/user/stdout/0/process000.stdout.txt"
    until(lambda: log.exists() and "at it" in log.read_text(), "the call that waits")
    [pid] = [m.pid for m in at.messages if isinstance(m, ProcessorChanged) and m.state == "ready"]
    os.kill(pid, signal.SIGTERM)
    if goes:
        [processor] = list(at.pool.processors)
        until(lambda: zoo.gone(pid) or processor.page.terminated() > 0, "the signal")
        at.pool.close()
    at.wait_ended()
    assert at.accounted(0, 3)
    assert set(at.failures) == (set() if goes else {1})
