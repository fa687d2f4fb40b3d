"""SIGTERM to all processes of a job: who dies with the node is not charged, who dies alone is."""

from __future__ import annotations

import os
import signal

from daskpar.processor import goodbye
from daskpar.processor.protocol import ProcessorChanged
from daskpar.results import Reason


def _terminate(at) -> None:
    at.wait(lambda _: 1 in at.calls)
    [pid] = [m.pid for m in at.messages if isinstance(m, ProcessorChanged) and m.state == "ready"]
    os.kill(pid, signal.SIGTERM)


def test_a_processor_that_dies_with_its_node_costs_no_try(zoo, monkeypatch):
    monkeypatch.setattr(goodbye, "GOODBYE_SECONDS", 600.0)
    at = zoo({1: "hang"}, count=3)
    at.submit(0, 3)
    _terminate(at)
    at.wait(lambda _: not any(one.ready and not zoo.gone(one.pid) for one in list(at.pool.processors)))
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
