from __future__ import annotations

import asyncio
import gc
import threading
from types import SimpleNamespace
from typing import Any
from weakref import ref

import numpy as np
import pytest

from daskpar.batches.records import RECORD
from daskpar.engine.plugins import step_metrics as module
from daskpar.engine.plugins.step_metrics import BUCKETS, StepMetrics, metrics_of, step_metrics
from daskpar.engine.rules.counter import ThresholdCounter, Thresholds
from daskpar.results import Counts


class FakeScheduler:
    """One that serves metrics, in an event loop of its own or in none."""

    http_application = object()

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.loop = SimpleNamespace(asyncio_loop=loop)


def counter(**counts: int) -> ThresholdCounter:
    return ThresholdCounter(Thresholds(), Counts(**counts))


def test_durations_are_cumulative_however_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING_BYTES", 3 * RECORD.itemsize)
    metrics = StepMetrics("r", "s", counter())
    for seconds in (0.0005, 0.0009, 0.3, 4.0, 1e6):
        record = np.zeros(1, RECORD)
        record["run"] = seconds
        metrics.add(record.tobytes())
    counts, total = metrics.durations
    expected = [sum(s <= edge for s in np.float32([0.0005, 0.0009, 0.3, 4.0, 1e6])) for edge in BUCKETS]
    assert counts == [*expected, 5]
    assert total == pytest.approx(1_000_004.3014)


def test_nothing_is_counted_where_nothing_is_served() -> None:
    assert step_metrics(SimpleNamespace(http_application=None), "r", "s", counter()) is None


def test_what_prometheus_gets() -> None:
    prometheus = pytest.importorskip("prometheus_client")
    scheduler = FakeScheduler()
    metrics = step_metrics(
        scheduler, "r1", "score", counter(planned=9, succeeded=4, failed=2, items=60, failed_items=20)
    )
    assert metrics is not None
    assert step_metrics(scheduler, "r1", "", counter()) is None  # a pass of our own
    text = prometheus.generate_latest().decode()
    for line in (
        'daskpar_mini_batches_planned{run="r1",step="score"} 9.0',
        'daskpar_mini_batches_total{outcome="failed",run="r1",step="score"} 2.0',
        'daskpar_items_failed_total{run="r1",step="score"} 20.0',
        'daskpar_run_seconds_bucket{le="+Inf",run="r1",step="score"} 0.0',
    ):
        assert line in text, text
    for number in range(module.STEPS_KEPT + 50):
        found = step_metrics(scheduler, "r2", f"s{number}", counter())
        assert found is not None
        found.over = True
    assert len(metrics_of(scheduler)) == module.STEPS_KEPT + 1  # the first one goes on


def test_each_dashboard_shows_the_steps_of_its_own_run() -> None:
    """Its token is known to those who may see that run, and no other of this process."""
    prometheus = pytest.importorskip("prometheus_client")

    async def shown() -> str:
        return str(prometheus.generate_latest().decode())

    with asyncio.Runner() as first, asyncio.Runner() as second:
        schedulers = [FakeScheduler(runner.get_loop()) for runner in (first, second)]
        for number, scheduler in enumerate(schedulers):
            assert step_metrics(scheduler, f"run{number}", f"secret{number}", counter(planned=1)) is not None
        texts = [runner.run(shown()) for runner in (first, second)]
    assert ["secret0" in texts[0], "secret1" in texts[0]] == [True, False]
    assert ["secret0" in texts[1], "secret1" in texts[1]] == [False, True]
    whole = prometheus.generate_latest().decode()  # for code of this process itself
    assert "secret0" in whole and "secret1" in whole


def test_a_scheduler_that_has_ended_is_not_kept() -> None:
    pytest.importorskip("prometheus_client")
    scheduler = FakeScheduler()
    assert step_metrics(scheduler, "r", "s", counter()) is not None
    seen = ref(scheduler)
    del scheduler
    gc.collect()
    assert seen() is None


def test_what_is_added_while_another_thread_asks_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = StepMetrics("r", "s", counter())
    records = np.zeros(1, RECORD).tobytes()
    metrics.add(records)
    adding: list[threading.Thread] = []
    original = module.unpack

    def amid(waiting: bytes) -> Any:
        """Between taking what waits and forgetting it."""
        adding.append(threading.Thread(target=metrics.add, args=(records,)))
        adding[-1].start()
        if not metrics._lock.locked():
            adding[-1].join()
        return original(waiting)

    monkeypatch.setattr(module, "unpack", amid)
    assert metrics.durations[0][-1] == 1
    monkeypatch.setattr(module, "unpack", original)
    adding[0].join()
    assert metrics.durations[0][-1] == 2


def test_steps_are_forgotten_while_another_thread_adds_one() -> None:
    class Growing(StepMetrics):
        """Asked whether it is over, another step comes."""

        @property  # type: ignore[override]
        def over(self) -> bool:
            scheduler.__dict__["_daskpar_metrics"]["r", f"more{len(metrics_of_it)}"] = None
            return False

        @over.setter
        def over(self, value: bool) -> None: ...

    scheduler = FakeScheduler()
    metrics_of_it = metrics_of(scheduler)
    metrics_of_it["r", "s"] = Growing("r", "s", counter())
    assert len(metrics_of(scheduler)) == 2
