"""Reads an MLTable into pandas on two cores, against Microsoft's package and plain Arrow on equal files."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks import data
from benchmarks.bars import Answer, Settings
from benchmarks.checks import scores_complete
from benchmarks.harness import DATA, Command, Series, interleave, peer
from benchmarks.jobs import mltable
from benchmarks.questions.csv_score import job_over

ENVIRONMENT = DATA / "mltable-environment"
SMALL = 1
"""Megabytes."""
Make = Callable[[int], tuple[Path, int]]
NEEDS = ("mltable==1.7.0", "pandas<3", "numpy<2.3", "pyarrow")


def ask(settings: Settings) -> Answer:
    """Delimited tables of two kinds, Parquet and JSON lines; then the memory of a streamed pass over 2 GB."""
    answer = Answer(question="reading")
    megabytes = settings.scaled(250, 5)
    python = microsofts_python(answer)
    for kind, make in (("orders", data.orders_csv), ("numbers", data.scoring_csv)):
        delimited(kind, make, megabytes, python, settings, answer)
    groups = settings.scaled(20, 2)
    parquet = (lambda size: data.scoring_parquet(size, groups)), settings.scaled(500, 5)
    lines = data.scoring_json_lines, megabytes
    for name, (make, size), peer_name, step, limits in (
        ("Parquet", parquet, "arrow_parquet", "read_parquet", (0.8, None)),
        ("JSON lines", lines, "arrow_json", "read_json_lines", (0.9, 1.2)),
    ):
        (path, rows), (small, _) = make(size), make(SMALL)
        commands = [
            reader("ours", table(small, step), table(path, step), rows),
            reader(peer_name, small, path, rows),
        ]
        series = interleave(commands, repeats(settings))
        answer.series[f"reading {name}"] = series
        speed = faster(series["ours"], series[peer_name.replace("_", "-")])
        answer.bar(f"{name}: times as fast as pyarrow on 2 threads", speed, *limits, at_least=True)
    streamed(settings, answer)
    return answer


def delimited(
    kind: str, make: Make, megabytes: int, python: str | None, settings: Settings, answer: Answer
) -> None:
    """A table of one kind by ours, by plain Arrow and by Microsoft's package."""
    (path, rows), (small, _) = make(megabytes), make(SMALL)
    ours = (table(small, "read_delimited"), table(path, "read_delimited"))
    commands = [reader("ours", *ours, rows), reader("arrow_csv", small, path, rows)]
    if python:
        theirs = reader("microsoft", *ours, rows)
        commands.append(replace(theirs, argv=(python, *theirs.argv[1:])))
    series = interleave(commands, repeats(settings))
    answer.series[f"reading delimited {kind}, {megabytes} MB"] = series
    answer.bar(
        f"delimited {kind}: times as fast as pyarrow.csv on 2 threads",
        faster(series["ours"], series["arrow-csv"]),
        0.8,
        at_least=True,
    )
    if python:
        speed = faster(series["ours"], series["microsoft"])
        # The limit was set by the 40 MB/s that Microsoft's package reads of a table of several kinds.
        # Of numbers alone it reads three times as much, and Arrow on both cores is less than twice as fast.
        answer.bar(
            f"delimited {kind}: times as fast as Microsoft's mltable",
            speed,
            3.0 if kind == "orders" else None,
            at_least=True,
        )


def repeats(settings: Settings) -> int:
    """Five at least: a read takes only a second, in which other work of the machine shows."""
    return settings.repeats if settings.small else max(5, settings.repeats)


def table(path: Path, step: str) -> Path:
    """An MLTable over one file."""
    return mltable(f"read-{path.name}", [f"file: {path}"], step)


def faster(ours: Series, theirs: Series) -> float:
    """How many times as fast as a peer we read; imports are no part of the question."""
    assert ours.job_seconds and theirs.job_seconds
    return theirs.job_seconds / ours.job_seconds


def reader(function: str, small: Path, path: Path, rows: int) -> Command:
    """One reader of one file or MLTable; it reads `small` first, so that what is loaded and started on first
    use is no part of it.
    """
    return peer("reading", function, small, path, rows)


def streamed(settings: Settings, answer: Answer) -> None:
    """A job over 2 GB in partitions of 20 MiB: memory beyond that of an idle job, in partitions for each
    processor.
    """
    partition = settings.scaled(20, 1)
    job, rows = job_over(settings.scaled(2_000, 20), f"{partition}mb")
    idle, idle_rows = job_over(1, "10mb")
    commands = [
        job.command(check=scores_complete(job.rows, rows)),
        idle.command(name="idle", check=scores_complete(idle.rows, idle_rows)),
    ]
    series = interleave(commands, 1, memory=True)
    answer.series["reading, streamed pass"] = series
    beyond = series["daskpar"].peak_bytes - series["idle"].peak_bytes
    each = beyond / job.processors / (partition * 1024**2)
    answer.bar(
        "streamed pass over 2 GB: memory for each processor beyond an idle job", each, 6, unit=" partitions"
    )


def microsofts_python(answer: Answer) -> str | None:
    """An interpreter that has the `mltable` package, which needs older libraries than ours."""
    python = ENVIRONMENT / "bin" / "python"
    if not (ENVIRONMENT / "ready").exists():
        print("    installing Microsoft's mltable into an environment of its own")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)], check=True)
        installed = subprocess.run(
            [str(python), "-m", "pip", "install", "-q", *NEEDS], capture_output=True, text=True
        )
        if installed.returncode:
            answer.skip(f"Microsoft's mltable: {installed.stderr.strip().splitlines()[-1]}")
            return None
        (ENVIRONMENT / "ready").touch()
    return str(python)
