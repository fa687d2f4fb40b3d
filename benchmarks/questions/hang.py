"""Runs 100 mini-batches of 20 ms, three of which hang for ever: in Python, and in C holding the GIL."""

from __future__ import annotations

from benchmarks import data
from benchmarks.bars import Answer, Settings
from benchmarks.harness import interleave
from benchmarks.jobs import Job

PROCESSORS = 4
TIMEOUT = 2
HUNG = (10, 11, 12)


def ask(settings: Settings) -> Answer:
    """Time over the ideal; 97 results and 3 failures, always."""
    answer = Answer(question="hang")
    # Three processors are each held twice for the timeout; the fourth does the rest meanwhile.
    ideal = TIMEOUT * 2 + (100 - len(HUNG)) * 0.02 / PROCESSORS
    for kind in ("sleep", "gil"):
        names = [f"{number:04}-{kind if number in HUNG else 0.02}" for number in range(100)]
        folder = data.named_files(f"hang-{kind}", names)
        job = Job(
            name=folder.name,
            script="sleeping.py",
            data=folder,
            tabular=False,
            mini_batch_size="1",
            processors=PROCESSORS,
            timeout=TIMEOUT,
            max_retries=1,
        )
        expected = [name for number, name in enumerate(names) if number not in HUNG]

        def check(job: Job = job, expected: list[str] = expected) -> None:
            job.expect(succeeded=97, failed=3, failed_items=3)
            assert job.rows.read_text().split() == expected, "rows are missing or out of order"

        series = interleave([job.command(check=check)], settings.repeats)
        answer.series[f"hang, {kind}"] = series
        ours = series["daskpar"]
        where = "in sleep" if kind == "sleep" else "in C with the GIL held"
        answer.bar(
            f"hanging {where}: step over the ideal of {ideal:.2f} s",
            (ours.job_seconds or ours.seconds) / ideal,
            1.2,
            1.1,
        )
    return answer
