"""Local clusters that start at once in one process: each has what is set for it, and no other gets any of that."""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import Any

import dask
import distributed
import pytest
from distributed import Scheduler, Worker

from daskpar.engine import local_cluster
from daskpar.engine.local_cluster import TICK_MILLISECONDS, LocalCluster

PAGES = ("distributed.scheduler.http.routes", "distributed.worker.http.routes")


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Dask's settings as each server finds them that is started meanwhile."""
    found: list[str] = []
    for kind in (Scheduler, Worker):
        original = kind.__init__

        def init(self: Any, *args: Any, original: Any = original, **given: Any) -> None:
            found.append(repr(dask.config.get("distributed")))
            original(self, *args, **given)

        monkeypatch.setattr(kind, "__init__", init)
    return found


def cluster(**given: Any) -> LocalCluster:
    return LocalCluster(**{"workers": 1, "processes": False, "dashboard": None, **given})


def test_no_setting_is_another_meanwhile_or_later(
    settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = repr(dask.config.get("distributed"))
    original, meanwhile = local_cluster._dask_cluster, threading.Event()
    made: list[LocalCluster] = []

    def start_another() -> None:
        made.append(cluster(dashboard="127.0.0.1:0"))
        meanwhile.set()

    def in_the_midst(**given: Any) -> Any:
        monkeypatch.setattr(local_cluster, "_dask_cluster", original)
        threading.Thread(target=start_another).start()
        assert meanwhile.wait(60)
        return original(**given)

    monkeypatch.setattr(local_cluster, "_dask_cluster", in_the_midst)
    made.append(cluster())
    try:
        assert settings == [usual] * 4
    finally:
        for each in made:
            each.close()
    assert repr(dask.config.get("distributed")) == usual


def test_servers_in_this_process_neither_watch_threads_nor_lose_nodes() -> None:
    # As Dask does on all releases of Python but 3.11.
    before = {thread for thread in threading.enumerate() if thread.name == "Profile"}
    made = cluster(workers=2)
    try:
        scheduler, workers = made.dask.scheduler, list(made.dask.workers.values())
        assert scheduler.worker_ttl is None and "worker-ttl" not in scheduler.periodic_callbacks
        assert type(scheduler.loop.profile) is deque and not scheduler.loop.profile
        for server in (scheduler, *workers):
            tick = server.periodic_callbacks["tick"]
            assert tick.callback_time == TICK_MILLISECONDS and tick.is_running()
        assert not [name for each in workers for name in each.periodic_callbacks if "profile" in name]
        assert {thread for thread in threading.enumerate() if thread.name == "Profile"} <= before
    finally:
        made.close()


@pytest.mark.parametrize("dashboard", [None, "127.0.0.1:0"])
def test_no_page_is_loaded_before_the_first_look_and_those_of_other_clusters_are(
    dashboard: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed.http import utils

    loaded: list[str] = []
    original = utils.importlib.import_module
    monkeypatch.setattr(
        utils,
        "importlib",
        type(
            "Importing",
            (),
            {"import_module": staticmethod(lambda name: loaded.append(name) or original(name))},
        ),
    )
    made = cluster(dashboard=dashboard)
    made.close()
    assert loaded == []
    with distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=":0"):
        assert {*loaded} >= {*dask.config.get(PAGES[0]), *dask.config.get(PAGES[1])}


def test_a_worker_with_a_process_of_its_own_has_the_variables_of_this_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Dask sets some in both: to processors, of later runs too, they would look like the user's."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "MALLOC_TRIM_THRESHOLD_", "PYTHONHASHSEED")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "3")
    made = cluster(processes=True)
    try:
        with distributed.Client(made.dask) as client:
            (found,) = client.run(lambda: dict(os.environ)).values()
    finally:
        made.close()
    for variables in (found, os.environ):
        assert {name: variables[name] for name in names if name in variables} == {"MKL_NUM_THREADS": "3"}
