"""Grouping 1 GB by key, alone: from the command until every group lies together."""

from __future__ import annotations

from statistics import median

from benchmarks import data
from benchmarks.bars import Answer, Settings
from benchmarks.harness import Series, interleave, peer
from benchmarks.jobs import Job, mltable
from benchmarks.questions.many_models import KEYS


def ask(settings: Settings) -> Answer:
    """Time, memory and memory over file size against Dask's shuffle."""
    answer = Answer(question="grouping")
    path, groups = data.sales_csv(settings.scaled(26_500, 20))
    table = mltable(path.stem, [f"file: {path}"], "read_delimited")
    job = Job(name="grouping", script="nothing.py", data=table, partition_keys=KEYS, append_row=False)
    commands = [
        job.command(check=lambda: job.expect(planned=groups, succeeded=groups, items=groups * data.DAYS))
    ]
    commands.append(peer("models", "dask_grouping", path))
    series = interleave(commands, settings.repeats, memory=True)
    answer.series[f"grouping, {path.stat().st_size / 1e6:.0f} MB"] = series
    ours, dask = series["daskpar"], series["dask-grouping"]
    time = max(
        ours.mark("planned") / dask.seconds, grouping_seconds(ours) / (dask.job_seconds or dask.seconds)
    )
    # The calls of run() that come after are no part of the question.
    assert ours.looked_at is not None
    peak = ours.memory.peak(until=ours.looked_at.marks["planned"])
    answer.bar("time against Dask's shuffle", time, 0.6, 0.4)
    answer.bar("peak memory against Dask's shuffle", peak / dask.peak_bytes, 0.6)
    answer.bar("peak memory over the size of the file", peak / path.stat().st_size, 0.75)
    return answer


def grouping_seconds(series: Series) -> float:
    """Median from the start of the step until its mini-batches are known."""
    return median(run.marks["planned"] - run.marks["up"] for run in series.runs)
