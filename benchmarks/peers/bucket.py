"""Reads CSV files from a bucket with pandas, in two processes."""

from __future__ import annotations

import multiprocessing

from benchmarks.peers.common import main, mark


def read(url: str) -> int:
    """Rows of one file."""
    import pandas as pd

    return len(pd.read_csv(url))


def read_csv(*urls: str) -> None:
    """All of them, each by one of two processes."""
    mark("up")
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        print(sum(pool.map(read, urls, chunksize=1)))
    mark("done")


if __name__ == "__main__":
    main({"read_csv": read_csv})
