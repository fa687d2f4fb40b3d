"""Samples come at their interval, and one that fails or hangs hurts nobody."""

from __future__ import annotations

import queue
import threading

from daskpar.processor.protocol import ProcessorChanged, Sampled
from daskpar.processor.resource_sampler import Sampler

SAMPLE = Sampled(node=3, time=0.0, node_usage={}, disk_usage={})


def test_samples_that_fail_are_left_out():
    taken: queue.SimpleQueue[Sampled] = queue.SimpleQueue()
    asked = []

    def look(node, pids):
        asked.append((node, pids))
        if len(asked) < 3:
            raise OSError("no such thing")
        return SAMPLE

    sampler = Sampler(3, 0.001, lambda: {0: 17}, taken.put, look)
    sampler.start()
    assert taken.get(timeout=60) is SAMPLE
    sampler.stop()
    assert asked[0] == (3, {0: 17})
    assert len(asked) >= 3


def test_the_first_is_taken_soon_after_the_start_which_counts_once(monkeypatch):
    monkeypatch.setattr("daskpar.processor.resource_sampler.FIRST_SECONDS", 0.001)
    taken: queue.SimpleQueue[Sampled] = queue.SimpleQueue()
    sampler = Sampler(3, 3600.0, dict, taken.put, lambda node, pids: SAMPLE)
    sampler.start()
    sampler.start()
    assert taken.get(timeout=60) is SAMPLE
    assert [thread.name for thread in threading.enumerate()].count("daskpar-samples-3") == 1
    sampler.stop()


def test_what_ends_soon_is_not_looked_at():
    asked = []
    sampler = Sampler(3, 3600.0, dict, lambda sample: None, lambda node, pids: asked.append(node) or SAMPLE)
    sampler.start()
    sampler.stop()
    for thread in threading.enumerate():
        if thread.name == "daskpar-samples-3":
            thread.join(60)
    assert asked == []


def test_none_is_taken_once_it_was_stopped():
    looking, go = threading.Event(), threading.Event()
    taken = []

    def look(node, pids):
        looking.set()
        assert go.wait(60)
        return SAMPLE

    sampler = Sampler(3, 0.001, dict, taken.append, look)
    sampler.start()
    assert looking.wait(60)
    sampler.stop()
    go.set()
    for thread in threading.enumerate():
        if thread.name == "daskpar-samples-3":
            thread.join(60)
    assert taken == []


def test_without_an_interval_nothing_is_started():
    Sampler(4, 0.0, dict, lambda sample: None).start()
    assert "daskpar-samples-4" not in [thread.name for thread in threading.enumerate()]


def test_a_pool_says_what_it_uses(zoo):
    at = zoo({}, count=1, resource_interval=0.05)
    at.wait(lambda said: any(isinstance(m, Sampled) for m in said))
    assert "Cpu Percent" in at.of(Sampled)[0].node_usage


def test_a_pool_looks_at_what_it_uses_once_a_processor_is_ready(zoo, monkeypatch):
    monkeypatch.setattr("daskpar.processor.resource_sampler.FIRST_SECONDS", 0.0)
    at = zoo({}, count=1, resource_interval=3600)
    at.wait(lambda said: any(isinstance(m, Sampled) for m in said))
    kinds = [
        m.state if isinstance(m, ProcessorChanged) else "sample"
        for m in at.messages
        if isinstance(m, ProcessorChanged | Sampled)
    ]
    assert kinds.index("ready") < kinds.index("sample")
    assert at.of(Sampled)[0].processes
