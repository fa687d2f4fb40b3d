"""Scores a folder of small files one by one, by hand: list, sort, a Pool, rows in order in one file."""

from __future__ import annotations

import io
import multiprocessing
import os
from collections.abc import Callable

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.json as pajson

from benchmarks.peers.common import main, mark
from benchmarks.scripts.score import run

PROCESSES = 2
FILES_EACH = 100
"""In one task of the pool, whose rows become text by one write."""
PLAIN = pacsv.WriteOptions(include_header=False, delimiter=" ", quoting_style="none")


def with_pandas(path: str) -> pd.DataFrame:
    """A file as most people read it."""
    return pd.read_csv(path) if path.endswith(".csv") else pd.read_json(path, lines=True)


def with_arrow(path: str) -> pd.DataFrame:
    """A file by pyarrow, in this thread."""
    with open(path, "rb", buffering=0) as file:
        text = file.read()
    if path.endswith(".csv"):
        table = pacsv.read_csv(pa.py_buffer(text), pacsv.ReadOptions(use_threads=False))
    else:
        table = pajson.read_json(pa.py_buffer(text), pajson.ReadOptions(use_threads=False))
    return table.to_pandas(use_threads=False)


def score(task: tuple[Callable[[str], pd.DataFrame], list[str]]) -> bytes:
    """The rows of some files as text."""
    read, paths = task
    scored = pd.concat([run(read(path)) for path in paths], ignore_index=True)
    text = io.BytesIO()
    pacsv.write_csv(pa.Table.from_pandas(scored, preserve_index=False, nthreads=1), text, PLAIN)
    return text.getvalue()


def pool(read: Callable[[str], pd.DataFrame], folder: str, output: str) -> None:
    """A forking pool."""
    mark("up")
    with os.scandir(folder) as entries:
        paths = sorted(entry.path for entry in entries)
    tasks = [(read, paths[at : at + FILES_EACH]) for at in range(0, len(paths), FILES_EACH)]
    with multiprocessing.get_context("fork").Pool(PROCESSES) as workers, open(output, "wb") as file:
        file.writelines(workers.imap(score, tasks))
    mark("done")


def pool_pandas(folder: str, output: str) -> None:
    """With pandas."""
    pool(with_pandas, folder, output)


def pool_arrow(folder: str, output: str) -> None:
    """With pyarrow."""
    pool(with_arrow, folder, output)


if __name__ == "__main__":
    main({function.__name__: function for function in (pool_pandas, pool_arrow)})
