"""One way from an error to a status, and from a status to the exit code of the command line."""

from __future__ import annotations

import dataclasses

import pytest

from daskpar.errors import (
    DataUnreached,
    InfrastructureLost,
    InputError,
    Interrupted,
    JobFailed,
    PlanDamaged,
    RunDirectoryError,
    UsageError,
)
from daskpar.results import Failure, InitFailed, Status, StepResult, error_of, first_that_cost, status_of


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (JobFailed, Status.FAILED),
        (InputError, Status.FAILED),
        (DataUnreached, Status.LOST),
        (UsageError, Status.FAILED),
        (RunDirectoryError, Status.FAILED),
        (PlanDamaged, Status.FAILED),
        (InfrastructureLost, Status.LOST),
        (Interrupted, Status.INTERRUPTED),
    ],
)
def test_each_error_has_a_status(error, status):
    assert status_of(error("why")) is status


@pytest.mark.parametrize(
    ("status", "code"),
    [(Status.COMPLETED, 0), (Status.FAILED, 1), (Status.LOST, 3), (Status.INTERRUPTED, 130)],
)
def test_each_end_of_a_run_has_its_exit_code_and_its_error(status, code):
    assert status.exit_code == code
    error = error_of(status, "why")
    if status is Status.COMPLETED:
        assert error is None
    else:
        assert (status_of(error), error.exit_code, str(error)) == (status, code, "why")


def test_a_result_is_never_changed():
    result = StepResult(step="s", status=Status.COMPLETED)
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.status = Status.FAILED


def failure(time: float, *, final: bool) -> Failure:
    return Failure(index=0, reason=1, message="", time=time, final=final)


def init_failed(time: float, *, fatal: bool) -> InitFailed:
    return InitFailed(node=0, processor=0, message="", trace="", log="", time=time, fatal=fatal)


@pytest.mark.parametrize(
    ("failures", "shown"),
    [
        ([], None),
        ([None, None], None),
        ([failure(2, final=False), failure(1, final=False)], 1),
        ([failure(1, final=False), failure(2, final=True)], 1),  # the earlier one was mended by a retry
        ([failure(3, final=True), None, failure(2, final=True)], 2),
        ([init_failed(1, fatal=False), failure(2, final=True)], 1),
        ([failure(1, final=False), init_failed(5, fatal=True)], 1),
        ([failure(0, final=True), failure(7, final=True)], 1),  # of that one the time is not known
    ],
)
def test_the_failure_that_is_shown_is_the_first_that_cost_something(failures, shown):
    assert first_that_cost(*failures) is (None if shown is None else failures[shown])
