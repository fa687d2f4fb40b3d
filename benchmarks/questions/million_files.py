"""A million files in mini-batches of ten: the command, memory of the driver, and a resume near its end."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from benchmarks import data
from benchmarks.bars import Answer, Settings
from benchmarks.harness import DATA, Command, interleave, measure, peer
from benchmarks.jobs import Job
from benchmarks.questions.distinct_files import by_hand, job_over, ours
from daskpar.errors import PartialRun

FEW = 10
"""Files of the job whose driver counts as idle."""


def ask(settings: Settings) -> Answer:
    """daskpar against scandir, one stat each and a Pool; memory; `resume` of 99 %."""
    answer = Answer(question="million-files")
    files = settings.scaled(1_000_000, 4_000)
    folder = data.small_files(files)
    peak, peaks = DATA / "driver-peak.txt", []
    job = ours(
        job_over(folder, files),
        files,
        name="daskpar",
        module="benchmarks.driver_peak",
        environment={"DRIVER_PEAK": str(peak)},
    )

    def check() -> None:
        job.check()
        peaks.append(int(peak.read_text()))

    commands = [
        replace(job, check=check),
        by_hand(folder, files, name="list, stat, Pool", look=True),
        peer("files", "one_pass", folder, name="one pass"),
    ]
    series = interleave(commands, settings.repeats)
    answer.series[f"{files:,} files"] = series
    answer.bar(
        f"{files:,} files: command against scandir, one stat each, Pool",
        series["daskpar"].seconds / series["list, stat, Pool"].seconds,
        1.0,
        0.7,
    )
    idle = measure_peak(FEW, peak)
    answer.bar(
        f"{files:,} files: peak memory of the driver above an idle one, for each file",
        (sorted(peaks)[len(peaks) // 2] - idle) / files,
        200,
        80,
        unit=" bytes",
        note=f"idle: {idle / 1e6:.0f} MB",
    )
    one_pass = series["one pass"].job_seconds or 0.0
    resumed(settings, answer, folder, files, one_pass)
    return answer


def measure_peak(files: int, peak: Path) -> int:
    """What the driver of a job over so few files has at most."""
    job = job_over(data.small_files(files), files)
    measure(job.command(name="idle", module="benchmarks.driver_peak", environment={"DRIVER_PEAK": str(peak)}))
    return int(peak.read_text())


def resumed(settings: Settings, answer: Answer, folder: Path, files: int, one_pass: float) -> None:
    """`resume` of a run of which 99 % is done: from the command to the first new `run()`."""
    count = files // 10
    done = count * 99 // 100
    mended, moments = DATA / "mended-files", DATA / "resumed-files.txt"
    environment = {"LAST": str(done), "MENDED": str(mended), "MOMENTS": str(moments)}
    job: Job = job_over(folder, files, "last_fails.py", environment=environment)
    mended.touch()
    begun = job.command(
        name="99 %",
        options=("--limit", str(done)),
        exit_code=PartialRun.exit_code,
        check=lambda: job.expect(succeeded=done),
    )
    measure(begun)
    saved = DATA / "run-of-99-percent"
    shutil.rmtree(saved, ignore_errors=True)
    shutil.copytree(job.run_directory, saved, symlinks=True)

    def as_it_was() -> None:
        moments.unlink(missing_ok=True)
        job.clear()
        shutil.copytree(saved, job.run_directory, symlinks=True)

    resume = Command(
        name="resume",
        argv=(*begun.argv[:3], "resume", str(job.run_directory), "--dashboard", "127.0.0.1:0"),
        prepare=as_it_was,
        check=lambda: job.expect(planned=count, succeeded=count),
        marks=lambda _: {"first_run": float(moments.read_text())},
    )
    series = interleave([resume], settings.repeats)
    mended.unlink()
    shutil.rmtree(saved)
    answer.series[f"resume of {files:,} files, 99 % done"] = series
    first = series["resume"].mark("first_run")
    answer.bar(
        f"{files:,} files: resume when 99 % is done → first new run(), against one scandir + stat pass",
        first / one_pass,
        1.2,
        1.0,
        note=f"{first:.2f} s, one pass {one_pass:.2f} s",
    )
