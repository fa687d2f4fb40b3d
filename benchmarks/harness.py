"""Runs the commands of all competitors in turn, and keeps their times, checks and, of a run apart, memory.

In turn, so that anything that disturbs the machine disturbs all of them alike.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.memory import MemorySampler, descendants

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "benchmarks" / "data"
RESULTS = ROOT / "benchmarks" / "results"
PATIENCE_SECONDS = 900
PR_SET_CHILD_SUBREAPER = 36
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
"""Environment of peers that have a process for each core; daskpar sets the same itself.

Threads of linear algebra in each process would make such a peer many times slower.
"""


class Wrong(Exception):
    """A command failed or wrote a wrong output, so its time means nothing."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """One competitor of a series."""

    name: str
    argv: tuple[str, ...]
    check: Callable[[], None] = lambda: None
    """Raises `Wrong` when the output is not right; not timed."""
    marks: Callable[[str], Mapping[str, float]] | None = None
    """Gives times (seconds since the epoch) by name from the output; by default from the `MARKS` lines."""
    prepare: Callable[[], None] = lambda: None
    """Removes what an earlier run left; not timed."""
    environment: Mapping[str, str] = field(default_factory=dict)
    exit_code: int = 0
    """What it ends with when all is well."""
    repeats: int | None = None
    """Fewer than the series' for a peer that takes minutes."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One run of one command."""

    seconds: float
    """Of the whole command: what the user waits."""
    job_seconds: float | None
    """From "the runtime is up" until the output is complete, where the command says so."""
    read_bytes: int
    """What read() calls of the whole tree delivered, from the page cache too."""
    marks: Mapping[str, float]
    began: float
    memory: MemorySampler | None = None
    """What its memory was from moment to moment, where somebody looked."""


@dataclass(kw_only=True)
class Series:
    """All runs of one command."""

    name: str
    runs: list[Measured] = field(default_factory=list)
    looked_at: Measured | None = None
    """One run more, whose memory was looked at; its time means nothing."""

    @property
    def seconds(self) -> float:
        """Median of the whole command."""
        return median(run.seconds for run in self.runs)

    @property
    def job_seconds(self) -> float | None:
        """Median from "the runtime is up" on, None where any run did not say."""
        known = [run.job_seconds for run in self.runs if run.job_seconds is not None]
        return median(known) if len(known) == len(self.runs) else None

    @property
    def memory(self) -> MemorySampler:
        """Of the run that was looked at."""
        assert self.looked_at is not None and self.looked_at.memory is not None, "nobody asked for memory"
        return self.looked_at.memory

    @property
    def peak_bytes(self) -> int:
        """The peak of that run."""
        return self.memory.peak()

    def mark(self, name: str) -> float:
        """Median seconds from the start of the command to a mark."""
        return median(run.marks[name] - run.began for run in self.runs)

    def as_record(self) -> dict[str, object]:
        """For the results file."""
        return {
            "seconds": [round(run.seconds, 3) for run in self.runs],
            "job_seconds": [run.job_seconds and round(run.job_seconds, 3) for run in self.runs],
            "peak_mb": round(self.peak_bytes / 1e6, 1) if self.looked_at is not None else None,
        }


def available(module: str) -> bool:
    """Whether a peer's package is installed here."""
    return importlib.util.find_spec(module) is not None


def adopt_orphans() -> None:
    """Become the parent of processes that a command leaves behind, so that they are counted and ended."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def measure(command: Command, *, memory: bool = False) -> Measured:
    """Run a command once, checked. `memory`: look at its memory, which takes time of it."""
    command.prepare()
    ours = set(descendants(os.getpid()))
    read_before = bytes_read()
    with tempfile.TemporaryFile("w+") as output:
        began = time.time()
        clock = time.perf_counter()
        process = subprocess.Popen(
            command.argv,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **command.environment},
        )
        sampler = MemorySampler(process.pid) if memory else None
        if sampler is not None:
            sampler.start()
        patience = threading.Timer(PATIENCE_SECONDS, process.kill)
        patience.start()
        try:
            code = process.wait()  # with a limit it would look every twentieth of a second
            seconds = time.perf_counter() - clock
        finally:
            patience.cancel()
            if sampler is not None:
                sampler.stop()
            end_leftovers(ours)
        output.seek(0)
        text = output.read()
    if code != command.exit_code:
        raise Wrong(f"{command.name} ended with {code} after {seconds:.1f} s:\n{text[-3000:]}")
    command.check()
    marks = dict(command.marks(text) if command.marks else printed_marks(text))
    job = marks["done"] - marks["up"] if {"up", "done"} <= marks.keys() else None
    return Measured(
        seconds=seconds,
        job_seconds=job,
        read_bytes=bytes_read() - read_before,
        marks=marks,
        began=began,
        memory=sampler,
    )


def interleave(
    commands: Sequence[Command], repeats: int, say: Callable[[str], None] = print, *, memory: bool = False
) -> dict[str, Series]:
    """Run all commands in turn, `repeats` times.

    `memory`: once more before, to look at their memory. The kernel stops a process while it adds up its
    pages, and the more so the more processes a command has: up to a tenth of the time (measured).
    """
    series = {command.name: Series(name=command.name) for command in commands}
    for command in commands if memory else ():
        run = series[command.name].looked_at = measure(command, memory=True)
        say(f"    {command.name}: {run.seconds:.2f} s, peak {series[command.name].peak_bytes / 1e6:.0f} MB")
    for repeat in range(repeats):
        for command in commands:
            if repeat >= (command.repeats or repeats):
                continue
            run = measure(command)
            series[command.name].runs.append(run)
            job = "" if run.job_seconds is None else f" (job {run.job_seconds:.2f} s)"
            say(f"    {command.name}: {run.seconds:.2f} s{job}")
    return series


def ratio(ours: Series, theirs: Series) -> float:
    """Ours over theirs, whole command or from "runtime is up" on: whichever is worse for us."""
    ratios = [ours.seconds / theirs.seconds]
    if ours.job_seconds is not None and theirs.job_seconds is not None:
        ratios.append(ours.job_seconds / theirs.job_seconds)
    return max(ratios)


def printed_marks(text: str) -> dict[str, float]:
    """The moments on a peer's `MARKS {...}` lines."""
    marks: dict[str, float] = {}
    for line in text.splitlines():
        if line.startswith("MARKS "):
            marks.update(json.loads(line[6:]))
    return marks


def end_leftovers(ours: set[int]) -> None:
    """Kill the processes that a command left running, all but `ours`.

    They get three seconds first: the servers of some peers end by themselves, a little later.
    """

    def left() -> list[int]:
        return [pid for pid in descendants(os.getpid()) if pid not in ours]

    patience = time.monotonic() + 3
    while left() and time.monotonic() < patience:
        time.sleep(0.02)
    while pids := left():
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    reap_orphans()


def reap_orphans() -> None:
    """Take the exit status of adopted children that have ended, so that the bytes they read are counted."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with suppress(OSError):
                state, parent = Path(entry.path, "stat").read_text().rpartition(")")[2].split()[:2]
                if state == "Z" and int(parent) == os.getpid():
                    os.waitpid(int(entry.name), os.WNOHANG)


def bytes_read() -> int:
    """What read() calls of this process and of all its ended descendants delivered."""
    for line in Path("/proc/self/io").read_text().splitlines():
        if line.startswith("rchar:"):
            return int(line.split()[1])
    return 0


def peer(
    module: str, function: str, *arguments: object, name: str | None = None, **options: object
) -> Command:
    """A function of one of `benchmarks.peers`, as a command of its own."""
    argv = (sys.executable, "-m", f"benchmarks.peers.{module}", function, *map(str, arguments))
    return Command(name=name or function.replace("_", "-"), argv=argv, environment=ONE_THREAD, **options)  # type: ignore[arg-type]
