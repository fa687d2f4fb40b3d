"""Every fault of an entry script costs its own mini-batch and nothing else: exact counts of calls, items and rows."""

from __future__ import annotations

import pytest

from daskpar.results import Reason

# fault: (reason, failed items of a mini-batch of 2 when no try is left, rows that stay then)
FAILS = {
    "raise": (Reason.EXCEPTION, 2, 0),
    "short": (Reason.SHORT, 1, 1),
    "none": (Reason.BAD_RETURN, 2, 0),
    "text": (Reason.BAD_RETURN, 2, 0),
    "hang": (Reason.TIMEOUT, 2, 0),
    "hang in C": (Reason.TIMEOUT, 2, 0),
    "exit": (Reason.DIED, 2, 0),
    "segfault": (Reason.DIED, 2, 0),
    "kill": (Reason.DIED, 2, 0),
    "sys.exit": (Reason.EXCEPTION, 2, 0),
    "memory": (Reason.MEMORY, 2, 0),
}
FINE = ["ok", "fork + exit", "fork + return", "fork + exception", "generator", "print lines"]


@pytest.mark.parametrize("retries", [0, 1])
def test_each_fault_costs_its_mini_batch_alone(job, retries):
    """All faults in one job, each on a mini-batch of its own, for ever: its neighbours' rows are all there, its own are not.

    One that failed right behind another in the same process may be called once more, without charge.
    """
    names = list(FAILS)
    faults = {3 * at + 1: [name] * (retries + 2) for at, name in enumerate(names)}
    made = job(
        faults=faults, files=6 * len(names) + 4, retries=retries, arguments="--processor-memory 1500mb"
    )
    ended = made.run()
    assert ended.status == "completed", ended.reason
    counts = ended.steps["work"].counts
    well = [index for index in range(made.mini_batches) if index not in faults]
    expected = []
    for index in range(made.mini_batches):
        rows = made.rows_of(index)
        expected += rows if index in well else rows[: FAILS[faults[index][0]][2]]
    assert made.output() == expected
    assert (counts.succeeded, counts.failed) == (len(well), len(names))
    assert counts.failed_items == sum(FAILS[name][1] for name in names)
    calls = made.calls()
    assert counts.tries_failed == sum(calls[index] for index in faults)
    assert counts.retried == counts.tries_failed - len(names)
    assert all(calls[index] - retries in (1, 2) for index in faults), calls
    # A neighbour may only have run twice where its unflushed result went down with a processor.
    assert sum(calls[index] - 1 for index in well) == counts.repeats


def test_each_fault_is_mended_by_a_retry(job):
    names = list(FAILS)
    made = job(
        faults={2 * at: [name] for at, name in enumerate(names)},
        files=4 * len(names),
        arguments="--processor-memory 1500mb",
    )
    ended = made.run()
    assert ended.status == "completed", ended.reason
    counts = ended.steps["work"].counts
    assert made.output() == made.rows_of(*range(made.mini_batches))
    assert (counts.failed, counts.failed_items, counts.retried) == (0, 0, len(names))


def test_what_looks_odd_but_is_fine_costs_nothing(job):
    made = job(faults={at: [name] for at, name in enumerate(FINE)}, files=2 * len(FINE) + 6, retries=0)
    ended = made.run()
    assert ended.status == "completed", ended.reason
    assert made.output() == made.rows_of(*range(made.mini_batches))
    assert ended.steps["work"].counts.tries_failed == 0
    assert set(made.calls().values()) == {1}


@pytest.mark.parametrize(
    ("settings", "arguments", "faults", "status"),
    [
        ({"mini_batch_error_threshold": 2}, "", {1: ["raise"], 5: ["none"]}, "completed"),
        ({"mini_batch_error_threshold": 1}, "", {1: ["raise"], 5: ["none"]}, "failed"),
        ({"error_threshold": 3}, "", {1: ["raise"], 5: ["short"]}, "completed"),
        ({"error_threshold": 2}, "", {1: ["raise"], 5: ["short"]}, "failed"),
        ({"error_threshold": 0}, "--error_threshold 9", {1: ["raise"]}, "completed"),
        ({"error_threshold": 9}, "--error_threshold 0", {1: ["raise"]}, "failed"),
        ({}, "--allowed_failed_percent 20", {1: ["raise"], 5: ["none"]}, "completed"),
        ({}, "--allowed_failed_percent 19", {1: ["raise"], 5: ["none"]}, "failed"),
    ],
)
def test_a_threshold_that_is_met_completes_and_one_that_is_passed_fails(
    job, settings, arguments, faults, status
):
    ended = job(settings=settings, arguments=arguments, faults=faults, retries=0).run()
    assert (ended.status, ended.exit_code) == (status, 0 if status == "completed" else 1)
    if status == "failed":
        assert "threshold" in ended.reason or "allowed_failed_percent" in ended.reason
        assert "the script says no" in ended.summary or "returned" in ended.summary


def test_returns_are_not_measured_where_nobody_asks_for_them(job):
    """The published many-models sample returns [] with error_threshold -1."""
    made = job(
        faults={index: ["none"] for index in range(10)},
        append=False,
        settings={"error_threshold": -1, "mini_batch_error_threshold": 0},
    )
    ended = made.run()
    assert ended.status == "completed", ended.reason
    assert ended.steps["work"].counts.succeeded == 10


@pytest.mark.parametrize("fault", ["raise", "exit", "hang"])
def test_an_init_that_never_succeeds_ends_the_step_and_charges_nobody(job, fault):
    made = job(faults={"init": fault}, arguments="--init_timeout 1", processors=1)
    ended = made.run()
    assert (ended.status, ended.exit_code) == ("failed", 1)
    assert "init" in ended.reason
    assert ended.steps["work"].counts.done == 0
    assert ended.steps["work"].counts.tries_failed == 0
    assert not (made.folder / "rows.txt").exists()
