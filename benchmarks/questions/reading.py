"""Reading an MLTable into pandas on two cores, against Microsoft's package and plain Arrow on the same files."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks import data
from benchmarks.bars import Answer, Settings
from benchmarks.checks import scores_complete
from benchmarks.harness import DATA, Command, Series, interleave, peer
from benchmarks.jobs import mltable
from benchmarks.questions.csv_score import job_over

ENVIRONMENT = DATA / "mltable-environment"
NEEDS = ("mltable==1.7.0", "pandas<3", "numpy<2.3", "pyarrow")


def ask(settings: Settings) -> Answer:
    """Delimited, Parquet and JSON lines; then the memory of a streamed pass over 2 GB."""
    answer = Answer(question="reading")
    megabytes = settings.scaled(250, 5)
    delimited, rows = data.scoring_csv(megabytes)
    table = mltable(f"read-{delimited.name}", [f"file: {delimited}"], "read_delimited")
    commands = [reader("ours", table, rows), reader("arrow_csv", delimited, rows)]
    python = microsofts_python(answer)
    if python:
        theirs = reader("microsoft", table, rows)
        commands.append(replace(theirs, argv=(python, *theirs.argv[1:])))
    series = interleave(commands, settings.repeats)
    answer.series[f"reading delimited, {megabytes} MB"] = series
    answer.bar("delimited: times as fast as pyarrow.csv on 2 threads", faster(series["ours"], series["arrow-csv"]), 0.8, at_least=True)
    if python:
        answer.bar("delimited: times as fast as Microsoft's mltable", faster(series["ours"], series["microsoft"]), 3.0, at_least=True)

    parquet, rows = data.scoring_parquet(settings.scaled(500, 5), settings.scaled(20, 2))
    lines, line_rows = data.scoring_json_lines(megabytes)
    for kind, path, peer_name, step, count in (
        ("Parquet", parquet, "arrow_parquet", "read_parquet", rows),
        ("JSON lines", lines, "arrow_json", "read_json_lines", line_rows),
    ):
        table = mltable(f"read-{path.name}", [f"file: {path}"], step)
        series = interleave([reader("ours", table, count), reader(peer_name, path, count)], settings.repeats)
        answer.series[f"reading {kind}"] = series
        speed = faster(series["ours"], series[peer_name.replace("_", "-")])
        answer.bar(f"{kind}: times as fast as pyarrow on 2 threads", speed, 0.8, at_least=True)
    streamed(settings, answer)
    return answer


def faster(ours: Series, theirs: Series) -> float:
    """How many times as fast as a peer we read; imports are no part of the question."""
    assert ours.job_seconds and theirs.job_seconds
    return theirs.job_seconds / ours.job_seconds


def reader(function: str, path: Path, rows: int) -> Command:
    """One reader of one file or MLTable."""
    return peer("reading", function, path, rows)


def streamed(settings: Settings, answer: Answer) -> None:
    """A job over 2 GB in partitions of 20 MiB: memory beyond that of an idle job, in partitions for each processor."""
    partition = settings.scaled(20, 1)
    job, rows = job_over(settings.scaled(2_000, 20), f"{partition}mb")
    idle, idle_rows = job_over(1, "10mb")
    commands = [job.command(check=scores_complete(job.rows, rows)), idle.command(name="idle", check=scores_complete(idle.rows, idle_rows))]
    series = interleave(commands, 1)
    answer.series["reading, streamed pass"] = series
    beyond = series["daskpar"].peak_bytes - series["idle"].peak_bytes
    each = beyond / job.processors / (partition * 1024**2)
    answer.bar("streamed pass over 2 GB: memory for each processor beyond an idle job", each, 6, unit=" partitions")


def microsofts_python(answer: Answer) -> str | None:
    """An interpreter that has the `mltable` package, which needs older libraries than ours."""
    python = ENVIRONMENT / "bin" / "python"
    if not (ENVIRONMENT / "ready").exists():
        print("    installing Microsoft's mltable into an environment of its own")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)], check=True)
        installed = subprocess.run([str(python), "-m", "pip", "install", "-q", *NEEDS], capture_output=True, text=True)
        if installed.returncode:
            answer.skip(f"Microsoft's mltable: {installed.stderr.strip().splitlines()[-1]}")
            return None
        (ENVIRONMENT / "ready").touch()
    return str(python)
