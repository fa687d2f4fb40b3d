"""Runs mini-batches of ten paths that take almost no time."""

from __future__ import annotations

import multiprocessing
import os

from benchmarks.peers.common import main, mark
from benchmarks.scripts.tiny import run

PROCESSES = 2


def lists_of_ten(folder: str, times: str) -> list[list[str]]:
    """A folder listed several times, in order, ten paths each."""
    paths: list[str] = []
    for _ in range(int(times)):
        with os.scandir(folder) as entries:
            paths.extend(sorted(entry.path for entry in entries if entry.is_file()))
    return [paths[at : at + 10] for at in range(0, len(paths), 10)]


def count(mini_batch: list[str]) -> int:
    """How many results came back."""
    return len(run(mini_batch))


def pool(folder: str, times: str, chunksize: str) -> None:
    """A forking pool."""
    mark("up")
    batches = lists_of_ten(folder, times)
    mark("listed")
    with multiprocessing.get_context("fork").Pool(PROCESSES) as workers:
        results = sum(workers.imap(count, batches, int(chunksize)))
    mark("done")
    assert results == 10 * len(batches)


def dask_each(folder: str, times: str, limit: str) -> None:
    """One Dask task for each mini-batch."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=PROCESSES, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        mark("up")
        batches = lists_of_ten(folder, times)[: int(limit)]
        mark("listed")
        results = sum(client.gather(client.map(count, batches, pure=False)))
        mark("done")
        assert results == 10 * len(batches)


if __name__ == "__main__":
    main({function.__name__: function for function in (pool, dask_each)})
