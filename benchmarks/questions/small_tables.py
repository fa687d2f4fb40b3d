"""A table of 20,000 small files, each a mini-batch of 20 rows: what does a file cost?

The whole command, from listing to complete output, against Pools that read each file.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks import data
from benchmarks.bars import Answer, Settings
from benchmarks.checks import scores_complete
from benchmarks.harness import DATA, Command, interleave, peer, ratio
from benchmarks.jobs import Job, mltable

ROWS_EACH = 20


def ask(settings: Settings) -> Answer:
    """Time of CSV and of JSON lines against pandas and pyarrow, file by file."""
    answer = Answer(question="small-tables")
    files = settings.scaled(20_000, 500)
    folders = data.small_tables(files, ROWS_EACH)
    for folder, reader, ending in zip(
        folders, ("read_delimited", "read_json_lines"), ("csv", "jsonl"), strict=True
    ):
        rows = files * ROWS_EACH
        table = mltable(folder.name, [f"pattern: {folder}/*.{ending}"], reader)
        job = Job(name=folder.name, script="score.py", data=table, mini_batch_size="1mb")
        commands = [job.command(check=scores_complete(job.rows, rows))]
        commands += [competitor(name, folder, rows) for name in ("pool_pandas", "pool_arrow")]
        series = interleave(commands, settings.repeats)
        answer.series[f"{files:,} files of 20 rows, {ending}"] = series
        best = min((series["pool-pandas"], series["pool-arrow"]), key=lambda one: one.seconds)
        answer.bar(
            f"{ending}: time against the best Pool that reads file by file ({best.name})",
            ratio(series["daskpar"], best),
            1.0,
            0.7,
        )
    return answer


def competitor(function: str, folder: Path, rows: int) -> Command:
    """A peer over the same files."""
    output = DATA / f"small-tables-{function}.out"
    return peer(
        "small_tables",
        function,
        folder,
        output,
        check=scores_complete(output, rows),
        prepare=lambda: output.unlink(missing_ok=True),
    )
