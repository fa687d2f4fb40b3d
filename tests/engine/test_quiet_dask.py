"""Nothing of Dask's is written to the terminal or notebook of a run that goes well, or has ended."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import dask
import pytest
from distributed.comm import CommClosedError

from daskpar.engine import local_cluster
from daskpar.engine.cluster import Cluster
from daskpar.engine.quiet_dask import is_of_an_end, only_errors


class Heard(logging.Handler):
    """The errors that reach the handlers of a logger."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def heard() -> Iterator[list[str]]:
    """The errors that Dask and asyncio write to their logs."""
    gc.collect()  # what loops of earlier tests have left says so now
    handler = Heard()
    loggers = [logging.getLogger(name) for name in ("distributed", "asyncio")]
    for logger in loggers:
        logger.addHandler(handler)
    yield handler.lines
    for logger in loggers:
        logger.removeHandler(handler)


def test_clusters_that_overlap_are_quiet_until_the_last_has_ended() -> None:
    logger = logging.getLogger("distributed")
    shown = logging.StreamHandler()
    shown.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    said: list[str] = []
    logger.addHandler(shown)
    try:
        first, second = only_errors(), only_errors()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        logger.warning("noise")
        logger.error("an error")
        second.__exit__(None, None, None)
        logger.warning("of the user's own cluster")
    finally:
        logger.removeHandler(shown)
    assert said == ["an error", "of the user's own cluster"]


def test_what_is_left_of_a_loop_is_garbage_and_no_message(heard: list[str]) -> None:
    cluster = Cluster(run_id="r", dashboard=None)
    cluster.open()
    loop = cluster.client.loop.asyncio_loop
    left: list[Any] = []

    async def fail() -> None:
        # As a wait of Dask's streams does whose time comes when the loop is being stopped.
        left.append(asyncio.get_running_loop().create_future())
        left[0].set_exception(TimeoutError("Timeout"))

    asyncio.run_coroutine_threadsafe(fail(), loop).result(60)
    cluster.close()
    assert loop.is_closed()
    left.clear()
    gc.collect()
    assert heard == []


def test_what_goes_wrong_in_a_loop_that_runs_is_said(heard: list[str]) -> None:
    cluster = Cluster(run_id="r", dashboard=None)
    cluster.open()
    try:

        async def fail() -> None:
            asyncio.get_running_loop().create_future().set_exception(TimeoutError("Timeout"))

        asyncio.run_coroutine_threadsafe(fail(), cluster.client.loop.asyncio_loop).result(60)
        gc.collect()
        assert heard == [
            "Future exception was never retrieved\nfuture: <Future finished exception=TimeoutError('Timeout')>"
        ]
    finally:
        cluster.close()


def test_a_worker_that_ends_hears_the_answer_to_its_heartbeat(heard: list[str]) -> None:
    cluster = Cluster(run_id="r", dashboard=None)
    cluster.open()
    asked = threading.Event()
    try:
        dask = cluster.client.cluster
        (worker,) = dask.workers.values()
        answer = dask.scheduler.handlers["heartbeat_worker"]

        async def late(**beat: Any) -> Any:
            asked.set()
            while not worker._leaving:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            return answer(**beat)

        dask.scheduler.handlers["heartbeat_worker"] = late
        worker.loop.add_callback(worker.heartbeat)
        assert asked.wait(60)
    finally:
        cluster.close()
    assert heard == []


def test_nobody_takes_the_port_of_the_dashboard_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    make, thieves = local_cluster._dask_cluster, []

    def late(**settings: Any) -> Any:
        with suppress(OSError):
            thieves.append(socket.create_server(("127.0.0.1", port)))
        return make(**settings)

    monkeypatch.setattr(local_cluster, "_dask_cluster", late)
    cluster = Cluster(run_id="r", dashboard=f"127.0.0.1:{port}")
    try:
        cluster.open()  # Dask warns of a port that is taken, and warnings are errors in tests
        assert cluster.dashboard_link.startswith("http://127.0.0.1:")
    finally:
        cluster.close()
        for thief in thieves:
            thief.close()


@pytest.mark.parametrize(
    ("text", "error", "hidden"),
    [
        ("Failed to communicate with scheduler during heartbeat.", OSError("closed"), True),
        ("Received heartbeat from unregistered worker 'tcp://a'.", None, True),
        ("Scheduler was unaware of this worker; shutting down.", None, True),
        ("Error in batched write", CommClosedError("in <TCP>: Stream is closed"), True),
        ("Unexpected exception during heartbeat. Closing worker.", KeyError("x"), False),
        ("Worker plugin daskpar-node-r failed to teardown", OSError("disk full"), False),
        ("Worker died", None, False),
    ],
)
def test_what_an_end_explains(text, error, hidden):
    record = logging.LogRecord(
        "distributed", logging.ERROR, "", 0, text, (), (None, error, None) if error else None
    )
    assert is_of_an_end(record) is hidden


def test_a_heartbeat_on_its_way_is_no_news_when_our_cluster_ends():
    compute = {"class": "distributed.LocalCluster", "n_workers": 1, "threads_per_worker": 1}
    compute |= {
        "processes": False,
        "protocol": "tcp://",
        "dashboard_address": "127.0.0.1:0",
        "silence_logs": False,
    }
    under_way = threading.Event()
    said: list[str] = []
    shown = logging.StreamHandler()
    shown.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]

    async def hang(**_: Any) -> Any:
        under_way.set()
        await asyncio.sleep(3600)

    with dask.config.set({"daskpar.computes": {"mine": compute}}):
        cluster = Cluster(run_id="r", compute="mine")
        cluster.open()
    assert cluster._started is not None
    cluster._started.cluster.scheduler.handlers["heartbeat_worker"] = hang
    assert under_way.wait(60)
    logger = logging.getLogger("distributed")
    logger.addHandler(shown)
    try:
        cluster.close()
    finally:
        logger.removeHandler(shown)
    assert not [line for line in said if "heartbeat" in line]
