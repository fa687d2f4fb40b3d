"""What a step waits for, and when that has been long enough."""

from __future__ import annotations

import pytest

from daskpar.engine.rules.clocks import StepClocks, Timeouts, progress_timeout

TIMEOUTS = Timeouts(progress=100, nodes=50, left_out=20, stopping=15)


@pytest.mark.parametrize(
    ("waiting", "now", "overdue"),
    [
        (StepClocks(progress_since=0), 100, ""),
        (StepClocks(progress_since=0), 101, "progress"),
        (StepClocks(progress_since=1000), 1100, ""),
        (StepClocks(progress_since=1000), 1101, "progress"),
        (StepClocks(progress_since=0, nodes_since=60), 110, ""),
        (StepClocks(progress_since=0, nodes_since=60, stopping_since=500), 515, ""),
        (StepClocks(progress_since=0, nodes_since=60), 111, "nodes"),
        (StepClocks(progress_since=0, nodes_since=60, none_can=True), 80, ""),
        (StepClocks(progress_since=0, nodes_since=60, none_can=True), 81, "nodes"),
        (StepClocks(progress_since=0, nodes_since=60, none_can=True, any_result=True), 110, ""),
        (StepClocks(progress_since=0, nodes_since=0, stopping_since=200), 214, ""),
        (StepClocks(progress_since=0, nodes_since=0, stopping_since=200), 216, "stopping"),
    ],
)
def test_which_timeout_is_over(waiting, now, overdue):
    assert waiting.overdue(now, TIMEOUTS) == overdue


@pytest.mark.parametrize(
    ("chosen", "run", "overhead", "init", "expected"),
    [(600, 60, 600, 3600, 600), (None, 60, 30, 10, 270), (None, 60, 600, 3600, 4260)],
)
def test_the_default_follows_from_the_other_timeouts(chosen, run, overhead, init, expected):
    assert progress_timeout(chosen=chosen, run=run, overhead=overhead, init=init) == expected


def test_processors_that_get_ready_are_progress_only_until_mini_batches_end():
    clocks = StepClocks(progress_since=0)
    clocks.processor_ready(10)
    assert clocks.progress_since == 10
    clocks.result_came(20)
    clocks.processor_ready(30)
    assert clocks.progress_since == 20


def test_the_time_without_a_node_is_no_time_without_progress():
    clocks = StepClocks(progress_since=0)
    clocks.node_came(5)
    assert clocks.progress_since == 5
    clocks.result_came(20)
    clocks.nodes_since = 50
    clocks.node_came(90)
    assert (clocks.progress_since, clocks.nodes_since) == (60, None)
    clocks.node_came(95)
    assert clocks.progress_since == 60
