"""The overview of a step: a line for each stage, the table of progress, the result."""

from __future__ import annotations

from daskpar.paths import LogPaths
from daskpar.reports.overview import Overview

from .conftest import START, Started, ended, failure, planned, progress, read


def test_overview_says_how_far_it_is(logs: LogPaths, started: Started) -> None:
    overview = Overview(logs)
    phases = [progress(1, doing="listing"), progress(2, doing="listing 40 %"), progress(3)]
    for event in (
        started(),
        planned(20),
        *phases,
        progress(5, 1),
        progress(14, 10),
        ended(planned=20, succeeded=20, items=200),
    ):
        overview.handle(event)
    lines = [line.split(" ", 1)[1] for line in read(logs.overview(START)).splitlines()]
    assert lines == [
        "step score started",
        "20 mini-batches, 200 items; 2 processors on 1 node",
        "listing; 2 processors busy",
        "nothing processed yet; 2 processors busy",
        "10 of 20 mini-batches processed (50 %), 0 items, 0.8/s, 0:00:13 left",
        "step score completed after 1 min 0 s: 20 of 20 mini-batches succeeded; 200 items",
    ]
    metrics = read(logs.metrics(START + 1)).splitlines()
    assert (
        metrics[0]
        == "Datetime,Total Tasks,Scheduled Tasks,Completed Tasks,Failed Tasks,Elapsed Time,Estimated Remaining Time"
    )
    assert metrics[-1] == "2026-11-23T13:21:00.000000Z,20,20,20,0,60.0,0.0"
    assert read(logs.job_result).startswith("Status: completed\n")


def test_the_result_says_running_until_the_end(logs: LogPaths, started: Started) -> None:
    overview = Overview(logs)
    overview.handle(started())
    assert read(logs.job_result) == "Status: running\n"
    overview.handle(ended("failed", "3 failed", failure(7, final=True), planned=9, failed=3))
    text = read(logs.job_result)
    for expected in (
        "Status: failed",
        "Reason: 3 failed",
        "mini-batch 7",
        "data/7.csv",
        'ValueError: bad, "value" 1',
        "job_error.txt",
    ):
        assert expected in text
