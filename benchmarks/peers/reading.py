"""Reading a table into one pandas frame: Microsoft's reader, plain Arrow on two threads, and ours."""

from __future__ import annotations

from benchmarks.peers.common import main, mark


def said(rows: int, expected: str) -> None:
    """Check the number of rows."""
    mark("done")
    assert rows == int(expected), f"{rows} rows instead of {expected}"


def microsoft(folder: str, rows: str) -> None:
    """The `mltable` package, with its telemetry off; runs in an environment of its own."""
    import azureml.dataprep.rslex as rslex

    start = rslex.init_environment
    rslex.init_environment = lambda first, _key, *rest, **more: start(first, "", *rest, **more)
    import mltable

    mark("up")
    said(len(mltable.load(folder).to_pandas_dataframe()), rows)


def arrow_csv(path: str, rows: str) -> None:
    """pyarrow.csv."""
    import pandas  # noqa: F401
    import pyarrow as pa
    import pyarrow.csv

    pa.set_cpu_count(2)
    mark("up")
    said(len(pyarrow.csv.read_csv(path).to_pandas()), rows)


def arrow_parquet(path: str, rows: str) -> None:
    """pyarrow.parquet."""
    import pandas  # noqa: F401
    import pyarrow as pa
    import pyarrow.parquet

    pa.set_cpu_count(2)
    mark("up")
    said(len(pyarrow.parquet.read_table(path).to_pandas()), rows)


def arrow_json(path: str, rows: str) -> None:
    """pyarrow.json."""
    import pandas  # noqa: F401
    import pyarrow as pa
    import pyarrow.json

    pa.set_cpu_count(2)
    mark("up")
    said(len(pyarrow.json.read_json(path).to_pandas()), rows)


def ours(folder: str, rows: str) -> None:
    """daskpar.read_mltable on two threads of Dask's."""
    import dask
    import dask.dataframe

    import daskpar

    with dask.config.set(num_workers=2):
        mark("up")
        said(len(daskpar.read_mltable(folder).compute()), rows)


if __name__ == "__main__":
    main({function.__name__: function for function in (microsoft, arrow_csv, arrow_parquet, arrow_json, ours)})
