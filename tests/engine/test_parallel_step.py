"""One parallel step: no slip in the books is taken for a success."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import Any

import pytest

import daskpar
from daskpar.engine.execution_result import ExecutionResult
from daskpar.engine.parallel_step import ParallelStepRun
from daskpar.rundir.run_directory import RunDirectory

QUIET: dict[str, Any] = {"dashboard": None, "display": False}


def without_the_last_two(work: Any, **step: Any) -> Any:
    """The ended run of a step over 7 files, of which 2 never came."""
    work.files(7)
    execute = ParallelStepRun._execute

    def half(
        self: ParallelStepRun, settings: Any, counter: Any, missing: Any, **more: Any
    ) -> ExecutionResult:
        ((start, stop),) = missing
        return execute(self, settings, counter, [(start, stop - 2)], **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ParallelStepRun, "_execute", half)
        return work.run({"work": work.parallel(**step)})


@pytest.mark.parametrize("append", [True, False])
def test_a_step_that_ends_well_without_all_outcomes_is_not_completed(work: Any, append: bool) -> None:
    ended = without_the_last_two(work, append=append)
    assert ended.status == "lost"
    assert "2 of 7 mini-batches have no outcome" in ended.reason
    assert not (work.folder / "rows.txt").exists()
    assert daskpar.resume(work.folder / "run", **QUIET).status == "completed"


@pytest.mark.parametrize("lost", ["plan.json", "."])
def test_a_plan_that_is_gone_is_made_anew_only_where_it_is_certainly_the_same(work: Any, lost: str) -> None:
    assert without_the_last_two(work).status == "lost"
    plan = work.folder / "run" / "steps" / "work" / "plan"
    if lost == ".":
        shutil.rmtree(plan)
    else:
        (plan / lost).unlink()
    data = work.folder / "data"
    (data / "0006.txt").rename(data / "00.txt")
    for _ in range(2):
        ended = daskpar.resume(work.folder / "run", allow_changes=True, **QUIET)
        assert (
            ended.status == "failed"
            and "holds no plan of mini-batches" in ended.reason
            and "can't be made anew" in ended.reason
        )
    (data / "00.txt").rename(data / "0006.txt")
    ended = daskpar.resume(work.folder / "run", allow_changes=True, **QUIET)
    assert ended.status == "completed", ended.reason
    assert len(work.rows()) == len(set(work.rows())) == 7


def test_repeats_and_copies_are_counted_on_in_a_resume_and_explained(work: Any) -> None:
    without_the_last_two(work)
    folder = RunDirectory.open(work.folder / "run", lock=False).step("work")
    state = folder.state()
    assert state is not None
    folder.save(replace(state, counts=replace(state.counts, repeats=2, copies=3, copies_first=1)))
    ended = daskpar.resume(work.folder / "run", **QUIET)
    assert ended.counts["work"].repeats == 2
    assert (
        "2 repeats, 3 second copies (1 first)\n  (a repeat: run again because its result was lost"
        in ended.summary
    )
