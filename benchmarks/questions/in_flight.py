"""10,000 calls of 50 ms, 200 in flight in one processor: how near to the ideal, where all 200 always are?"""

from __future__ import annotations

from benchmarks import data
from benchmarks.bars import Answer, Settings
from benchmarks.harness import available, interleave, peer
from benchmarks.jobs import Job

IN_FLIGHT = 200
SECONDS = 0.05


def ask(settings: Settings) -> Answer:
    """The ideal over the time of the step, and of what one would write instead."""
    answer = Answer(question="in-flight")
    calls = settings.scaled(10_000, 1_000)
    names = [f"{number:05}" for number in range(calls)]
    folder = data.named_files(f"in-flight-{calls}", names)
    job = Job(
        name=folder.name,
        script="waiting.py",
        data=folder,
        tabular=False,
        mini_batch_size="1",
        processors=1,
        arguments=f"--concurrent_mini_batches {IN_FLIGHT}",
    )

    def check() -> None:
        job.expect(succeeded=calls, failed=0, failed_items=0)
        assert job.rows.read_text().split()[::3] == names, "rows are missing or out of order"

    def marks() -> dict[str, float]:
        words = job.rows.read_text().split()
        return {"first": min(map(float, words[1::3])), "last": max(map(float, words[2::3]))}

    commands = [job.command(check=check, marks=marks), peer("in_flight", "semaphore", folder)]
    if available("ray"):
        commands.append(peer("in_flight", "ray_actors", folder))
    else:
        answer.skip("Ray Data's async actors: ray is not installed")
    series = interleave(commands, settings.repeats)
    answer.series[f"in-flight {calls}"] = series
    ideal = calls * SECONDS / IN_FLIGHT
    ours = series["daskpar"]
    answer.bar(
        f"the ideal of {ideal:.2f} s over the time from the first call to the end of the last",
        ideal / (ours.mark("last") - ours.mark("first")),
        0.9,
        at_least=True,
    )
    for name, measured in series.items():
        seconds = measured.job_seconds or measured.seconds
        answer.bar(f"{name}: the same over all its time", ideal / seconds, None, at_least=True)
    return answer
