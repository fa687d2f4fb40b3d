"""A model for each store and brand out of a CSV file in no order."""

from __future__ import annotations

import multiprocessing

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from benchmarks.peers.common import main, mark
from benchmarks.scripts import fit

PROCESSES = 2
KEYS = ["Store", "Brand"]

ordered: pa.Table
bounds: np.ndarray


def fit_slice(number: int) -> None:
    """One group, cut out of the ordered table."""
    start, stop = int(bounds[number]), int(bounds[number + 1])
    fit.run(ordered.slice(start, stop - start).to_pandas(use_threads=False))


def pool_sorted(path: str, folder: str) -> None:
    """Read once on two threads, order by key, fork, cut slices."""
    global ordered, bounds
    mark("up")
    pa.set_cpu_count(PROCESSES)
    table = pacsv.read_csv(path)
    brands = pc.dictionary_encode(table["Brand"].combine_chunks())
    codes = table["Store"].to_numpy() * len(brands.dictionary) + brands.indices.to_numpy()
    order = np.argsort(codes, kind="stable")
    ordered = table.combine_chunks().take(pa.array(order))
    codes = codes[order]
    bounds = np.concatenate([[0], np.flatnonzero(np.diff(codes)) + 1, [len(codes)]])
    with multiprocessing.get_context("fork").Pool(PROCESSES, fit.init, (folder,)) as pool:
        for _ in pool.imap_unordered(fit_slice, range(len(bounds) - 1), chunksize=64):
            pass
    mark("done")


def fit_partition(frame: pd.DataFrame, folder: str) -> int:
    """All groups of a partition of Dask's."""
    if fit.out is None:
        fit.init(folder)
    groups = frame.groupby(KEYS, sort=False, observed=True)
    for _, group in groups:
        fit.run(group)
    return groups.ngroups


def order_partition(frame: pd.DataFrame) -> int:
    """Bring the groups of a partition together."""
    return len(frame.sort_values(KEYS, kind="stable"))


def shuffled(path: str, function: object, *arguments: object) -> int:
    """Dask's shuffle by key, then a function on each partition."""
    import dask.dataframe as dd
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=PROCESSES, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster),
    ):
        mark("up")
        parts = dd.read_csv(path, blocksize=16_000_000).shuffle(on=KEYS, ignore_index=True)
        total = int(parts.map_partitions(function, *arguments, meta=pd.Series(dtype="int64")).compute().sum())
        mark("done")
    return total


def dask_shuffle(path: str, folder: str) -> None:
    """Dask's shuffle, then a groupby loop on each partition."""
    shuffled(path, fit_partition, folder)


def dask_grouping(path: str) -> None:
    """Dask's shuffle alone, rows of a group side by side at the end."""
    print(shuffled(path, order_partition), "rows")


if __name__ == "__main__":
    main({function.__name__: function for function in (pool_sorted, dask_shuffle, dask_grouping)})
