"""What a step waits for, and how long it takes to start: pure."""

from __future__ import annotations

import pytest

from daskpar.events import LongCall, LongCallsChanged, ProcessorState, RunStarted, StepKind, StepStarted
from daskpar.reports.progress_view import ProgressView, live_line, plain_line
from daskpar.reports.waiting import Quiet, awaited, starting_text, waiting_text

from .conftest import START, ended, planned, processor, progress


def call(
    index: int, since: float = START, doing: str = "run", limit: float | None = 60.0, tries: int = 0
) -> LongCall:
    return LongCall(processor=0, doing=doing, index=index, since=since, limit=limit, tries=tries)


@pytest.mark.parametrize(
    ("quiet", "index"),
    [
        (Quiet(left=2, running=2, since_result=0.1, per_second=5.0), 7),  # nothing else is left
        (Quiet(left=20, running=2, since_result=4.0, per_second=5.0), None),
        (Quiet(left=20, running=2, since_result=6.0, per_second=5.0), 7),  # nothing ends any more
        (Quiet(left=20, running=2, since_result=20.0, per_second=0.1), None),  # each takes long
        (Quiet(left=20, running=2, since_result=31.0, per_second=0.1), 7),
        (Quiet(left=20, running=8, since_result=31.0, per_second=0.1), None),  # eight began together
        (Quiet(left=0, running=0, since_result=31.0, per_second=0.1), None),
    ],
)
def test_a_call_is_named_where_all_wait_for_it(quiet: Quiet, index: int | None) -> None:
    calls = [call(9, START + 1), call(7), call(-1, START - 9, "init")]
    found = awaited(calls, quiet) if quiet.left else awaited([], quiet)
    assert (found.index if found else None) == index


@pytest.mark.parametrize(
    ("one", "text"),
    [
        (call(7), "waiting for mini-batch 7 (41 s of 60 s)"),
        (call(1234, limit=0.5, tries=1), "waiting for mini-batch 1,234 (41 s of 0.5 s, try 2)"),
        (call(7, doing="loading", limit=None), "waiting for loading mini-batch 7 (41 s)"),
    ],
)
def test_what_is_said_of_it(one: LongCall, text: str) -> None:
    assert waiting_text(one, START + 41.9) == text


def view(*steps: str) -> ProgressView:
    view = ProgressView(summary_follows=True)
    view.handle(RunStarted(time=START, name="j", spec="j.yml", run_directory="/r", steps=steps, dashboard=""))
    view.handle(StepStarted(time=START, step="score", kind=StepKind.PARALLEL, folder="/r/steps/score"))
    view.handle(planned(20))
    view.take_messages()
    return view


@pytest.mark.parametrize("finished", [1, 3])
def test_a_silence_after_few_results_is_noticed(finished: int) -> None:
    shown = view("score")
    shown.handle(processor(ProcessorState.READY))
    shown.handle(progress(2, finished))
    shown.handle(LongCallsChanged(time=START + 12, step="score", node=0, calls=(call(7, START + 2),)))
    shown.handle(progress(20, finished))
    (step,) = shown.steps.values()
    assert "waiting for mini-batch 7 (18 s" in plain_line(step, START + 20)


def test_start_up_is_a_phase_and_the_pace_begins_with_the_first_ready_processor() -> None:
    shown = view("score")
    shown.handle(progress(1))
    step = shown.steps["score"]
    assert plain_line(step, START + 3) == "score: 0:00:03  starting (import, init)"
    shown.handle(
        LongCallsChanged(time=START + 3, step="score", node=0, calls=(call(-1, START + 1, "init", 3600.0),))
    )
    assert starting_text(step.calls, START + 9) == "starting (import, init: 8 s of 3600 s)"
    assert live_line(step, START + 9, 40, 5) == "score  0:00:09  starting"
    shown.handle(processor(ProcessorState.READY, after=10.0))
    shown.handle(LongCallsChanged(time=START + 10, step="score", node=0, calls=()))
    assert "0/20" in plain_line(step, START + 11) and "left" not in plain_line(step, START + 11)
    shown.handle(progress(14, 4))
    assert "4/20 mini-batches, 0:00:16 left, 1.0/s" in plain_line(step, START + 14)


def test_the_line_names_what_is_waited_for_at_every_width() -> None:
    shown = view("score")
    shown.handle(progress(10, 18))
    shown.handle(LongCallsChanged(time=START + 13, step="score", node=0, calls=(call(7, START + 10),)))
    step = shown.steps["score"]
    assert "18/20 mini-batches, waiting for mini-batch 7 (41 s of 60 s)" in plain_line(step, START + 51)
    assert "waiting for mini-batch 7 (41 s of 60 s)" in live_line(step, START + 51, 120, 5)
    assert live_line(step, START + 51, 80, 5).startswith(
        "score  0:00:51  90 %  18/20 mini-batches  mini-batch 7 (41 s of 60 s)"
    )
    assert live_line(step, START + 51, 44, 5) == "score  0:00:51  90 %  18/20  7: 41 of 60 s"
    assert live_line(step, START + 51, 60, 5) == "score  0:00:51  90 %  18/20  mini-batch 7 (41 s of 60 s)"
    assert live_line(step, START + 51, 40, 5) == "score  0:00:51  90 %  18/20"


def test_which_step_of_how_many_it_is() -> None:
    shown = view("prep", "score")
    shown.handle(progress(10, 5))
    step = shown.steps["score"]
    assert plain_line(step, START + 10).startswith("step 2 of 2, score: 0:00:10")
    assert live_line(step, START + 10, 120, 5).startswith("step 2 of 2 score  0:00:10  █")
    assert live_line(step, START + 10, 60, 5).startswith("2/2 score  0:00:10  25 %")


def test_what_the_summary_says_is_not_said_before_it() -> None:
    alone = view("score")
    alone.handle(ended(planned=20, succeeded=20))
    assert alone.take_messages() == []
    first = view("score", "report")
    first.handle(ended(planned=20, succeeded=20))
    first.handle(StepStarted(time=START + 61, step="report", kind=StepKind.COMMAND, folder="/r"))
    assert first.take_messages() == ["score: completed", "report: step 2 of 2, 0:01:01 so far"]
