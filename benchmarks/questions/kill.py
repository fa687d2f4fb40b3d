"""From the death of a processor to the next run() in its place."""

from __future__ import annotations

import itertools
from statistics import median

from benchmarks import data
from benchmarks.bars import Answer, Settings
from benchmarks.harness import DATA, interleave
from benchmarks.jobs import Job


def ask(settings: Settings) -> Answer:
    """One processor, every second mini-batch kills it; the median of the gaps."""
    answer = Answer(question="kill")
    folder = data.named_files("dying", [f"{number:04}" for number in range(40)])
    moments = DATA / "moments.txt"
    environment = {"MOMENTS": str(moments)}
    job = Job(
        name="kill",
        script="dying.py",
        data=folder,
        tabular=False,
        mini_batch_size="1",
        processors=1,
        max_retries=0,
        environment=environment,
    )
    gaps: list[float] = []

    def check() -> None:
        job.expect(succeeded=20, failed=20)
        calls = [tuple(map(float, line.split())) for line in moments.read_text().splitlines()]
        gaps.extend(after[1] - before[2] for before, after in itertools.pairwise(calls) if before[2])
        moments.unlink()

    moments.unlink(missing_ok=True)
    answer.series["kill"] = interleave([job.command(check=check)], settings.repeats)
    answer.bar("kill → next run() on that processor", median(gaps) * 1e3, 50, 25, unit=" ms")
    return answer
