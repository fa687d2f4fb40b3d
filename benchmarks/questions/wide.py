"""Scores wide tables in mini-batches of 1 MB: does a column cost more than its values?"""

from __future__ import annotations

from pathlib import Path

from benchmarks import data
from benchmarks.bars import Answer, Settings
from benchmarks.checks import scores_complete
from benchmarks.harness import DATA, Command, Series, interleave, peer
from benchmarks.jobs import Job, mltable

SIZE = 1024 * 1024


def ask(settings: Settings) -> Answer:
    """5,000 and 20,000 columns of floats as CSV and Parquet, against pandas and pyarrow; whole commands."""
    answer = Answer(question="wide")
    for full, rows in ((5_000, 2_000), (20_000, 300)):
        columns = settings.scaled(full, full // 20)
        name = f"{columns:,} columns of {rows:,} rows"
        text, parquet = data.wide_table(columns, rows)
        series = measure(text, "read_delimited", rows, ("pool_ranges", "whole_pandas"), settings)
        answer.series[f"wide, CSV of {name}"] = series
        pool, whole = "Pool of pandas on the same ranges", "one process, pandas whole and slices"
        answer.bar(f"CSV, {name}: time against {pool}", against(series, "pool-ranges"), 0.6, 0.25)
        answer.bar(f"CSV, {name}: time against {whole}", against(series, "whole-pandas"), 2.5, 1.5)
        series = measure(parquet, "read_parquet", rows, ("arrow_slices",), settings)
        answer.series[f"wide, Parquet of {name}"] = series
        answer.bar(
            f"Parquet, {name}: time against pyarrow and slices", against(series, "arrow-slices"), 1.3, 1.1
        )
    return answer


def measure(
    path: Path, reader: str, rows: int, peers: tuple[str, ...], settings: Settings
) -> dict[str, Series]:
    """The job over a table, and peers over the same file."""
    table = mltable(path.name, [f"file: {path}"], reader)
    job = Job(name=path.name, script="wide_score.py", data=table, mini_batch_size="1mb")
    commands = [job.command(check=scores_complete(job.rows, rows))]
    commands += [competitor(name, path, rows) for name in peers]
    return interleave(commands, settings.repeats)


def competitor(function: str, path: Path, rows: int) -> Command:
    """A peer over the same file."""
    output = DATA / f"wide-{function}.out"
    return peer(
        "wide",
        function,
        path,
        output,
        SIZE,
        check=scores_complete(output, rows),
        prepare=lambda: output.unlink(missing_ok=True),
    )


def against(series: dict[str, Series], other: str) -> float:
    """Our whole command over a peer's."""
    return series["daskpar"].seconds / series[other].seconds
