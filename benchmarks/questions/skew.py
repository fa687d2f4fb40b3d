"""Runs 200 mini-batches of 20 ms and two of 5 s on four processors: is one idle while others have a queue?"""

from __future__ import annotations

import heapq

from benchmarks import data
from benchmarks.bars import Answer, Settings
from benchmarks.harness import interleave, peer, ratio
from benchmarks.jobs import Job

PROCESSORS = 4


def greedy_seconds(durations: list[float], processors: int) -> float:
    """The time of first come, first served, without any overhead."""
    free = [0.0] * processors
    for duration in durations:
        heapq.heapreplace(free, free[0] + duration)
    return max(free)


def ask(settings: Settings) -> Answer:
    """Time over the greedy ideal wherever the two slow ones are, and against joblib."""
    answer = Answer(question="skew")
    places = [(70, 71), (150, 190), (0, 1), (198, 199)]
    for first, second in places[: settings.scaled(4, 1)]:
        durations = [settings.scaled(5, 1) if number in (first, second) else 0.02 for number in range(200)]
        names = [f"{number:04}-{duration}" for number, duration in enumerate(durations)]
        folder = data.named_files(f"skew-{first}-{second}-{max(durations)}", names)
        job = Job(
            name=folder.name,
            script="sleeping.py",
            data=folder,
            tabular=False,
            mini_batch_size="1",
            processors=PROCESSORS,
        )

        def check(job: Job = job, names: list[str] = names) -> None:
            assert job.rows.read_text().split() == names, "rows are missing or out of order"

        commands = [
            job.command(check=check),
            peer("sleeping", "pool_one", folder),
            peer("sleeping", "joblib_auto", folder),
        ]
        series = interleave(commands, settings.repeats)
        title = f"slow ones at {first} and {second}"
        answer.series[f"skew, {title}"] = series
        ideal = greedy_seconds(durations, PROCESSORS)
        ours = series["daskpar"]
        answer.bar(
            f"{title}: step over the greedy ideal of {ideal:.2f} s",
            (ours.job_seconds or ours.seconds) / ideal,
            1.25,
            1.1,
        )
        # joblib's own batches happen to be right where the slow ones come first or last.
        must = 0.7 if (first, second) == places[0] else None
        answer.bar(f"{title}: time against joblib", ratio(ours, series["joblib-auto"]), must)
    return answer
