"""Counts and durations of steps among the metrics that Dask's scheduler serves to Prometheus (`/metrics`)."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Iterator
from dataclasses import field
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from daskpar.batches.records import unpack
from daskpar.engine.plugins.run_page import runs_of
from daskpar.engine.rules.counter import ThresholdCounter
from daskpar.value_classes import mutable

logger = logging.getLogger(__name__)

BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 600.0, 3600.0)
"""Upper ends of the histogram of run times, in seconds."""
WAITING_BYTES = 1 << 20
"""Records that wait to be added up; a report of a node then costs next to nothing."""
STEPS_KEPT = 100
"""Steps that have ended and are still shown."""


@mutable
class StepMetrics:
    """One step of a run, counted on the scheduler; from any thread."""

    run: str
    step: str
    counter: ThresholdCounter
    over: bool = False
    _buckets: np.ndarray = field(default_factory=lambda: np.zeros(len(BUCKETS) + 1, np.int64))
    _seconds: float = 0.0
    _waiting: list[bytes] = field(default_factory=list)
    _waiting_bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, compare=False, repr=False)

    def add(self, records: bytes) -> None:
        """Take records of ended tries."""
        with self._lock:
            self._waiting.append(records)
            self._waiting_bytes += len(records)
            if self._waiting_bytes >= WAITING_BYTES:
                self._digest()

    @property
    def durations(self) -> tuple[list[int], float]:
        """How many tries took up to each of `BUCKETS`, and at last all; and the sum of their seconds."""
        with self._lock:
            self._digest()
            return np.cumsum(self._buckets).tolist(), self._seconds

    def _digest(self) -> None:
        """With the lock held."""
        if not self._waiting:
            return
        records = unpack(b"".join(self._waiting))
        self._waiting, self._waiting_bytes = [], 0
        seconds = records["run"].astype(np.float64)
        places = np.searchsorted(BUCKETS, seconds)
        self._buckets += np.bincount(places, minlength=len(BUCKETS) + 1)
        self._seconds += float(seconds.sum())


def metrics_of(scheduler: Any) -> dict[tuple[str, str], StepMetrics]:
    """(run, step) -> what is counted of it on this scheduler."""
    found: dict[tuple[str, str], StepMetrics] = scheduler.__dict__.setdefault("_daskpar_metrics", {})
    for key in [key for key, step in list(found.items()) if step.over][:-STEPS_KEPT]:
        found.pop(key, None)
    return found


def step_metrics(scheduler: Any, run: str, step: str, counter: ThresholdCounter) -> StepMetrics | None:
    """Where the tries of a step go; None where no metrics are served, or the step has no name."""
    # Dask itself loads the package at the start of the scheduler, where it is installed.
    package = sys.modules.get("prometheus_client")
    if package is None or not step or getattr(scheduler, "http_application", None) is None:
        return None
    found = metrics_of(scheduler)[run, step] = StepMetrics(run, step, counter)
    with _lock:
        _schedulers[id(scheduler)] = scheduler
        is_first = not _collectors
        if is_first:
            _collectors.append(_Collector())
    if is_first:
        try:
            package.REGISTRY.register(_collectors[0])
        except ValueError as error:  # somebody has metrics of these names
            logger.warning("no step is among the metrics: %s", error)
    return found


def _asked_schedulers() -> list[Any]:
    """Those whose steps whoever asks just now may see.

    A scheduler answers in its own event loop, and only who knows its token: that one alone. Else it is code
    of this process that asks, such as a server of the user's own: all of them.
    """
    with _lock:
        found = list(_schedulers.values())
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return found
    return [scheduler for scheduler in found if scheduler.loop.asyncio_loop is loop]


class _Collector:
    """As Dask's own: one for each process."""

    def describe(self) -> list[Any]:
        """Called by Prometheus' package once: what there is comes with `collect`."""
        return []

    def collect(self) -> Iterator[Any]:
        """Called by Prometheus' package, for each request."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        known = GaugeMetricFamily(
            "daskpar_run", "1 for a run that goes on", labels=["run", "job", "directory"]
        )
        asked = _asked_schedulers()
        for run in [run for scheduler in asked for run in list(runs_of(scheduler).values())]:
            known.add_metric([run.run_id, run.job, run.directory], float(run.status == "running"))
        labels = ["run", "step"]
        steps = [step for scheduler in asked for step in list(metrics_of(scheduler).values())]
        planned = GaugeMetricFamily("daskpar_mini_batches_planned", "Mini-batches of the plan", labels=labels)
        done = CounterMetricFamily(
            "daskpar_mini_batches", "Mini-batches by their final outcome", labels=[*labels, "outcome"]
        )
        others = [
            ("tries_failed", "daskpar_tries_failed", "Failed tries, final ones included"),
            ("retried", "daskpar_tries_retried", "Failed tries after which the mini-batch was tried again"),
            ("throttled", "daskpar_calls_throttled", "Calls that were put off as their service asked"),
            ("items", "daskpar_items", "Items of mini-batches with a final outcome"),
            ("failed_items", "daskpar_items_failed", "Failed items of those"),
        ]
        families = [(name, CounterMetricFamily(metric, text, labels=labels)) for name, metric, text in others]
        seconds = HistogramMetricFamily("daskpar_run_seconds", "Seconds of a call of run()", labels=labels)
        for step in steps:
            which = [step.run, step.step]
            planned.add_metric(which, step.counter.counts.planned)
            for outcome in ("succeeded", "failed", "empty"):
                done.add_metric([*which, outcome], getattr(step.counter.counts, outcome))
            for name, family in families:
                family.add_metric(which, getattr(step.counter.counts, name))
            counts, total = step.durations
            edges = [*(str(edge) for edge in BUCKETS), "+Inf"]
            seconds.add_metric(which, list(zip(edges, counts, strict=True)), total)
        yield from (known, planned, done, *(family for _, family in families), seconds)


_collectors: list[_Collector] = []
"""The one of this process, once there is one."""
_schedulers: WeakValueDictionary[int, Any] = WeakValueDictionary()
"""By their ids, those of this process that serve metrics: of each run its own."""
_lock = threading.Lock()
"""Held while these are looked at: each scheduler has a thread of its own."""
