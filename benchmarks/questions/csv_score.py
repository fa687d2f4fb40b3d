"""Scores 500 MB of CSV in mini-batches of 1 MB into one ordered output: does safety cost time or memory?"""

from __future__ import annotations

from benchmarks import data
from benchmarks.bars import Answer, Settings
from benchmarks.checks import scores_complete
from benchmarks.harness import DATA, Command, available, interleave, peer, ratio
from benchmarks.jobs import Job, mltable

SIZE = 1024 * 1024


def job_over(megabytes: int, size: str = "1mb", script: str = "score.py") -> tuple[Job, int]:
    """The daskpar job over the scoring table, and its rows."""
    path, rows = data.scoring_csv(megabytes)
    table = mltable(f"score-{megabytes}mb", [f"file: {path}"], "read_delimited")
    return Job(name=f"csv-score-{megabytes}mb-{size}", script=script, data=table, mini_batch_size=size), rows


def competitor(function: str, megabytes: int, size: int, **more: object) -> Command:
    """A peer over the same file."""
    path, rows = data.scoring_csv(megabytes)
    output = DATA / f"{function}.out"
    check = scores_complete(output, rows, ordered=function != "ray_data")
    return peer(
        "csv",
        function,
        path,
        output,
        size,
        check=check,
        prepare=lambda: output.unlink(missing_ok=True),
        **more,
    )


def ask(settings: Settings) -> Answer:
    """Time and memory against pools, dask.dataframe and Ray Data; memory at a tenth of the data."""
    answer = Answer(question="csv-score")
    megabytes = settings.scaled(500, 10)
    job, rows = job_over(megabytes)
    tenth, tenth_rows = job_over(megabytes // 10)
    commands = [
        job.command(check=scores_complete(job.rows, rows)),
        tenth.command(name="daskpar-tenth", check=scores_complete(tenth.rows, tenth_rows)),
    ]
    commands += [
        competitor(name, megabytes, SIZE)
        for name in ("pool_parts", "pool_slices", "pool_pandas", "dask_dataframe")
    ]
    if available("ray"):
        commands.append(competitor("ray_data", megabytes, SIZE))
    else:
        answer.skip("Ray Data: not installed (pip install '.[bench]')")
    series = interleave(commands, settings.repeats, memory=True)
    answer.series[f"csv-score {megabytes} MB"] = series
    ours, parts = series["daskpar"], series["pool-parts"]
    best = min((series["pool-parts"], series["pool-slices"]), key=lambda one: one.seconds)
    answer.bar(f"time against the best hand-written Pool ({best.name})", ratio(ours, best), 1.1, 0.95)
    answer.bar("time against Pool with pandas", ratio(ours, series["pool-pandas"]), 0.5)
    answer.bar("time against dask.dataframe", ratio(ours, series["dask-dataframe"]), 0.3)
    if "ray-data" in series:
        answer.bar("time against Ray Data", ratio(ours, series["ray-data"]), 0.3)
    answer.bar("peak memory against Pool with part files", ours.peak_bytes / parts.peak_bytes, 2.0, 1.5)
    answer.bar(
        "peak memory with 10 times the data", ours.peak_bytes / series["daskpar-tenth"].peak_bytes, 1.15
    )
    return answer
