"""Reads from an S3 server on this machine: files fetched while `run()` works, and a CSV table.

`run()` sleeps, as one that waits for a GPU or a service: fetching a megabyte takes some milliseconds of a
core, and one that computed would share two cores with it and with the server, whoever fetches.
The step is compared with the longer of two others: of one that fetches and does nothing, and of one that
does its work on local files. By hand, each of two processes fetches ahead of itself.

The server is `benchmarks.object_server`, a process of its own on the same cores: what it needs is part of all
numbers alike.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks import data
from benchmarks.bars import Answer, Settings
from benchmarks.harness import DATA, ROOT, Command, interleave, peer
from benchmarks.jobs import Job, mltable

CACHE_MB = 100
OBJECT_BYTES = 1_000_000


def ask(settings: Settings) -> Answer:
    """Fetching beside computing, over the longer of both; what a node holds; a table, against pandas."""
    answer = Answer(question="bucket-inputs")
    count = settings.scaled(2_000, 40)
    with served(objects(count)) as environment:
        fetch = job("fetch", 0.0)
        (alone,) = interleave([checked(fetch, count, environment)], settings.repeats).values()
        # As long as the fetch: both processors sleep that long in sum, each half of the files.
        seconds = (alone.job_seconds or alone.seconds) * fetch.processors / count
        both = job("fetch-and-compute", seconds)
        with largest_cache() as held:
            by_hand = peer("bucket", "prefetch", f"{seconds:.6f}", "box/in")
            series = interleave(
                [
                    checked(both, count, environment),
                    checked(local(seconds, count), count, environment, name="local"),
                    replace(by_hand, environment={**by_hand.environment, **environment}),
                ],
                settings.repeats,
            )
        ideal = seconds * count / both.processors
        took, work, theirs = (one.job_seconds or one.seconds for one in series.values())
        answer.series["bucket: fetched beside run()"] = series
        answer.bar(
            f"{count:,} objects of 1 MB: max(fetch, compute) over the step",
            ideal / took,
            0.85,
            at_least=True,
        )
        answer.bar(
            "the same, with a step of its own for what run() takes: max(fetch, compute) over the step",
            max(ideal, work) / took,
            0.85,
            at_least=True,
        )
        answer.bar("by hand, by asyncio in each of two processes: over the step", theirs / took, None)
        answer.bar("the most that a node held, over its cache", held[0] / (CACHE_MB * 1024**2), 1.0)
    table(settings, answer)
    return answer


def table(settings: Settings, answer: Answer) -> None:
    """A CSV table in a bucket, against `pandas.read_csv` in as many processes."""
    parts, megabytes = 8, settings.scaled(50, 2)
    folder = DATA / f"bucket-csv-{megabytes}"
    for number in range(parts):
        path, rows = data.scoring_csv(megabytes)
        place = folder / "csv" / f"{number}.csv"
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, place)
    with served(folder) as environment:
        ours = Job(
            name="bucket-csv",
            script="count_rows.py",
            data=mltable("bucket-csv", ["folder: s3://box/csv"], "read_delimited"),
            mini_batch_size=f"{settings.scaled(20, 1)}mb",
            arguments="--any_number_of_rows",
        )
        theirs = peer("bucket", "read_csv", *(f"s3://box/csv/{number}.csv" for number in range(parts)))
        commands = [
            ours.command(check=lambda: total(ours.rows, parts * rows), environment=environment),
            replace(theirs, environment={**theirs.environment, **environment}),
        ]
        series = interleave(commands, settings.repeats)
    answer.series["bucket: CSV table"] = series
    faster = (series[theirs.name].job_seconds or 0) / (series["daskpar"].job_seconds or 1)
    answer.bar("CSV table: times as fast as pandas.read_csv in 2 processes", faster, 0.8, at_least=True)


def total(rows: Path, expected: int) -> None:
    """The rows that were counted are all of them."""
    assert sum(map(int, rows.read_text().split())) == expected, "rows are missing"


def objects(count: int) -> Path:
    """A folder with this many files of 1 MB that do not compress."""
    folder = DATA / f"bucket-{count}"
    for number in range(count):
        path = folder / "in" / f"{number:05}.bin"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(os.urandom(OBJECT_BYTES))
    return folder


def job(name: str, seconds: float) -> Job:
    """A step over all objects whose `run()` takes so long for each."""
    return Job(
        name=f"bucket-{name}",
        script="weigh.py",
        data=DATA,
        url="s3://box/in",
        tabular=False,
        mini_batch_size="1",
        arguments=f"--fetch_cache {CACHE_MB}mb",
        environment={"EACH": f"{seconds:.6f}"},
    )


def local(seconds: float, count: int) -> Job:
    """The same step over the same files on this machine."""
    here = job("local", seconds)
    return replace(here, url="", data=objects(count) / "in", arguments="")


def checked(job: Job, count: int, environment: dict[str, str], name: str = "daskpar") -> Command:
    """Its command, with its rows looked at."""
    return job.command(
        name=name,
        check=lambda: total(job.rows, count * OBJECT_BYTES),
        environment=environment,
    )


@contextmanager
def served(folder: Path) -> Iterator[dict[str, str]]:
    """The environment in which s3:// leads to a server of this folder."""
    argv = [sys.executable, "-m", "benchmarks.object_server", str(folder)]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield {
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{int(server.stdout.readline())}",
                "AWS_ACCESS_KEY_ID": "key",
                "AWS_SECRET_ACCESS_KEY": "secret",
                "AWS_DEFAULT_REGION": "us-east-1",
            }
        finally:
            server.kill()


@contextmanager
def largest_cache() -> Iterator[list[int]]:
    """In one number, the most bytes seen in the folder of a node while this lasts."""
    import tempfile

    found, over = [0], threading.Event()

    def look() -> None:
        while not over.wait(0.1):
            for root in Path(tempfile.gettempdir()).glob("dask-scratch-space/*/daskpar-fetched-*"):
                sizes = 0
                for folder, _, names in os.walk(root):
                    for name in names:
                        try:
                            sizes += os.stat(os.path.join(folder, name)).st_size
                        except FileNotFoundError:
                            continue
                found[0] = max(found[0], sizes)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()
