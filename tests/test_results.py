"""One way from an error to a status, and from a status to the exit code of the command line."""

from __future__ import annotations

import dataclasses

import pytest

from daskpar.errors import (
    InfrastructureLost,
    InputError,
    Interrupted,
    JobFailed,
    PlanDamaged,
    RunDirectoryError,
    UsageError,
)
from daskpar.results import Status, StepResult, error_of, status_of


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (JobFailed, Status.FAILED),
        (InputError, Status.FAILED),
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
