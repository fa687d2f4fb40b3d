"""Scores 500 MB of CSV into each row format: what do CSV, JSON lines, Parquet and part files cost?

Against text, and Parquet against a hand-written Pool that writes Parquet files and puts their rows together.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks import data
from benchmarks.bars import Answer, Settings
from benchmarks.checks import scores_complete
from benchmarks.harness import DATA, interleave, peer, ratio
from benchmarks.questions.csv_score import SIZE, job_over

OURS = {
    "csv": ("csv", False),
    "parquet": ("parquet", False),
    "jsonl": ("jsonl", False),
    "csv-folder": ("csv", True),
    "parquet-folder": ("parquet", True),
}
"""Name of a command -> format, and whether rows go to a folder."""


def ask(settings: Settings) -> Answer:
    """Time of every format against text, and of Parquet against a pool."""
    answer = Answer(question="row-formats")
    megabytes = settings.scaled(500, 10)
    text, rows = job_over(megabytes)
    commands = [text.command(name="text", check=scores_complete(text.rows, rows))]
    for name, (row_format, into_folder) in OURS.items():
        job = replace(text, name=f"{text.name}-{name}", row_format=row_format, into_folder=into_folder)
        commands.append(job.command(name=name, check=scores_complete(job.rows, rows)))
    output = DATA / "pool-rows.parquet"
    commands.append(
        peer(
            "csv",
            "pool_parquet",
            data.scoring_csv(megabytes)[0],
            output,
            SIZE,
            check=scores_complete(output, rows),
            prepare=lambda: output.unlink(missing_ok=True),
        )
    )
    series = interleave(commands, settings.repeats, memory=True)
    answer.series[f"row formats, {megabytes} MB"] = series
    for name in OURS:
        must = {"csv": 1.1, "parquet": 1.1, "jsonl": 1.5}.get(name)
        answer.bar(f"{name}: time against text", ratio(series[name], series["text"]), must)
    answer.bar(
        "parquet: time against Pool with Parquet files",
        ratio(series["parquet"], series["pool-parquet"]),
        1.1,
    )
    answer.bar(
        "parquet: peak memory against text",
        series["parquet"].peak_bytes / series["text"].peak_bytes,
        2.0,
        1.5,
    )
    return answer
