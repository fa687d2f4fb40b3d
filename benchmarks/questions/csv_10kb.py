"""100 MB of CSV in mini-batches of 10 kB: does a small mini-batch mean a small read?"""

from __future__ import annotations

from benchmarks.bars import Answer, Settings
from benchmarks.checks import scores_complete
from benchmarks.harness import interleave, ratio
from benchmarks.questions.csv_score import competitor, job_over

SIZE = 10 * 1024


def ask(settings: Settings) -> Answer:
    """Time against a pool that slices 4 MB reads, and one that reads each range with pandas."""
    answer = Answer(question="csv-10kb")
    megabytes = settings.scaled(100, 5)
    job, rows = job_over(megabytes, "10kb")
    commands = [job.command(check=scores_complete(job.rows, rows))]
    commands += [competitor(name, megabytes, SIZE) for name in ("pool_slices", "pool_pandas")]
    series = interleave(commands, settings.repeats)
    answer.series[f"csv-10kb {megabytes} MB"] = series
    answer.bar(
        "time against the best hand-written Pool (pool-slices)",
        ratio(series["daskpar"], series["pool-slices"]),
        1.1,
        0.95,
    )
    answer.bar(
        "time against Pool with pandas for each range", ratio(series["daskpar"], series["pool-pandas"]), 0.55
    )
    return answer
