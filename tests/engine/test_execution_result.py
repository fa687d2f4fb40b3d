"""What is known of a step that was run in several rounds."""

from __future__ import annotations

from daskpar.engine.execution_result import ExecutionResult
from daskpar.results import Failure, Status


def failure(time: float) -> Failure:
    return Failure(index=0, reason=1, message="", time=time, final=True)


def test_a_round_that_runs_damaged_rows_again_forgets_nothing_of_the_one_before():
    first = ExecutionResult(first_failure=failure(2), gathered="on node 1", input_changed=3)
    second = ExecutionResult(status=Status.LOST, reason="no node", first_failure=failure(9), input_changed=1)
    assert second.after(first) == ExecutionResult(
        status=Status.LOST,
        reason="no node",
        first_failure=failure(2),
        gathered="on node 1",
        input_changed=4,
    )
    assert ExecutionResult(gathered="on node 2").after(first).gathered == "on node 2"
