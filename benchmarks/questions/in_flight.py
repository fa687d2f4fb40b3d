"""10,000 calls of 50 ms, 200 in flight in one processor: how near to the ideal, in which all 200 always are?"""

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
        assert job.rows.read_text().split() == names, "rows are missing or out of order"

    commands = [job.command(check=check), peer("in_flight", "semaphore", folder)]
    if available("ray"):
        commands.append(peer("in_flight", "ray_actors", folder))
    else:
        answer.skip("Ray Data's async actors: ray is not installed")
    series = interleave(commands, settings.repeats)
    answer.series[f"in-flight {calls}"] = series
    ideal = calls * SECONDS / IN_FLIGHT
    for name, measured in series.items():
        ours = name == "daskpar"
        answer.bar(
            f"{name}: the ideal of {ideal:.2f} s over its time",
            ideal / (measured.job_seconds or measured.seconds),
            0.9 if ours else None,
            at_least=True,
        )
    return answer
