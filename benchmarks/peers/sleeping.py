"""Mini-batches that take as long as their names say, on four processes."""

from __future__ import annotations

import multiprocessing
import os

from benchmarks.peers.common import main, mark
from benchmarks.scripts.sleeping import run

PROCESSES = 4


def each(path: str) -> list[str]:
    """One mini-batch of one file."""
    return run([path])


def paths_in(folder: str) -> list[str]:
    """All files in order."""
    return sorted(entry.path for entry in os.scandir(folder))


def pool_one(folder: str) -> None:
    """A forking pool, one at a time."""
    mark("up")
    with multiprocessing.get_context("fork").Pool(PROCESSES) as pool:
        results = list(pool.imap(each, paths_in(folder)))
    mark("done")
    print(len(results))


def joblib_auto(folder: str) -> None:
    """joblib with its own choice of batches."""
    from joblib import Parallel, delayed

    mark("up")
    results = Parallel(n_jobs=PROCESSES)(delayed(each)(path) for path in paths_in(folder))
    mark("done")
    print(len(results))


if __name__ == "__main__":
    main({function.__name__: function for function in (pool_one, joblib_auto)})
