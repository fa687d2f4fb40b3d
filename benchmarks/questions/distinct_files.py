"""Distinct files on the disk in mini-batches of ten, rows appended: what does one more mini-batch cost?

The whole command, from listing to complete output, against a Pool that does the same by hand.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks import data
from benchmarks.bars import Answer, Settings
from benchmarks.harness import DATA, Command, Wrong, interleave, peer
from benchmarks.jobs import Job
from benchmarks.questions.many_tiny import marginal


def job_over(folder: Path, files: int, script: str = "tiny.py", **more: object) -> Job:
    """The daskpar job over a folder of so many files."""
    return Job(
        name=f"distinct-files-{files}-{script.removesuffix('.py')}",
        script=script,
        data=folder,
        tabular=False,
        mini_batch_size="10",
        **more,  # type: ignore[arg-type]
    )


def ours(job: Job, files: int, *, name: str, module: str = "daskpar", **more: object) -> Command:
    """daskpar over it; the check counts mini-batches and rows."""

    def check() -> None:
        job.expect(planned=-(-files // 10), succeeded=-(-files // 10), items=files)
        expect_rows(job.rows, files)

    return job.command(name=name, check=check, module=module, **more)


def by_hand(folder: Path, files: int, *, name: str, chunksize: int = 1, look: bool = False) -> Command:
    """The Pool over it."""
    output = DATA / "rows-by-hand.txt"
    arguments = (folder, output, chunksize, "yes" if look else "no")
    return peer("files", "pool", *arguments, name=name, check=lambda: expect_rows(output, files))


def expect_rows(output: Path, rows: int) -> None:
    """Raise `Wrong` unless the output has a row for each file."""
    with output.open("rb") as file:
        found = sum(part.count(b"\n") for part in iter(lambda: file.read(1 << 20), b""))
    if found != rows:
        raise Wrong(f"{output} has {found} rows for {rows} files")


def ask(settings: Settings) -> Answer:
    """Marginal cost of a mini-batch against Pool(chunksize=1)."""
    answer = Answer(question="distinct-files")
    few, many = settings.scaled(20_000, 1_000), settings.scaled(220_000, 3_000)
    commands = []
    for files in (few, many):
        folder = data.small_files(files)
        commands.append(ours(job_over(folder, files), files, name=f"daskpar-{files}"))
        commands += [
            by_hand(folder, files, name=f"pool{chunk}-{files}", chunksize=chunk) for chunk in (1, 100)
        ]
    series = interleave(commands, settings.repeats)
    answer.series["distinct files"] = series
    cost, pool, pool100 = (
        marginal(series[f"{name}-{few}"], series[f"{name}-{many}"], (many - few) // 10)
        for name in ("daskpar", "pool1", "pool100")
    )
    answer.bar("marginal cost of ten distinct files, rows appended", cost, None, unit="µs")
    answer.bar(
        "the same against Pool(chunksize=1) over sorted scandir paths",
        cost / pool,
        0.8,
        0.6,
        note=f"Pool: {pool:.1f} µs, chunksize=100: {pool100:.1f} µs; their files are not looked at",
    )
    return answer
