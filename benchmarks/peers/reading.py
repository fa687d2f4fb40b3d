"""Reading a table into one pandas frame: Microsoft's reader, plain Arrow on two threads, and ours.

Each reads a small table first, so that what it loads and starts on first use is no part of the time.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.peers.common import main, mark


def timed(read: Callable[[str], object], small: str, path: str, rows: str) -> None:
    """Read both, the second against the clock; check its number of rows."""
    read(small)
    mark("up")
    found = len(read(path))  # type: ignore[arg-type]
    mark("done")
    assert found == int(rows), f"{found} rows instead of {rows}"


def microsoft(*arguments: str) -> None:
    """The `mltable` package, with its telemetry off; runs in an environment of its own."""
    import azureml.dataprep.rslex as rslex

    start = rslex.init_environment
    rslex.init_environment = lambda first, _key, *rest, **more: start(first, "", *rest, **more)
    import mltable

    timed(lambda folder: mltable.load(folder).to_pandas_dataframe(), *arguments)


def arrow_csv(*arguments: str) -> None:
    """pyarrow.csv."""
    import pyarrow as pa
    import pyarrow.csv

    pa.set_cpu_count(2)
    timed(lambda path: pyarrow.csv.read_csv(path).to_pandas(), *arguments)


def arrow_parquet(*arguments: str) -> None:
    """pyarrow.parquet."""
    import pyarrow as pa
    import pyarrow.parquet

    pa.set_cpu_count(2)
    timed(lambda path: pyarrow.parquet.read_table(path).to_pandas(), *arguments)


def arrow_json(*arguments: str) -> None:
    """pyarrow.json."""
    import pyarrow as pa
    import pyarrow.json

    pa.set_cpu_count(2)
    timed(lambda path: pyarrow.json.read_json(path).to_pandas(), *arguments)


def ours(*arguments: str) -> None:
    """daskpar.read_mltable on two threads of Dask's."""
    import dask

    import daskpar

    with dask.config.set(num_workers=2):
        timed(lambda folder: daskpar.read_mltable(folder).compute(), *arguments)


if __name__ == "__main__":
    main(
        {function.__name__: function for function in (microsoft, arrow_csv, arrow_parquet, arrow_json, ours)}
    )
