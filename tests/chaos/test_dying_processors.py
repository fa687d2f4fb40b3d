"""Processors killed at every moment, over every kind of input: rows exactly once, exact counts, nothing left behind."""

from __future__ import annotations

import itertools
import os
import signal

import psutil
import pytest

from chaos_job import KINDS

DEADLY = ("kill", "segfault", "exit")


@pytest.mark.parametrize("kind", KINDS)
def test_any_death_at_any_moment_costs_one_try_at_most(chaos, kind):
    """45 faults in a job: three ways to die before and in init(), while loading, running, writing, and before the driver is told."""
    places = itertools.count(1, 4)
    faults = {
        f"{moment} {next(places)}": [harm] * times
        for moment in ("load", "run", "write", "say")
        for harm in DEADLY
        for times in ((3,) if moment in ("load", "run") else (2,))
    }
    faults |= {"run 50": ["raise"] * 3, "load 54": ["raise"] * 3, "run 55": ["kill", "raise", "exit"]}
    # Deaths before the first mini-batch: never so many in a row that the step gives up.
    faults |= {
        "import": ["ok", "kill", "ok", "exit", "ok", "segfault"],
        "init": ["ok", "ok", "kill", "ok", "raise", "ok", "exit"],
    }
    job = chaos(kind=kind, faults=faults, processors=2)
    job.check(job.run())
    assert len(job.deaths()) == job.planned_faults == 45


@pytest.mark.parametrize("kind", KINDS)
def test_what_stands_still_or_grows_is_ended(chaos, kind):
    faults = {
        "run 5": ["stop", "hang"],
        "load 17": ["stop"],
        "load 23": ["hang"],
        "run 31": ["grow"],
        "load 40": ["grow"],
    }
    job = chaos(kind=kind, faults=faults, arguments="--processor-memory 1500mb")
    job.check(job.run())
    assert len(job.deaths()) == job.planned_faults


def test_a_fork_server_that_is_killed_is_replaced(chaos):
    """It takes the processors with it: what they were running is charged, as any death is, and nothing else is."""
    job = chaos(faults={"run 10": ["call"]}, processors=1, retries=5)
    job.write()
    ended = []
    import threading

    driver = threading.Thread(target=lambda: ended.append(job.run()))
    driver.start()
    job.wait_for_line("wanted")
    processor = psutil.Process(int(job.lines("wanted")[0][0]))
    (job.folder / "go").touch()
    os.kill(processor.ppid(), signal.SIGKILL)
    driver.join()
    assert ended[0].status == "completed", ended[0].reason
    job.check_output()
    assert ended[0].steps["work"].counts.tries_failed <= 1
    job.check_leftovers()


def test_a_mini_batch_whose_rows_kill_their_writer_is_given_up_after_three_times(chaos):
    job = chaos(faults={"write 7": ["kill"] * 9}, retries=2)
    ended = job.run()
    assert ended.status == "completed", ended.reason
    counts = ended.steps["work"].counts
    assert (counts.failed, counts.tries_failed) == (1, 1)
    assert len(job.deaths()) == 3
    rows = [line for line in job.undisturbed().decode().splitlines() if not line.startswith("7 ")]
    assert job.output.read_text().splitlines() == rows
