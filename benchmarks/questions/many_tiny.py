"""The engine alone: mini-batches of ten paths that cost nothing, of a folder listed many times; no rows.

What does the engine itself cost, and the scheduler? `distinct_files` asks for what users have.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import data
from benchmarks.bars import Answer, Settings
from benchmarks.harness import ROOT, Command, Series, interleave, measure, peer
from benchmarks.jobs import Job, mltable


def job_over(folder: Path, times: int, files: int) -> Job:
    """The daskpar job over one folder listed several times."""
    table = mltable(f"tiny-{files}-{times}", [f"folder: {folder}"] * times, None)
    return Job(
        name=f"many-tiny-{files}-{times}",
        script="tiny.py",
        data=table,
        tabular=False,
        mini_batch_size="10",
        append_row=False,
    )


def ours(folder: Path, times: int, files: int) -> Command:
    """daskpar over it, checked by its counts."""
    job = job_over(folder, times, files)
    count = files * times // 10
    return job.command(
        name=f"daskpar-{times}", check=lambda: job.expect(planned=count, succeeded=count, items=files * times)
    )


def ask(settings: Settings) -> Answer:
    """Marginal cost of a mini-batch against Pool(chunksize=1) and one Dask task each; growth of the
    scheduler.
    """
    answer = Answer(question="engine-alone")
    files = settings.scaled(20_000, 2_000)
    folder = data.empty_files(files)
    few, many = 10, settings.scaled(100, 50)
    commands = []
    for times in (few, many):
        commands.append(ours(folder, times, files))
        commands += [
            peer("tiny", "pool", folder, times, chunk, name=f"pool{chunk}-{times}") for chunk in (1, 100)
        ]
    tasks = (settings.scaled(1_000, 100), settings.scaled(5_000, 300))
    commands += [peer("tiny", "dask_each", folder, few, limit, name=f"dask-each-{limit}") for limit in tasks]
    series = interleave(commands, settings.repeats)
    answer.series["engine alone"] = series
    step = (many - few) * files // 10
    cost = marginal(series[f"daskpar-{few}"], series[f"daskpar-{many}"], step)
    pool = marginal(series[f"pool1-{few}"], series[f"pool1-{many}"], step)
    pool100 = marginal(series[f"pool100-{few}"], series[f"pool100-{many}"], step)
    each = marginal(series[f"dask-each-{tasks[0]}"], series[f"dask-each-{tasks[1]}"], tasks[1] - tasks[0])
    answer.bar("marginal cost of a mini-batch, listing included", cost, None, unit="µs")
    answer.bar(
        "marginal cost against Pool(chunksize=1)",
        cost / pool,
        0.8,
        0.5,
        note=f"Pool: {pool:.1f} µs, chunksize=100: {pool100:.1f} µs",
    )
    answer.bar(
        "times below one Dask task each",
        each / cost,
        50,
        150,
        at_least=True,
        note=f"one task each: {each:.0f} µs",
    )
    scheduler_growth(settings, answer, folder, files)
    return answer


def marginal(few: Series, many: Series, mini_batches: int) -> float:
    """Microseconds for each further mini-batch."""
    return (many.seconds - few.seconds) / mini_batches * 1e6


def scheduler_growth(settings: Settings, answer: Answer, folder: Path, files: int) -> None:
    """What 100,000 mini-batches leave in a scheduler of its own, and what they cost it."""
    times = settings.scaled(50, 10)
    with tempfile.TemporaryDirectory() as place, Cluster(Path(place)) as cluster:
        growth, seconds = [], []
        warm = job_over(folder, 1, files)
        job = job_over(folder, times, files)
        measure(warm.command(options=("--scheduler", cluster.address)))
        for _ in range(settings.repeats):
            before = cluster.size_bytes(), cluster.cpu_seconds()
            measure(job.command(options=("--scheduler", cluster.address)))
            job.expect(succeeded=files * times // 10)
            growth.append(cluster.size_bytes() - before[0])
            seconds.append(cluster.cpu_seconds() - before[1])
    count = files * times // 10
    answer.bar(f"{count:,} mini-batches grow the scheduler by", max(growth) / 1e6, 20, 5, unit=" MB")
    answer.bar(
        f"{count:,} mini-batches cost the scheduler",
        sorted(seconds)[len(seconds) // 2],
        1.0,
        unit=" s of CPU",
    )


class Cluster:
    """A scheduler and a worker in processes of their own."""

    def __init__(self, place: Path) -> None:
        self.log = place / "scheduler.log"
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        module = [
            sys.executable,
            "-m",
            "distributed.cli.dask_scheduler",
            "--port",
            "0",
            "--dashboard-address",
            ":0",
        ]
        self.address = ""
        self.processes = [
            subprocess.Popen(
                [*module, "--host", "127.0.0.1"], stderr=self.log.open("w"), cwd=place, env=environment
            )
        ]
        self._await_address()
        worker = [
            sys.executable,
            "-m",
            "distributed.cli.dask_worker",
            self.address,
            "--nthreads",
            "2",
            "--local-directory",
            str(place),
        ]
        log = (place / "worker.log").open("w")
        self.processes.append(subprocess.Popen(worker, stderr=log, stdout=log, cwd=place, env=environment))
        # A child of the worker that comes during a command would be taken for what that command left behind.
        patience = time.monotonic() + 60
        while "Registered to" not in (place / "worker.log").read_text() and time.monotonic() < patience:
            time.sleep(0.05)

    def _await_address(self) -> None:
        patience = time.monotonic() + 60
        while not self.address and time.monotonic() < patience:
            found = re.search(r"tcp://127\.0\.0\.1:\d+", self.log.read_text())
            self.address = found[0] if found else ""
            time.sleep(0.05)

    def size_bytes(self) -> int:
        """Resident size of the scheduler."""
        text = Path(f"/proc/{self.processes[0].pid}/status").read_text()
        return int(text.split("VmRSS:")[1].split()[0]) * 1024

    def cpu_seconds(self) -> float:
        """Processor time that the scheduler has used."""
        fields = Path(f"/proc/{self.processes[0].pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            process.wait()
