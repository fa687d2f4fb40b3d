"""Runs mini-batches of ten distinct files by hand: list, sort, a Pool, rows in order in one file."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator

from benchmarks.peers.common import main, mark
from benchmarks.scripts.tiny import run

PROCESSES = 2


def score(mini_batch: list[str]) -> str:
    """The rows of a mini-batch as one text: a list would be pickled element by element."""
    return "".join([f"{row}\n" for row in run(mini_batch)])


def listed(folder: str, *, look: bool) -> list[str]:
    """The files of a flat folder, sorted; with `look` their sizes and times are asked for too."""
    with os.scandir(folder) as entries:
        if not look:
            return sorted([entry.path for entry in entries if entry.is_file(follow_symlinks=False)])
        seen = {}
        for entry in entries:
            status = entry.stat()
            seen[entry.path] = (status.st_size, status.st_mtime_ns)
    return sorted(seen)


def pool(folder: str, output: str, chunksize: str, look: str) -> None:
    """A forking pool; `look`: yes or no."""
    mark("up")
    paths = listed(folder, look=look == "yes")
    mark("listed")
    batches = [paths[at : at + 10] for at in range(0, len(paths), 10)]
    with (
        multiprocessing.get_context("fork").Pool(PROCESSES) as workers,
        open(output, "w", buffering=1 << 20) as file,
    ):
        file.writelines(workers.imap(score, batches, int(chunksize)))
    mark("done")


def one_pass(folder: str) -> None:
    """One look at each file, by scandir and stat, and nothing else."""
    mark("up")
    with os.scandir(folder) as entries:
        total = sum(size for size, _ in _stamps(entries))
    mark("done")
    print(total)


def _stamps(entries: Iterator[os.DirEntry[str]]) -> Iterator[tuple[int, int]]:
    for entry in entries:
        status = entry.stat()
        yield status.st_size, status.st_mtime_ns


if __name__ == "__main__":
    main({function.__name__: function for function in (pool, one_pass)})
