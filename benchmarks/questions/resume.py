"""What the journal costs while a job runs, and how soon a run of a million committed mini-batches goes on."""

from __future__ import annotations

from dataclasses import replace

from benchmarks import data
from benchmarks.bars import Answer, Settings
from benchmarks.harness import DATA, Command, interleave, measure
from benchmarks.jobs import Job, mltable
from benchmarks.questions.many_tiny import job_over

UNDONE = 10


def ask(settings: Settings) -> Answer:
    """many-tiny with and without its journal; `resume --retry-failed` of a run whose last mini-batches
    failed.
    """
    answer = Answer(question="resume")
    files = settings.scaled(20_000, 2_000)
    folder = data.empty_files(files)
    job = job_over(folder, settings.scaled(100, 50), files)
    off = replace(job, name=f"{job.name}-no-journal")
    series = interleave(
        [job.command(), off.command(name="no-journal", module="benchmarks.no_journal")], settings.repeats
    )
    answer.series["resume, cost of the journal"] = series
    cost = series["daskpar"].seconds / series["no-journal"].seconds
    answer.bar("many-tiny with the journal against without", cost, 1.05)
    million(settings, answer)
    return answer


def million(settings: Settings, answer: Answer) -> None:
    """One path for each mini-batch, all committed but the last ten."""
    times, files = 50, settings.scaled(20_000, 400)
    folder = data.empty_files(files)
    table = mltable(f"million-{files}", [f"folder: {folder}"] * times, None)
    count, mended, moments = files * times, DATA / "mended", DATA / "resumed.txt"
    environment = {"LAST": str(count - UNDONE), "MENDED": str(mended), "MOMENTS": str(moments)}
    job = Job(
        name=f"million-{files}",
        script="last_fails.py",
        data=table,
        tabular=False,
        mini_batch_size="1",
        append_row=False,
        max_retries=0,
        environment=environment,
    )
    begun = job.command(check=lambda: job.expect(planned=count, succeeded=count - UNDONE, failed=UNDONE))

    def mend() -> None:
        mended.touch()
        moments.unlink(missing_ok=True)

    for path in (mended, moments):
        path.unlink(missing_ok=True)
    measure(begun)
    resumed = Command(
        name="resume",
        argv=(
            *begun.argv[:3],
            "resume",
            str(job.run_directory),
            "--retry-failed",
            "--dashboard",
            "127.0.0.1:0",
        ),
        prepare=mend,
        check=lambda: job.expect(planned=count, succeeded=count, failed=0),
        marks=lambda _: {"first_run": float(moments.read_text())},
    )
    series = interleave([resumed], 1)
    mended.unlink()
    answer.series[f"resume of {count:,} mini-batches"] = series
    answer.bar(
        f"resume of {count:,} committed mini-batches → first new run(), listing included",
        series["resume"].mark("first_run"),
        10,
        unit=" s",
    )
