"""11,000 keys in 1.3 million rows in no order, a least-squares fit each."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks import data
from benchmarks.bars import Answer, Settings
from benchmarks.checks import models_complete
from benchmarks.harness import DATA, Command, interleave, peer, ratio
from benchmarks.jobs import Job, mltable

KEYS = ("Store", "Brand")


def competitor(function: str, path: Path, groups: int) -> Command:
    """A peer that writes models to a folder of its own."""
    folder = DATA / f"models-{function}"

    def clear() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()

    return peer("models", function, path, folder, check=models_complete(folder, groups), prepare=clear)


def ask(settings: Settings) -> Answer:
    """Time against a pool over sorted slices, and Dask's shuffle with a groupby loop."""
    answer = Answer(question="many-models")
    path, groups = data.sales_csv(settings.scaled(1_000, 20))
    table = mltable(path.stem, [f"file: {path}"], "read_delimited")
    job = Job(
        name="many-models",
        script="fit.py",
        data=table,
        partition_keys=KEYS,
        append_row=False,
        model_folder=True,
    )
    commands = [job.command(check=models_complete(job.models, groups))]
    commands += [competitor(name, path, groups) for name in ("pool_sorted", "dask_shuffle")]
    series = interleave(commands, settings.repeats)
    answer.series[f"many-models, {groups:,} keys"] = series
    answer.bar(
        "time against Pool over sorted slices", ratio(series["daskpar"], series["pool-sorted"]), 0.75, 0.6
    )
    answer.bar("time against Dask shuffle + groupby", ratio(series["daskpar"], series["dask-shuffle"]), 0.8)
    return answer
