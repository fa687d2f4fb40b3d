"""Scoring a CSV file in mini-batches of `size` bytes into one file in row order."""

from __future__ import annotations

import io
import multiprocessing
import tempfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from benchmarks.peers.common import Range, cut, join, main, mark
from benchmarks.scripts.score import run

PROCESSES = 2
SPAN = 4_000_000
GROUP_ROWS = 1 << 20
PLAIN = pacsv.WriteOptions(include_header=False, delimiter=" ", quoting_style="none")

job: tuple[str, list[str], str]
"""Values that forked processes inherit: input path, column names, folder of parts."""


def read(start: int, stop: int) -> bytes:
    """One range of the input."""
    with open(job[0], "rb", buffering=0) as file:
        file.seek(start)
        return file.read(stop - start)


def parse(text: bytes) -> pd.DataFrame:
    """A range of whole lines as a frame, in this thread."""
    options = pacsv.ReadOptions(use_threads=False, column_names=job[1], block_size=len(text) + 1)
    return pacsv.read_csv(pa.py_buffer(text), options).to_pandas(use_threads=False)


def write(frame: pd.DataFrame, file: object) -> None:
    """Rows as text, by Arrow's writer."""
    pacsv.write_csv(pa.Table.from_pandas(frame, preserve_index=False, nthreads=1), file, PLAIN)


def score_range(task: tuple[int, Range]) -> str:
    """One mini-batch, one part file."""
    number, (start, stop) = task
    part = f"{job[2]}/{number}"
    with open(part, "wb") as file:
        write(run(parse(read(start, stop))), file)
    return part


def score_span(task: tuple[int, list[Range]]) -> str:
    """Many mini-batches out of one parse; their results go into one part file by one write."""
    number, ranges = task
    base = ranges[0][0]
    text = read(base, ranges[-1][1])
    frame = parse(text)
    results, row = [], 0
    for start, stop in ranges:
        rows = text.count(b"\n", start - base, stop - base)
        results.append(run(frame.iloc[row : row + rows]))
        row += rows
    part = f"{job[2]}/{number}"
    with open(part, "wb") as file:
        write(pd.concat(results, ignore_index=True), file)
    return part


def score_pandas(task: Range) -> str:
    """What most people write: pandas in, pandas out, text back through the pipe."""
    frame = pd.read_csv(io.BytesIO(read(*task)), header=None, names=job[1])
    return run(frame).to_csv(sep=" ", header=False, index=False)


def begin(path: str, folder: str) -> None:
    """Set what forked processes inherit."""
    global job
    with Path(path).open() as file:
        job = (path, file.readline().rstrip("\n").split(","), folder)


def pool_parts(path: str, output: str, size: str) -> None:
    """A forking pool, one range after the other, part files joined in order as they come."""
    with tempfile.TemporaryDirectory(dir=Path(output).parent) as folder:
        begin(path, folder)
        mark("up")
        with multiprocessing.get_context("fork").Pool(PROCESSES) as pool:
            join(pool.imap(score_range, enumerate(cut(path, int(size)))), output)
    mark("done")


def score_to_parquet(task: tuple[int, Range]) -> str:
    """One mini-batch, one Parquet file."""
    number, (start, stop) = task
    part = f"{job[2]}/{number}"
    scored = pa.Table.from_pandas(run(parse(read(start, stop))), preserve_index=False, nthreads=1)
    pq.write_table(scored, part, compression="zstd")
    return part


def pool_parquet(path: str, output: str, size: str) -> None:
    """A forking pool that writes Parquet files, whose rows become large row groups of one file in order."""
    with tempfile.TemporaryDirectory(dir=Path(output).parent) as folder:
        begin(path, folder)
        mark("up")
        writer, waiting, rows = None, [], 0
        with multiprocessing.get_context("fork").Pool(PROCESSES) as pool:
            for part in pool.imap(score_to_parquet, enumerate(cut(path, int(size)))):
                waiting.append(pq.read_table(part, use_threads=False))
                rows += waiting[-1].num_rows
                Path(part).unlink()
                if writer is None:
                    writer = pq.ParquetWriter(output, waiting[0].schema, compression="zstd")
                if rows >= GROUP_ROWS:
                    writer.write_table(pa.concat_tables(waiting))
                    waiting, rows = [], 0
        if waiting:
            writer.write_table(pa.concat_tables(waiting))
        writer.close()
    mark("done")


def pool_slices(path: str, output: str, size: str) -> None:
    """The same with reads of 4 MB, each cut into its mini-batches."""
    with tempfile.TemporaryDirectory(dir=Path(output).parent) as folder:
        begin(path, folder)
        mark("up")
        ranges = cut(path, int(size))
        each = max(1, SPAN // int(size))
        spans = [ranges[at : at + each] for at in range(0, len(ranges), each)]
        with multiprocessing.get_context("fork").Pool(PROCESSES) as pool:
            join(pool.imap(score_span, enumerate(spans)), output)
    mark("done")


def pool_pandas(path: str, output: str, size: str) -> None:
    """A forking pool with pandas for reading and writing."""
    begin(path, "")
    mark("up")
    with multiprocessing.get_context("fork").Pool(PROCESSES) as pool, open(output, "w") as file:
        for text in pool.imap(score_pandas, cut(path, int(size))):
            file.write(text)
    mark("done")


def dask_dataframe(path: str, output: str, size: str) -> None:
    """dask.dataframe on two workers: one partition for each mini-batch, one output file."""
    import dask.dataframe as dd
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=PROCESSES, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster),
    ):
        mark("up")
        frame = dd.read_csv(path, blocksize=int(size))
        meta = run(frame.head(2, npartitions=1))
        frame.map_partitions(run, meta=meta).to_csv(
            output, single_file=True, sep=" ", header=False, index=False
        )
        mark("done")


def ray_data(path: str, output: str, size: str) -> None:
    """Ray Data with two actors, order kept, blocks written by the driver as they come."""
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
    rows = max(1, int(size) // 76)
    scored = ray.data.read_csv(path).map_batches(
        Scorer, batch_size=rows, batch_format="pandas", concurrency=PROCESSES, num_cpus=0.5
    )
    with open(output, "wb") as file:
        for batch in scored.iter_batches(batch_size=None, batch_format="pyarrow"):
            pacsv.write_csv(batch, file, PLAIN)
    mark("done")
    ray.shutdown()


if __name__ == "__main__":
    functions = (pool_parts, pool_parquet, pool_slices, pool_pandas, dask_dataframe, ray_data)
    main({function.__name__: function for function in functions})
