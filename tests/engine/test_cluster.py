"""Jobs on clusters that somebody else started, or that Dask's configuration describes; what is wrong with one is said clearly."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import dask
import psutil
import pytest
from distributed import Client, LocalCluster

import daskpar
from daskpar import _version
from daskpar.engine.cluster import Cluster, check_dashboard, check_scheduler
from daskpar.engine.plugins.tracker import ignore
from waiting import until

WHERE = """
import json, os, time
def run(mini_batch):
    time.sleep(0.05)
    return [json.dumps([os.path.basename(mini_batch[0]), 0, os.getppid()])]
"""


@pytest.fixture(scope="module")
def cluster():
    """Two workers in processes of their own."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", memory_limit=0
    ) as made:
        yield made


@pytest.fixture
def client(cluster):
    with Client(cluster, set_as_default=False) as made:
        yield made


def names(work, file: str = "rows.txt") -> list[str]:
    return [json.loads(row)[0] for row in work.rows(file)]


def servers(work, file: str = "rows.txt") -> set[int]:
    """Fork servers of the processors, one for each node."""
    return {json.loads(row)[2] for row in work.rows(file)}


def leftovers(client: Client) -> list[str]:
    """What of ours is on the cluster: plugins, and handlers that do anything."""

    def on_worker(dask_worker) -> list[str]:
        handlers = [
            name
            for name, handler in dask_worker.stream_handlers.items()
            if "daskpar" in name and handler is not ignore
        ]
        return handlers + [name for name in dask_worker.plugins if "daskpar" in name]

    def on_scheduler(dask_scheduler) -> list[str]:
        handlers = [
            name
            for name, handler in dask_scheduler.stream_handlers.items()
            if "daskpar" in name and handler is not ignore
        ]
        plugins = [*dask_scheduler.plugins, *dask_scheduler.worker_plugins, *map(str, dask_scheduler.tasks)]
        return handlers + [name for name in plugins if "daskpar" in name]

    return [
        *client.run_on_scheduler(on_scheduler),
        *(name for found in client.run(on_worker).values() for name in found),
    ]


def test_a_running_cluster_by_its_address_is_left_as_it_was(work, cluster, client):
    work.files(20)
    pids = set(client.run(os.getpid).values())
    ended = work.run(
        {"work": work.meeting(2, resources={"instance_count": 2})}, scheduler=cluster.scheduler_address
    )
    assert ended.status == "completed", ended.reason
    assert names(work) == [f"{n:04}.txt" for n in range(20)]
    assert len(servers(work)) == 2
    assert leftovers(client) == []
    assert set(client.run(os.getpid).values()) == pids
    assert [child for pid in pids for child in psutil.Process(pid).children(recursive=True)] == []


def test_a_client_stays_open_and_a_command_step_runs_on_its_workers(work, client):
    work.files(2)
    pids = set(client.run(os.getpid).values())
    jobs = {
        "work": work.parallel(),
        "show": work.command(
            "cat ${{inputs.x}}; python -c 'import os, psutil; print([p.pid for p in psutil.Process().parents()])'"
        ),
    }
    jobs["show"]["inputs"] = {"x": "${{parent.jobs.work.outputs.rows}}"}
    ended = work.run(jobs, client=client)
    assert ended.status == "completed", ended.reason
    *rows, parents = (ended.logs["show"] / "user/std_out.txt").read_text().splitlines()
    assert rows == ["0000.txt", "0001.txt"]
    assert set(json.loads(parents)) & pids
    assert client.submit(sum, [1, 2]).result() == 3
    assert leftovers(client) == []


def test_one_node_is_taken_where_one_is_asked_for(work, client):
    work.files(10)
    assert work.run({"work": work.parallel(WHERE)}, client=client).status == "completed"
    assert len(servers(work)) == 1


def test_all_nodes_are_taken_for_minus_one(work, client):
    work.files(20)
    assert (
        work.run({"work": work.meeting(2, resources={"instance_count": -1})}, client=client).status
        == "completed"
    )
    assert len(servers(work)) == 2


def test_fewer_nodes_than_asked_for_are_a_warning(work, client):
    work.files(2)
    ended = work.run({"work": work.parallel(resources={"instance_count": 5})}, client=client)
    assert ended.status == "completed", ended.reason
    said = "".join(path.read_text() for path in ended.logs["work"].rglob("*.txt"))
    assert "5 nodes are asked for (instance_count), the cluster has 2" in said


def test_two_runs_at_once_on_one_cluster(work, client):
    work.files(20)
    ended = {}
    specs = {}
    for name in ("one", "two"):
        step = work.meeting(
            2,
            name,
            outputs={"rows": {"type": "uri_file", "path": f"./{name}.txt"}},
            resources={"instance_count": 2},
        )
        specs[name] = work.spec({"work": step}, name=f"{name}.yml")

    def run(name: str) -> None:
        ended[name] = daskpar.run(
            specs[name], client=client, run_dir=work.folder / f"run-{name}", dashboard=None, display=False
        )

    threads = [threading.Thread(target=run, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name: run.status for name, run in ended.items()} == {"one": "completed", "two": "completed"}
    assert names(work, "one.txt") == names(work, "two.txt") == [f"{n:04}.txt" for n in range(20)]
    assert servers(work, "one.txt").isdisjoint(servers(work, "two.txt"))
    assert leftovers(client) == []


def test_a_failed_and_a_stopped_step_leave_nothing_either(work, client):
    work.files(20)
    step = work.parallel(
        "def run(mini_batch):\n    1 / 0", mini_batch_error_threshold=0, resources={"instance_count": 2}
    )
    assert work.run({"work": step}, client=client).status == "failed"
    assert leftovers(client) == []
    assert [
        c for pid in client.run(os.getpid).values() for c in psutil.Process(pid).children(recursive=True)
    ] == []


def test_dataframes_on_the_cluster_are_written_by_it(work, client):
    import dask.dataframe
    import pandas as pd

    data = dask.dataframe.from_pandas(pd.DataFrame({"a": range(10)}), npartitions=2)
    step = work.parallel(
        "def run(mini_batch):\n    return list(mini_batch.a)",
        inputs={"files": {"type": "mltable", "path": "${{parent.inputs.data}}", "mode": "direct"}},
    )
    ended = work.run(
        {"work": step}, top={"inputs": {"data": {"type": "mltable"}}}, inputs={"data": data}, client=client
    )
    assert ended.status == "completed", ended.reason
    assert work.rows() == [str(n) for n in range(10)]


def test_a_compute_of_dasks_configuration_is_started_and_ended(work):
    work.files(20)
    described = {
        "class": "distributed.LocalCluster",
        "n_workers": 2,
        "processes": False,
        "dashboard_address": ":0",
    }
    with dask.config.set({"daskpar.computes": {"mine": described}}):
        ended = work.run({"work": work.meeting(2, resources={"instance_count": 2})}, compute="mine")
    assert ended.status == "completed", ended.reason
    assert len(servers(work)) == 2


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({}, "is not described"),
        ({"class": "distributed.NoSuchCluster"}, "can't be loaded"),
        ({"class": "distributed.SpecCluster", "wrokers": {}}, "wrokers"),
    ],
)
def test_a_compute_that_is_described_wrong_is_told(work, entry, said):
    work.files(1)
    with (
        dask.config.set({"daskpar.computes": {"mine": entry}}),
        pytest.raises(daskpar.UsageError, match=said),
    ):
        work.run({"work": work.parallel()}, compute="mine")
    assert not (work.folder / "run").exists()


def test_local_nodes_may_have_processes_of_their_own(work):
    work.files(20)
    ended = work.run({"work": work.meeting(2, resources={"instance_count": 2})}, worker_processes=True)
    assert ended.status == "completed", ended.reason
    assert len(servers(work)) == 2


def test_another_version_on_a_worker_is_told(work, client):
    def pretend(version: str) -> None:
        from daskpar import _version

        _version.__version__ = version

    work.files(1)
    own = _version.__version__
    client.run(pretend, "0.0.7")
    try:
        with pytest.raises(daskpar.UsageError, match=f"has daskpar 0.0.7, this is {own}"):
            work.run({"work": work.parallel()}, client=client)
    finally:
        client.run(pretend, own)
    assert leftovers(client) == []
    assert not (work.folder / "run").exists()


def test_another_version_on_a_worker_that_comes_later_leaves_it_out(client):
    def pretend(version: str) -> None:
        from daskpar import _version

        _version.__version__ = version

    own = _version.__version__
    opened = Cluster(run_id="later", client=client)
    opened.open()
    first, second = opened.facts
    try:
        client.run(pretend, "0.0.7", workers=[second])
        opened.forget(second)
        assert opened.refresh() == [first]
        assert opened.strangers == {second: "0.0.7"}
    finally:
        client.run(pretend, own, workers=[second])
        opened.close()


def test_a_connection_that_dask_has_made_again_does_not_count(client):
    opened = Cluster(run_id="again", client=client)
    opened.open()
    assert opened.connected
    first = client.scheduler_comm
    try:
        client.scheduler_comm = copy.copy(first)
        assert not opened.connected
    finally:
        client.scheduler_comm = first
        opened.close()


@pytest.mark.parametrize("without", ["worker", "scheduler"])
def test_a_cluster_without_daskpar_is_told(work, without):
    """A Python in which daskpar can't be imported."""
    work.files(1)
    work.write("blocked/sitecustomize.py", "import sys\nsys.modules['daskpar'] = None\n")
    blocked = {**os.environ, "PYTHONPATH": str(work.folder / "blocked")}
    file = work.folder / "scheduler.json"
    root = Path(daskpar.__file__).parents[1]
    normal = {**os.environ, "PYTHONPATH": str(root)}

    def start(what: str, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{what}", "--scheduler-file", str(file), *arguments],
            env=blocked if what == without else normal,
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    processes = [
        start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"),
        start("worker", "--no-nanny", "--no-dashboard", "--local-directory", "/tmp"),
    ]
    try:
        until(file.exists, "the scheduler's file", process=processes[0])
        with pytest.raises(daskpar.UsageError, match="daskpar"):
            work.run({"work": work.parallel()}, scheduler=str(file))
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert not (work.folder / "run").exists()


@pytest.mark.parametrize("address", [":0", "0", "8787", "127.0.0.1:0", "localhost:8787"])
def test_addresses_that_a_dashboard_may_have(address):
    check_dashboard(address)


@pytest.mark.parametrize(
    "address", ["tcp://host:8786", "host:8786", "inproc://10.0.0.1/5/1", "tcp://[::1]:8786"]
)
def test_addresses_that_a_scheduler_may_have(address):
    check_scheduler(address)


def test_a_scheduler_that_is_starting_up_may_write_its_file_a_moment_later(tmp_path, monkeypatch):
    file = tmp_path / "scheduler.json"
    looked = []

    def isfile(path):
        looked.append(path)
        if len(looked) == 2:
            file.write_text("{}")
        return file.exists()

    monkeypatch.setattr("os.path.isfile", isfile)
    check_scheduler(str(file))
    assert looked == [str(file)] * 2


def test_a_scheduler_file_that_does_not_come_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("daskpar.engine.cluster.CONNECT_SECONDS", 0)
    with pytest.raises(daskpar.UsageError, match="there is no such file"):
        check_scheduler(str(tmp_path / "scheduler.json"))


def test_nothing_looks_at_the_threads_of_a_driver_that_holds_its_nodes():
    """Dask's profilers do a hundred times a second, which up to Python 3.11 can stop the whole process for ever."""
    before = {thread for thread in threading.enumerate() if thread.name == "Profile"}
    cluster = Cluster(run_id="r", dashboard=None)
    cluster.open()
    try:
        (worker,) = cluster._cluster.dask.workers.values()
        assert "profile" not in worker.periodic_callbacks
        assert {thread for thread in threading.enumerate() if thread.name == "Profile"} == before
    finally:
        cluster.close()
