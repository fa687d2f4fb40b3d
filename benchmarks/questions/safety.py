"""Compares deadlines, retries, logs, journal and progress all on with all off.

The workload is the one with the most calls of run() for its bytes.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.bars import Answer, Settings
from benchmarks.checks import scores_complete
from benchmarks.harness import interleave
from benchmarks.questions.csv_score import job_over


def ask(settings: Settings) -> Answer:
    """The same command, as it is and with these parts left out (`benchmarks.bare`)."""
    answer = Answer(question="safety")
    for megabytes, size in ((settings.scaled(500, 10), "1mb"), (settings.scaled(100, 5), "10kb")):
        job, rows = job_over(megabytes, size)
        check = scores_complete(job.rows, rows)
        off = replace(job, name=f"{job.name}-bare", max_retries=0, timeout=259_200)
        bare = off.command(name="bare", module="benchmarks.bare", check=scores_complete(off.rows, rows))
        series = interleave([job.command(check=check), bare], settings.repeats)
        answer.series[f"safety, {megabytes} MB in {size}"] = series
        on, without = series["daskpar"], series["bare"]
        answer.bar(f"all on against all off, mini-batches of {size}", on.seconds / without.seconds, 1.1, 1.03)
    return answer
