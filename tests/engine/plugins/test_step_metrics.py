from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from daskpar.batches.records import RECORD
from daskpar.engine.plugins import step_metrics as module
from daskpar.engine.plugins.step_metrics import BUCKETS, StepMetrics, metrics_of, step_metrics
from daskpar.engine.rules.counter import ThresholdCounter, Thresholds
from daskpar.results import Counts


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
    scheduler = SimpleNamespace(http_application=object())
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
