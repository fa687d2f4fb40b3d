"""Scores a table as Parquet: one file of 20 row groups, 50 files, and with a slow run().

A slow run() must not make daskpar decode a row group twice.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet

from benchmarks import data
from benchmarks.bars import Answer, Settings
from benchmarks.checks import scores_complete
from benchmarks.harness import DATA, Command, available, interleave, peer, ratio
from benchmarks.jobs import Job, mltable

ROWS = 13_500
"""Of a mini-batch, about."""


def job_over(path: Path, script: str = "score.py") -> Job:
    """The daskpar job over a Parquet file or a folder of them."""
    entry = f"pattern: {path}/*.parquet" if path.is_dir() else f"file: {path}"
    table = mltable(path.name, [entry], "read_parquet")
    first = next(iter(sorted(path.iterdir()))) if path.is_dir() else path
    group = pyarrow.parquet.ParquetFile(first).metadata.row_group(0)
    kilobytes = max(1, round(ROWS * group.total_byte_size / group.num_rows / 1024))
    return Job(name=f"{path.name}-{script}", script=script, data=table, mini_batch_size=f"{kilobytes}kb")


def competitor(function: str, path: Path, rows: int, *arguments: object) -> Command:
    """A peer over the same file or folder."""
    output = DATA / f"parquet-{function}.out"
    check = scores_complete(output, rows, ordered=function != "ray_data")
    return peer(
        "parquet",
        function,
        path,
        output,
        ROWS,
        *arguments,
        check=check,
        prepare=lambda: output.unlink(missing_ok=True),
    )


def ask(settings: Settings) -> Answer:
    """Time against a pool over row groups and against Ray Data, and what is read for a slow run()."""
    answer = Answer(question="parquet-score")
    megabytes = settings.scaled(500, 10)
    one, rows = data.scoring_parquet(megabytes, 20)
    many, _ = data.scoring_parquet_files(megabytes, 50)
    ray = ["ray_data"] if available("ray") else []
    if not ray:
        answer.skip("Ray Data: not installed (pip install '.[bench]')")
    for title, path in (("one file of 20 row groups", one), ("50 files", many)):
        job = job_over(path)
        commands = [job.command(check=scores_complete(job.rows, rows))]
        commands += [competitor(name, path, rows) for name in ("pool_parts", *ray)]
        series = interleave(commands, settings.repeats)
        answer.series[f"parquet-score, {title}"] = series
        answer.bar(
            f"{title}: time against Pool with part files",
            ratio(series["daskpar"], series["pool-parts"]),
            1.1,
            0.95,
        )
        if ray:
            answer.bar(f"{title}: time against Ray Data", ratio(series["daskpar"], series["ray-data"]), 0.25)
    slow(settings, answer)
    return answer


def slow(settings: Settings, answer: Answer) -> None:
    """run() of 0.2 s: blocks give their ranges back, and still every row group should be read about once."""
    path, rows = data.scoring_parquet(settings.scaled(100, 5), 4)
    job = job_over(path, "slow_score.py")
    fast = job_over(path)
    commands = [
        job.command(check=scores_complete(job.rows, rows)),
        competitor("pool_parts", path, rows, 0.2),
        # What a job reads besides its data: libraries, code, its own journal.
        fast.command(name="daskpar-fast", check=scores_complete(fast.rows, rows)),
    ]
    series = interleave(commands, settings.repeats)
    answer.series["parquet-score, run() of 0.2 s"] = series
    answer.bar(
        "run() of 0.2 s: time against Pool with part files",
        ratio(series["daskpar"], series["pool-parts"]),
        1.1,
        0.95,
    )
    size = path.stat().st_size
    extra = min(run.read_bytes for run in series["daskpar"].runs) - min(
        run.read_bytes for run in series["daskpar-fast"].runs
    )
    answer.bar(
        "run() of 0.2 s: read amplification (1 + what is read beyond a fast run, over the file)",
        1 + max(0, extra) / size,
        1.2,
    )
