"""What the display says and shows, as pure text for a width."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskpar.events import (
    Event,
    NodeEvent,
    NodeState,
    ProcessorEvent,
    ProcessorState,
    Progress,
    RunEnded,
    RunStarted,
    StepKind,
    StepStarted,
    Warned,
)
from daskpar.reports.progress_view import ProgressView, bar, frame, live_line, plain_line
from daskpar.results import Counts, Reason, Status

from .conftest import START, ended, failure, planned, tries_ended


def step(name: str = "score") -> StepStarted:
    return StepStarted(time=START, step=name, kind=StepKind.PARALLEL, folder="/run/steps/score")


def progress(after: float, doing: str = "", running: int = 2, name: str = "score", **counts: int) -> Progress:
    return Progress(
        time=START + after, step=name, counts=Counts(planned=2000, **counts), running=running, doing=doing
    )


def view_of(*events: Event) -> ProgressView:
    view = ProgressView()
    for event in events:
        view.handle(event)
    view.take_messages()
    return view


def messages(view: ProgressView, event: Event) -> list[str]:
    """What an event is worth saying."""
    view.handle(event)
    return view.take_messages()


BUSY = (
    step(),
    planned(2000),
    progress(
        100, succeeded=1196, failed=3, empty=1, items=11990, failed_items=30, retried=12, tries_failed=15
    ),
)


def test_a_full_line_says_everything() -> None:
    view = view_of(*BUSY)
    assert live_line(view.steps["score"], START + 100, 200, 5) == (
        "score  0:01:40  ████████████░░░░░░░░  60 %  1,200/2,000 mini-batches  3 failed  0:01:06 left  12.0/s  12 retried  "
        "11,990 items  30 items failed  2 busy"
    )
    assert plain_line(view.steps["score"], START + 100) == (
        "score: 0:01:40  60 %, 1,200/2,000 mini-batches, 3 failed, 0:01:06 left, 12.0/s, 12 retried, 11,990 items, 30 items failed, 2 busy"
    )


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (100, "score  0:01:40  ████████████░░░░░░░░  60 %  1,200/2,000 mini-batches  3 failed  0:01:06 left"),
        (80, "score  0:01:40  ██████░░░░  60 %  1,200/2,000 mini-batches  3 failed"),
        (60, "score  0:01:40  60 %  1,200/2,000 mini-batches  3 failed"),
        (30, "score  0:01:40  60 %"),
        (20, "score  0:01:40"),
        (10, "score  0:"),
        (1, ""),
    ],
)
def test_what_matters_least_goes_first_on_a_narrow_terminal(width: int, line: str) -> None:
    assert live_line(view_of(*BUSY).steps["score"], START + 100, width, 5) == line


@given(
    st.integers(1, 250),
    st.integers(1, 50),
    st.lists(st.sampled_from(["a", "a_rather_long_name_of_a_step_indeed", "b"]), unique=True),
)
def test_a_frame_never_is_larger_than_the_terminal(width: int, height: int, names: list[str]) -> None:
    view = view_of(*(step(name) for name in names), *(progress(5, name=name, succeeded=7) for name in names))
    lines = frame(view, START + 10, width, height)
    assert len(lines) <= max(height - 1, 1)
    assert all(len(line) < width for line in lines)
    assert bool(lines) == bool(names)


def test_steps_that_do_not_fit_are_counted() -> None:
    view = view_of(*(step(f"s{i}") for i in range(10)))
    lines = frame(view, START, 80, 5)
    assert len(lines) == 4
    assert lines[-1] == "… and 7 more steps"


@pytest.mark.parametrize(
    ("done", "total", "full"), [(0, 0, 0), (0, 9, 0), (1999, 2000, 19), (2000, 2000, 20), (1, 2, 10)]
)
def test_the_bar_is_full_only_at_the_end(done: int, total: int, full: int) -> None:
    assert bar(done, total) == "█" * full + "░" * (20 - full)


@pytest.mark.parametrize(
    ("doing", "shown"), [("", "starting"), ("listing", "listing"), ("grouping 40 %", "grouping 40 %")]
)
def test_before_there_is_a_plan_the_phase_is_shown(doing: str, shown: str) -> None:
    view = view_of(step(), Progress(time=START, step="score", counts=Counts(), running=0, doing=doing))
    assert live_line(view.steps["score"], START + 3, 80, 5) == f"score  0:00:03  {shown}"


def test_assembling_is_a_phase_after_the_mini_batches() -> None:
    view = view_of(*BUSY, progress(101, doing="assembling 12 %", succeeded=2000))
    assert live_line(view.steps["score"], START + 101, 80, 5) == "score  0:01:41  assembling 12 %"


def test_the_first_lines_name_the_run_and_the_dashboard() -> None:
    start = RunStarted(
        time=START,
        name="iris",
        spec="p.yml",
        run_directory="/runs/1",
        steps=("a", "b"),
        dashboard="http://x/status",
        notes=("n",),
    )
    assert messages(ProgressView(), start) == [
        "running iris (a, b) in /runs/1",
        "Dask dashboard: http://x/status",
        "note: n",
    ]
    resumed = RunStarted(
        time=START,
        name="iris",
        spec="p.yml",
        run_directory="/runs/1",
        steps=("a",),
        dashboard="",
        resumed=True,
    )
    assert messages(ProgressView(), resumed) == ["resuming iris (a) in /runs/1"]


def test_warnings_are_said_once_for_each_text() -> None:
    view = ProgressView()
    warnings = [Warned(time=START + i, step="score", text=text) for i, text in enumerate("aabab")]
    assert [messages(view, warning) for warning in warnings] == [
        ["warning: score: a"],
        [],
        ["warning: score: b"],
        [],
        [],
    ]
    lost = NodeEvent(time=START, step="score", node=1, address="tcp://b", state=NodeState.LOST)
    assert messages(view, lost) == [
        "warning: score: node 1 at tcp://b is lost; its mini-batches go elsewhere"
    ]
    bad = ProcessorEvent(
        time=START,
        step="score",
        node=0,
        address="x",
        processor=1,
        pid=2,
        state=ProcessorState.INIT_FAILED,
        detail="KeyError: 'M'",
    )
    assert messages(view, bad) == [
        "warning: score: import or init() of the entry script failed: KeyError: 'M'"
    ]
    assert messages(view, bad) == []
    assert (
        messages(view, NodeEvent(time=START, step="score", node=1, address="tcp://b", state=NodeState.JOINED))
        == []
    )


def test_the_first_failure_of_a_step_is_said_at_once_the_others_are_counted() -> None:
    view = ProgressView()
    shown = messages(
        view,
        tries_ended(
            [(1, Reason.EXCEPTION), (2, Reason.EXCEPTION)],
            (failure(1, time=START + 5), failure(2, time=START + 4)),
        ),
    )
    assert shown == [
        'score: mini-batch 2 (data/2.csv) failed and is tried again: ValueError: bad, "value" 1 (logs/user/error/0/process000.txt); '
        "later failures are counted only"
    ]
    assert messages(view, tries_ended([(3, Reason.EXCEPTION)], (failure(3),))) == []


def test_a_step_that_ended_is_a_line_and_no_longer_shown() -> None:
    view = view_of(*BUSY)
    assert messages(view, ended("failed", "too\nmany", planned=3, succeeded=1, failed=2, items=10)) == [
        "score: failed after 1 min 0 s: 1 of 3 mini-batches succeeded, 2 failed; 10 items (too many)"
    ]
    assert frame(view, START, 80, 24) == []
    assert messages(view, progress(120)) == []
    assert messages(view, RunEnded(time=START, status=Status.FAILED, reason="", seconds=1, exit_code=1)) == []


def test_a_resumed_step_does_not_count_what_was_done_before_as_speed() -> None:
    plan = planned(2000)
    view = view_of(
        step(), type(plan)(**{**plan.__dict__, "already_done": 1000}), progress(10, succeeded=1100)
    )
    assert view.steps["score"].pace(START + 10).per_second == pytest.approx(10.0)
