"""Scoring a wide table in mini-batches of `size` bytes into one file in row order."""

from __future__ import annotations

import io
import multiprocessing
import os
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from benchmarks.peers.common import Range, cut, main, mark
from benchmarks.scripts.wide_score import run

PROCESSES = 2

job: tuple[str, list[str]]
"""Values that forked processes inherit: input path and column names."""


def text_of(frame: pd.DataFrame) -> str:
    """The scores of a mini-batch as lines."""
    return run(frame).to_csv(sep=" ", header=False, index=False)


def score_range(task: Range) -> str:
    """One mini-batch."""
    start, stop = task
    with open(job[0], "rb", buffering=0) as file:
        file.seek(start)
        text = file.read(stop - start)
    return text_of(pd.read_csv(io.BytesIO(text), header=None, names=job[1]))


def pool_ranges(path: str, output: str, size: str) -> None:
    """A forking pool with pandas, one range of bytes after the other."""
    global job
    with Path(path).open() as file:
        job = (path, file.readline().rstrip("\n").split(","))
    mark("up")
    with multiprocessing.get_context("fork").Pool(PROCESSES) as pool, open(output, "w") as file:
        for text in pool.imap(score_range, cut(path, int(size))):
            file.write(text)
    mark("done")


def slices(frame: pd.DataFrame, rows: int, output: str) -> None:
    """The mini-batches of a frame, one after the other, appended to the output."""
    with open(output, "a") as file:
        for start in range(0, len(frame), rows):
            file.write(text_of(frame.iloc[start : start + rows]))


def whole_pandas(path: str, output: str, size: str) -> None:
    """One process: pandas reads the file whole, and slices it."""
    mark("up")
    frame = pd.read_csv(path)
    slices(frame, max(1, len(frame) * int(size) // os.path.getsize(path)), output)
    mark("done")


def arrow_slices(path: str, output: str, size: str) -> None:
    """One process: pyarrow decodes row group by row group with all its threads, and slices of each."""
    mark("up")
    with pq.ParquetFile(path) as file:
        rows = max(1, file.metadata.num_rows * int(size) // os.path.getsize(path))
        for group in range(file.num_row_groups):
            slices(file.read_row_group(group).to_pandas(), rows, output)
    mark("done")


if __name__ == "__main__":
    main({function.__name__: function for function in (pool_ranges, whole_pandas, arrow_slices)})
