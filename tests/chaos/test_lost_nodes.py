"""Dask workers, nannies and whole nodes killed, stopped or cut off: no failed try for anybody, unless a mini-batch is to blame."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter

import pytest

from chaos_cluster import Cluster, Relay
from chaos_job import KINDS


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    yield made
    made.close()


@pytest.mark.parametrize("kind", KINDS)
def test_nodes_are_lost_at_every_moment_and_replaced(chaos, cluster, kind):
    faults = {
        "import": ["ok", "ok", "kill worker"],
        "init": ["ok", "ok", "ok", "kill worker"],
        "load 4": ["kill worker"],
        "run 15": ["kill worker"],
        "write 26": ["kill worker"],
        "say 37": ["kill worker"],
        "run 48": ["kill nanny"],
        "load 55": ["kill node"],
        "run 20": ["kill"],
    }
    job = chaos(kind=kind, faults=faults, nodes=2, processors=1)
    job.check(job.run(scheduler=cluster.address))
    assert len(job.deaths()) == job.planned_faults


def test_a_mini_batch_that_takes_three_nodes_down_is_named_and_given_up(chaos, cluster):
    job = chaos(
        faults={"run 7": ["kill worker"] * 9},
        nodes=2,
        processors=1,
        settings={"mini_batch_error_threshold": 0},
    )
    ended = job.run(scheduler=cluster.address)
    assert (ended.status, len(job.deaths())) == ("failed", 3)
    assert "mini-batch 7 is given up" in ended.summary
    assert ended.steps["work"].counts.tries_failed == 1


def test_one_that_takes_nodes_down_and_goes_on_is_given_up_too(chaos, cluster):
    job = chaos(
        faults={"run 7": ["kill worker, go on"] * 30},
        nodes=2,
        processors=1,
        settings={"mini_batch_error_threshold": 0},
    )
    ended = job.run(scheduler=cluster.address)
    assert ended.status == "failed"
    assert 3 <= len(job.deaths()) <= 6
    assert "mini-batch 7 is given up" in ended.summary


@pytest.mark.parametrize("moment", ["import", "init"])
def test_a_script_that_takes_every_node_down_before_its_first_call_ends_the_step(chaos, cluster, moment):
    job = chaos(faults={moment: ["kill worker"] * 60}, nodes=2, processors=1)
    ended = job.run(scheduler=cluster.address)
    assert ended.status == "failed"
    assert "nodes were lost one after the other" in ended.reason
    assert 6 <= len(job.deaths()) <= 12
    job.check_leftovers()


def test_a_worker_that_stands_still_is_replaced(chaos, cluster):
    job = chaos(faults={"run 7": ["stop worker"]}, nodes=2, processors=1)
    job.check(job.run(scheduler=cluster.address))


def test_two_runs_at_once_on_one_cluster_do_not_disturb_each_other(chaos, cluster):
    jobs = [
        chaos(kind=kind, faults={"run 9": ["kill"], "run 21": ["kill worker"]}, nodes=2, processors=1)
        for kind in ("files", "table")
    ]
    ended: list = [None, None]

    def drive(at: int) -> None:
        ended[at] = jobs[at].run(scheduler=cluster.address)

    drivers = [threading.Thread(target=drive, args=(at,)) for at in range(2)]
    for driver in drivers:
        driver.start()
    for driver in drivers:
        driver.join()
    workers = Counter(death[1] for job in jobs for death in job.deaths())
    for job, one in zip(jobs, ended, strict=True):
        assert one.status == "completed", one.reason
        job.check_output()
        job.check_calls(workers)
        assert one.steps["work"].counts.tries_failed == 1
        job.check_leftovers()


@pytest.mark.parametrize("mended", ["in time", "too late"])
def test_a_network_that_is_cut_for_a_while(chaos, tmp_path, mended):
    """Below Dask's patience nothing happens; above it the node is taken to be dead, and what it says afterwards counts for nothing."""
    cluster = Cluster(tmp_path, nodes=1, nanny=False, replace=False)
    relay = Relay(cluster.port)
    far = cluster.add_node(scheduler=relay.address)
    cluster.nodes.append(far)
    try:
        job = chaos(faults={"run 9": ["call"]}, nodes=2, processors=1, timeout=60)
        job.write()
        ended: list = []
        driver = threading.Thread(target=lambda: ended.append(job.run(scheduler=cluster.address)))
        driver.start()
        job.wait_for_line("wanted")
        relay.cut()
        if mended == "in time":
            (job.folder / "go").touch()
            job.wait_for_line("calls", 12)
            relay.mend()
            driver.join()
        else:
            # The far node may be the one that waits: it is given up, and the mini-batch is run elsewhere.
            (job.folder / "go").touch()
            driver.join()
            relay.mend()
        assert ended[0].status == "completed", ended[0].reason
        job.check_output()
        counts = ended[0].steps["work"].counts
        assert (counts.failed, counts.tries_failed) == (0, 0)
        if mended == "in time":
            assert far.poll() is None
        job.wait_for_no_process()
    finally:
        relay.close()
        cluster.close()


def test_a_paused_node_that_comes_back_too_late_adds_nothing(chaos, tmp_path):
    cluster = Cluster(tmp_path, nodes=2, nanny=False, replace=False)
    try:
        job = chaos(faults={"run 9": ["stop worker"]}, nodes=2, processors=1)
        ended = job.run(scheduler=cluster.address)
        assert ended.status == "completed", ended.reason
        job.check_output()
        assert ended.steps["work"].counts.tries_failed == 0
        os.kill(int(job.deaths()[0][1]), signal.SIGCONT)
        job.wait_for_no_process()
        job.check_output()
    finally:
        cluster.close()
