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
import warm_python
from daskpar import _version
from daskpar.engine.cluster import Cluster, check_dashboard, check_scheduler
from daskpar.engine.plugins.tracker import ignore
from daskpar.rundir import probe
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
        assert {thread for thread in threading.enumerate() if thread.name == "Profile"} <= before
    finally:
        cluster.close()


def test_what_dasks_client_does_to_its_own_record_ends_no_run(work):
    """It reads the facts of the scheduler again and again, into the object that it has given out."""
    work.files(5)
    with dask.config.set({"distributed.client.scheduler-info-interval": "1ms"}):
        for number in range(4):
            ended = work.run({"work": work.parallel()}, run_dir=work.folder / f"run-{number}")
            assert ended.status == "completed", ended.reason


def test_nobody_believes_a_record_without_workers(work, client, monkeypatch):
    monkeypatch.setattr(Client, "scheduler_info", lambda self, **_: {"workers": {}, "services": {}})
    monkeypatch.setattr("daskpar.engine.command_execution.LOOK_SECONDS", 0.01)
    monkeypatch.setattr("daskpar.engine.execution.LOOK_SECONDS", 0.0)
    work.files(2)
    jobs = {"work": work.parallel(), "show": work.command("sleep 0.3")}
    ended = work.run(jobs, client=client)
    assert ended.status == "completed", ended.reason


def test_one_look_that_finds_nobody_ends_nothing(work, monkeypatch):
    work.files(2)
    looks = []
    workers = Cluster.workers

    def blind_at_first(self):
        looks.append(self)
        return [] if len(looks) in (1, 2, 3) else workers(self)

    monkeypatch.setattr(Cluster, "workers", blind_at_first)
    monkeypatch.setattr("daskpar.engine.execution.LOOK_SECONDS", 0.0)
    ended = work.run({"work": work.parallel()})
    assert ended.status == "completed", ended.reason
    assert len(looks) > 3


def kept(client: Client) -> dict[str, set[str]]:
    """Names of all that a scheduler and this client keep by name."""

    def on_scheduler(dask_scheduler) -> dict[str, set[str]]:
        return {
            "handlers": set(dask_scheduler.stream_handlers),
            "plugins": set(dask_scheduler.plugins) | set(dask_scheduler.worker_plugins),
            "topics": {name for name in dask_scheduler._broker._topics if "daskpar" in name},
        }

    return {**client.run_on_scheduler(on_scheduler), "client": set(client._event_handlers)}


@pytest.mark.parametrize("script", [None, "def run(mini_batch):\n    1 / 0"], ids=["completed", "failed"])
def test_runs_leave_no_name_on_the_scheduler(work, client, script):
    work.files(3)
    before = kept(client)
    step = work.parallel(*[script] if script else [], mini_batch_error_threshold=0 if script else -1)
    for number in range(3):
        work.run({"work": step}, client=client, run_dir=work.folder / f"run-{number}")
    until(lambda: kept(client) == before, f"the names of before: {before}")


@pytest.fixture
def machine(work):
    """Starts a scheduler, and workers with an environment or a hidden folder of their own."""
    file = work.folder / "scheduler.json"
    root = str(Path(daskpar.__file__).parents[1])
    started = []

    def start(what: str, *arguments: str, hidden: Path | None = None, **environment: str) -> None:
        module, options = f"distributed.cli.dask_{what}", ["--scheduler-file", str(file), *arguments]
        env = {**os.environ, "PYTHONPATH": root, **environment}
        if hidden is None and env["PYTHONPATH"] == root:
            with open(os.devnull, "w") as nowhere:
                started.append(warm_python.start(module, *options, env=env, cwd="/", stdout=nowhere))
        else:
            command = [sys.executable, "-m", module, *options]
            if hidden is not None:
                mounted = 'mount -t tmpfs none "$0" && exec "$@"'
                command = ["unshare", "-rm", "sh", "-c", mounted, str(hidden), *command]
            silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            started.append(subprocess.Popen(command, env=env, cwd="/", **silent))
        if what == "scheduler":
            until(lambda: file.exists() and file.read_text().endswith("}"), "its file", process=started[-1])

    def worker(name: str, **how) -> None:
        start(
            "worker",
            "--no-nanny",
            "--no-dashboard",
            "--nthreads",
            "1",
            "--name",
            name,
            "--local-directory",
            "/tmp",
            **how,
        )

    start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
    worker.file = str(file)
    yield worker
    for process in started:
        process.kill()
        process.wait()


def there(machine, count: int, patience: float = probe.PATIENCE_SECONDS) -> None:
    """When `count` workers are. `patience`: seconds for which they look for what they do not see."""

    def look_for(patience: float) -> None:
        from daskpar.rundir import probe

        probe.PATIENCE_SECONDS = patience

    with Client(scheduler_file=machine.file, set_as_default=False) as seen:
        seen.wait_for_workers(count, timeout=60)
        if patience != probe.PATIENCE_SECONDS:
            seen.run(look_for, patience)


def can_hide_folders() -> bool:
    return subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode == 0


INIT_NEEDS_A_MODEL = """
import os
def init():
    if os.environ.get("NO_MODEL"):
        raise FileNotFoundError("model.bin")
def run(mini_batch):
    return [os.path.basename(item) for item in mini_batch]
"""


def said(ended) -> str:
    return "".join(path.read_text() for path in ended.logs["work"].rglob("*.txt"))


def test_a_node_on_which_init_fails_is_left_out_while_another_does_the_work(work, machine):
    machine("good")
    machine("bad", NO_MODEL="1")
    there(machine, 2)
    work.files(20)
    step = work.parallel(INIT_NEEDS_A_MODEL, resources={"instance_count": 2})
    ended = work.run({"work": step}, scheduler=machine.file)
    assert ended.status == "completed", ended.reason
    assert work.rows() == [f"{n:04}.txt" for n in range(20)]


def test_init_that_fails_on_every_node_fails_the_step(work, machine):
    machine("bad", NO_MODEL="1")
    machine("worse", NO_MODEL="1")
    there(machine, 2)
    work.files(2)
    ended = work.run({"work": work.parallel(INIT_NEEDS_A_MODEL)}, scheduler=machine.file)
    assert ended.status == "failed"
    assert "model.bin" in ended.reason


@pytest.mark.parametrize("place", ["data", "code", "run", "filled"])
def test_a_node_that_does_not_see_what_the_step_needs_is_left_out_but_for_the_run_directory(
    work, machine, place
):
    if not can_hide_folders():
        pytest.skip("this kernel makes no mount namespace for an ordinary user")
    work.files(6)
    for name in ("run", "filled"):
        (work.folder / name / "x").mkdir(parents=True)
        (work.folder / name / "x").rmdir()
    if place == "run":
        (work.folder / "run").rmdir()
        run_dir = work.folder / "runs" / "one"
        run_dir.parent.mkdir()
        hidden = run_dir.parent
    else:
        (work.folder / "run").rmdir()
        run_dir, hidden = work.folder / "run", work.folder / place
    outputs = {
        "rows": {"type": "uri_file", "path": "./rows.txt"},
        "filled": {"type": "uri_folder", "path": "./filled"},
    }
    step = work.parallel(outputs=outputs, resources={"instance_count": 2})
    machine("hidden", hidden=hidden)
    machine("good")
    there(machine, 2, patience=1.0)
    ended = work.run({"work": step}, scheduler=machine.file, run_dir=run_dir)
    assert ended.status == "completed", ended.reason
    assert work.rows() == [f"{n:04}.txt" for n in range(6)]
    # A node whose probe still looks when the step ends is not waited for; what it has left goes with its answer.
    until(lambda: not [*work.folder.rglob(".probe*")], "the end of the probes")
    if place == "run":  # without the run directory it works too
        told = "".join(path.read_text() for path in run_dir.rglob("*.txt"))
        assert "works without the run directory" in told and "left out" not in told


def test_what_no_node_sees_is_told_before_anything_runs(work, machine):
    if not can_hide_folders():
        pytest.skip("this kernel makes no mount namespace for an ordinary user")
    work.files(2)
    step = work.parallel()
    machine("hidden", hidden=work.folder / "data")
    there(machine, 1, patience=1.0)
    with pytest.raises(daskpar.UsageError, match="the input 'files'"):
        work.run({"work": step}, scheduler=machine.file)


def test_a_worker_without_daskpar_is_named_and_left_out(work, machine):
    work.write("blocked/sitecustomize.py", "import sys\nsys.modules['daskpar'] = None\n")
    machine("without", PYTHONPATH=str(work.folder / "blocked"))
    machine("good")
    there(machine, 2)
    work.files(2)
    ended = work.run({"work": work.parallel()}, scheduler=machine.file)
    assert ended.status == "completed", ended.reason
    assert "has no daskpar and is left out" in said(ended)
