"""Drivers killed at every moment, interrupted, or left without a scheduler: a resume goes on, and no committed mini-batch is run again."""

from __future__ import annotations

import json
import os
import signal

import pytest

from chaos_cluster import Cluster

MOMENTS = (
    # moment, its count, input kind
    ("run.json running", 1, "files"),
    ("step.json running", 1, "table"),
    ("torn commit", 1, "grouped"),
    ("before commit", 2, "files"),
    ("torn commit", 4, "table"),
    ("after commit", 3, "grouped"),
    ("early-copy", 1, "table"),
    ("assembling", 1, "files"),
    ("assembled", 1, "table"),
    ("step.json completed", 1, "grouped"),
    ("run.json completed", 1, "files"),
    # What commits and puts together knows of the kind of input only by its plan: the moments above, with the other kinds.
    ("torn commit", 2, "files"),
    ("before commit", 1, "table"),
    ("after commit", 2, "files"),
    ("early-copy", 1, "grouped"),
    ("assembling", 1, "table"),
    ("assembling", 1, "grouped"),
    ("assembled", 1, "grouped"),
)


def resumed_well(job, *options: str) -> None:
    """Resume to the end, without a second call for anything that was committed."""
    done = job.committed() if (job.run_dir / "steps" / "work" / "journal").exists() else set()
    before = {index: len(calls) for index, calls in job.calls().items()}
    code, said = job.drive_resume("never", 1, *options)
    assert code == 0, said
    again = {index for index, calls in job.calls().items() if len(calls) > before.get(index, 0)}
    assert not again & done, "committed mini-batches were run again"
    job.check_output()
    job.check_calls()
    job.check_leftovers()


def test_a_driver_that_dies_again_and_again(chaos):
    """One run, its driver killed at one moment after the other; each resume goes on from there."""
    job = chaos(kind="grouped", faults={"run 9": ["kill"], "write 30": ["kill"], "run 44": ["exit", "raise"]})
    moments = [
        (moment, count) for moment, count, _ in MOMENTS[1:11]
    ]  # those behind are the same, with other kinds
    for at, (moment, count) in enumerate(moments):
        code, said = job.drive(moment=moment, count=count) if at == 0 else job.drive_resume(moment, count)
        if code != -signal.SIGKILL:
            assert code == 0, said  # it was done before its moment could come
            break
        assert not job.output.exists() or job.output.read_bytes() == job.undisturbed(), (
            "half a file under its final name"
        )
    resumed_well(job)


@pytest.mark.parametrize(("moment", "count", "kind"), MOMENTS)
def test_a_driver_that_dies_once(chaos, moment, count, kind):
    job = chaos(kind=kind, mini_batches=40)
    code, said = job.drive(moment=moment, count=count)
    if moment == "run.json running" and code != -signal.SIGKILL:
        pytest.fail(said)
    assert code == -signal.SIGKILL, said
    assert not job.output.exists() or job.output.read_bytes() == job.undisturbed(), (
        "half a file under its final name"
    )
    if moment == "run.json running":
        # It died before the run directory was one: nothing is there to go on with, and that is said.
        code, said = job.drive_resume()
        assert (code, "is not a run directory" in said) == (2, True), said
        return
    resumed_well(job)


def test_a_driver_that_dies_before_it_has_looked_at_all_input_files(chaos):
    """Code and input that have changed are not mixed unseen with what was committed before; what can't be known is said."""
    job = chaos(mini_batches=40)
    assert job.drive(moment="unseen after commit", count=2)[0] == -signal.SIGKILL
    script, data = job.folder / "code" / "faulty_script.py", job.folder / "data" / "00003.txt"
    text, stamp = script.read_text(), data.stat().st_mtime_ns
    script.write_text(text + "# other\n")
    data.touch()
    code, said = job.drive_resume()
    assert code == 2, said
    assert "faulty_script.py is changed" in said and "00003.txt changed after it began" in said
    script.write_text(text)
    os.utime(data, ns=(stamp, stamp))
    warned = job.run_dir / "steps" / "work" / "step.json"
    assert "inputs" not in json.loads(warned.read_text())["fingerprint"]
    resumed_well(job)
    assert "inputs" in json.loads(warned.read_text())["fingerprint"]


def test_what_nothing_is_committed_of_is_planned_anew(chaos):
    job = chaos(mini_batches=40)
    assert job.drive(moment="unseen before commit")[0] == -signal.SIGKILL
    assert (job.run_dir / "steps" / "work" / "plan" / "plan.json").exists()
    job.mini_batches += 1
    for number in (80, 81):
        (job.folder / "data" / f"{number:05d}.txt").touch()
    resumed_well(job)


@pytest.mark.parametrize("moment", ["grouping", "before its plan"])
def test_a_driver_that_dies_while_rows_are_brought_together(chaos, moment):
    job = chaos(kind="grouped", mini_batches=40)
    code, said = job.drive(moment=moment)
    assert code == -signal.SIGKILL, said
    assert not (job.run_dir / "steps" / "work" / "plan" / "plan.json").exists()
    code, said = job.drive_resume()
    assert code == 0, said
    job.check_output()
    job.check_leftovers()


@pytest.mark.parametrize("deaths", [1, 2])
def test_processors_that_die_while_rows_are_brought_together(chaos, deaths):
    job = chaos(kind="grouped", mini_batches=40)
    code, said = job.drive(moment="in grouping", count=deaths)
    assert code == 0, said
    assert len(job.deaths()) == deaths
    job.check_output()
    job.check_leftovers()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_goes_on(chaos, number):
    job = chaos(faults={"run 21": ["call"]}, timeout=60)
    driver = job.start()
    job.wait_for_line("wanted")
    os.kill(driver.pid, number)
    said = driver.communicate()[0].decode()
    assert driver.returncode == 130, said
    assert "resume" in said
    job.wait_for_no_process()
    job.set_faults({})
    resumed_well_after_stop(job)


def resumed_well_after_stop(job, *options: str) -> None:
    done = job.committed()
    code, said = job.drive_resume("never", 1, *options)
    assert code == 0, said
    job.check_output()
    calls = job.calls()
    assert all(len(calls[index]) == 1 for index in done), "committed mini-batches were run again"
    job.check_leftovers()


def test_without_its_scheduler_a_run_ends_and_goes_on_elsewhere(chaos, tmp_path):
    cluster = Cluster(tmp_path, nodes=1, replace=False)
    try:
        job = chaos(faults={"run 21": ["call"]}, timeout=60)
        driver = job.start(str(job.write()), "--run-dir", str(job.run_dir), "--scheduler", cluster.address)
        job.wait_for_line("wanted")
        os.kill(cluster.scheduler.pid, signal.SIGKILL)
        said = driver.communicate()[0].decode()
        assert driver.returncode == 3, said
        assert "resume" in said
        job.wait_for_no_process()
    finally:
        cluster.close()
    job.set_faults({})
    resumed_well_after_stop(job)


def test_a_killed_driver_leaves_nothing_on_a_cluster_and_a_resume_there_works(chaos, tmp_path):
    cluster = Cluster(tmp_path, nodes=1, replace=False)
    try:
        job = chaos(faults={"run 21": ["call"]}, timeout=60)
        scheduler = ("--scheduler", cluster.address)
        driver = job.start(str(job.write()), "--run-dir", str(job.run_dir), *scheduler)
        job.wait_for_line("wanted")
        driver.kill()
        driver.communicate()
        job.wait_for_no_process()
        job.set_faults({})
        resumed_well_after_stop(job, *scheduler)
    finally:
        cluster.close()


def test_a_driver_that_dies_in_a_run_of_some_mini_batches(chaos):
    """Its resume goes on to the whole, and nothing that was committed is run again."""
    job = chaos(kind="grouped", mini_batches=40)
    given = [str(job.write()), "--run-dir", str(job.run_dir), "--mini-batches", "2,5-20,39"]
    code, said = job.drive(*given, moment="after commit", count=3)
    assert code == -signal.SIGKILL, said
    assert job.committed() <= {2, *range(5, 21), 39} and not job.output.exists()
    resumed_well(job)
