"""Scoring Parquet files in mini-batches of `rows` rows into one file in row order."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from benchmarks.peers.common import join, main, mark
from benchmarks.scripts.score import run

PROCESSES = 2
PLAIN = pacsv.WriteOptions(include_header=False, delimiter=" ", quoting_style="none")


def score_row_group(task: tuple[int, str, int, int, float, str]) -> str:
    """Decode a row group once, run its slices, write one part file."""
    number, path, group, rows, pause, folder = task
    frame = pq.ParquetFile(path).read_row_group(group, use_threads=False).to_pandas(use_threads=False)
    part = f"{folder}/{number}"
    with open(part, "wb") as file:
        for start in range(0, len(frame), rows):
            time.sleep(pause)
            result = run(frame.iloc[start : start + rows])
            pacsv.write_csv(pa.Table.from_pandas(result, preserve_index=False, nthreads=1), file, PLAIN)
    return part


def files_of(path: str) -> list[str]:
    """One file, or a folder's in order of their names."""
    return sorted(map(str, Path(path).iterdir())) if Path(path).is_dir() else [path]


def pool_parts(path: str, output: str, rows: str, pause: str = "0") -> None:
    """A forking pool over row groups, part files joined in order."""
    with tempfile.TemporaryDirectory(dir=Path(output).parent) as folder:
        mark("up")
        groups = [
            (file, group) for file in files_of(path) for group in range(pq.ParquetFile(file).num_row_groups)
        ]
        tasks = [
            (number, file, group, int(rows), float(pause), folder)
            for number, (file, group) in enumerate(groups)
        ]
        with multiprocessing.get_context("fork").Pool(PROCESSES) as pool:
            join(pool.imap(score_row_group, tasks), output)
    mark("done")


def ray_data(path: str, output: str, rows: str) -> None:
    """Ray Data with two actors; asks for order, whether or not it comes."""
    import ray
    import ray.data

    class Scorer:
        def __call__(self, frame: pd.DataFrame) -> pd.DataFrame:
            return run(frame)

    ray.init(num_cpus=PROCESSES, include_dashboard=False, log_to_driver=False)
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    mark("up")
    table = ray.data.read_parquet(files_of(path))
    scored = table.map_batches(
        Scorer, batch_size=int(rows), batch_format="pandas", concurrency=PROCESSES, num_cpus=0.5
    )
    with open(output, "wb") as file:
        for batch in scored.iter_batches(batch_size=None, batch_format="pyarrow"):
            pacsv.write_csv(batch, file, PLAIN)
    mark("done")
    ray.shutdown()


if __name__ == "__main__":
    main({function.__name__: function for function in (pool_parts, ray_data)})
