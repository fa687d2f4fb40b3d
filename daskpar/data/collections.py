"""MLTables and file lists as lazy Dask collections. The only module of daskpar.data that imports Dask."""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import dask.bag
import dask.dataframe
import numpy as np
import pandas as pd

from daskpar.data.files import FileList, list_files
from daskpar.data.locations import resolve
from daskpar.data.mltable import open_mltable
from daskpar.data.reading import TableReader
from daskpar.data.slices import to_frame
from daskpar.data.steps import Losses, RunningLosses
from daskpar.data.table import PIECE, Table
from daskpar.data.types import StreamInfo

FILES_IN_PARTITION = 1000
GROUP_BYTES = 4 * 1024 * 1024
"""Row groups of Parquet smaller than this share a partition."""


def read_mltable(
    path: str | Path, *, partition_bytes: int | None = None, datastores: Mapping[str, str] | None = None
) -> dask.dataframe.DataFrame:
    """The table of an MLTable folder as a lazy Dask dataframe, with the columns, dtypes, values and nulls of Microsoft's `mltable`.

    `path` is the folder (or the MLTable file) on any filesystem that fsspec knows. Only metadata and the inference sample are read now:
    mistakes in the MLTable, missing files and unreadable samples raise InputError with the MLTable's line. `partition_bytes` cuts
    partitions of that size (default: the MLTable's `partition_size`, 20 MiB; Parquet: row groups); the rows are the same whatever it is.
    Each partition counts its index from 0. `datastores` maps names in `azureml://datastores/NAME/paths/…` to folders or URLs.

    Values that don't convert become null, as there; a warning tells column, count and an example.

    Deliberate differences from Microsoft's reader, each where that one crashes, depends on chance or loses values silently:

    =====================================================  =====================================================================
    Microsoft's reader                                     daskpar
    =====================================================  =====================================================================
    JSON lines: the kind of a column's first value wins,   int and float give float64, other mixtures keep each value (object)
    values of other kinds become null
    JSON lines: integers from 2**63 on turn negative       uint64 (float64 where a column has negative ones too)
    JSON lines: a repeated key crashes                     the last one counts
    folders are listed in the order of the disk            sorted: depth first, names by their bytes
    two- and four-digit years in one date column: either   each value is read by the format that fits it
    reading, by chance
    a partition format is a regular expression by          literal text stands for itself, `+` and parentheses included
    accident
    Parquet: dictionary, fixed-size binary, map,           read
    duration, float16 columns and LZ4 are refused
    delta tables: partition columns are missing,           delivered; an error
    a second folder is ignored
    columns that first appear in a later partition are     columns are those of the sample (all headers and footers included); later
    added to it                                            values are left out with a counted warning, `columns:` declares them
    a table too large for the sample: no row left gives    the columns of the table; the dtype of its kind
    no column; a column of nulls alone is object
    =====================================================  =====================================================================
    """
    opened = open_mltable(resolve(str(path), Path.cwd(), datastores or {}), datastores)
    if isinstance(opened, FileList):
        return _of_files(opened)
    pieces = opened.cut(partition_bytes) if partition_bytes else _partitions(opened)
    sample = opened.sample
    assert sample is not None
    if opened.whole and not sample.num_rows:
        return _of_frame(pd.DataFrame({}))
    meta = to_frame(sample, sample.num_rows, partition=not opened.whole).iloc[:0]
    nulls = tuple(name for name in sample.column_names if opened.whole and sample.column(name).null_count == sample.num_rows)
    meta = meta.astype(dict.fromkeys(nulls, object))
    reading = _Reading(uuid.uuid4().hex, len(pieces), nulls)
    places = enumerate(pieces.tolist())
    parts = [_Partition(opened.only(file), start, stop, reading, number) for number, (file, start, stop) in places]
    return _from_map(parts or [_Empty(meta)], meta)


def _partitions(table: Table) -> np.ndarray:
    """Pieces of the default size; Parquet by row groups, so that none is decoded twice."""
    return table.cut(GROUP_BYTES, whole_groups=True) if table.by_rows else table.cut(table.partition_size)


def read_files(path: str | Path) -> dask.bag.Bag:
    """The files at a location (a folder: all below it, sorted, hidden ones included) as a lazy Dask bag of their paths."""
    found = list_files(resolve(str(path), Path.cwd(), {}))
    bag: dask.bag.Bag = dask.bag.from_sequence(list(found.paths), partition_size=FILES_IN_PARTITION)
    return bag


_running: dict[tuple[str, tuple[str, ...]], RunningLosses] = {}
"""What this process lost on the way, for each reading of a table under way and the columns that it asks for."""


@dataclass(frozen=True)
class _Reading:
    """One call of `read_mltable`, as all its partitions know it."""

    token: str
    """Differs from call to call: files may have changed by the next one."""
    partitions: int
    nulls: tuple[str, ...]
    """Columns without any value."""

    def tell(self, origin: str, columns: tuple[str, ...], partition: int, losses: Losses) -> None:
        """Warn of what a partition lost, where that is news."""
        running = _running.setdefault((self.token, columns), RunningLosses(self.partitions))
        for text in running.news(partition, losses):
            # with a registry of its own, Python shows a warning each time: also when the table is computed again
            warnings.warn_explicit(f"{origin}: {text}", UserWarning, __file__, 1, registry={})
        if running.complete:
            _running.pop((self.token, columns), None)


@dataclass(frozen=True)
class _Partition:
    """One piece of a table, ready to be read anywhere."""

    table: Table
    start: int
    stop: int
    reading: _Reading
    number: int

    def __dask_tokenize__(self) -> tuple[str, int]:
        return self.reading.token, self.number

    def load(self, columns: Sequence[str]) -> pd.DataFrame:
        table = self.table if list(columns) == self.table.schema.names else self.table.select(columns)
        reader = TableReader(table, np.array([(0, self.start, self.stop)], PIECE))
        frame = reader.frame(0)
        reader.close()
        self.reading.tell(table.origin, tuple(columns), self.number, reader.losses)
        for name in self.reading.nulls:
            if name in frame.columns:
                frame[name] = pd.Series([None] * len(frame), index=frame.index, dtype=object)
        return frame


@dataclass(frozen=True)
class _Empty:
    """A partition without rows."""

    frame: pd.DataFrame

    def load(self, columns: Sequence[str]) -> pd.DataFrame:
        return self.frame[list(columns)]


def _load(part: _Partition | _Empty, columns: Sequence[str]) -> pd.DataFrame:
    """What Dask calls; it asks for no more columns than are used later."""
    return part.load(columns)


def _from_map(parts: list[Any], meta: pd.DataFrame) -> dask.dataframe.DataFrame:
    with dask.config.set({"dataframe.convert-string": False}):  # values of any kind must stay what they are
        made: dask.dataframe.DataFrame = dask.dataframe.from_map(_load, parts, meta=meta, label="read-mltable")
    return made


def _of_frame(frame: pd.DataFrame) -> dask.dataframe.DataFrame:
    return _from_map([_Empty(frame)], frame.iloc[:0])


def _of_files(files: FileList) -> dask.dataframe.DataFrame:
    if not len(files):
        return _of_frame(pd.DataFrame({}))
    columns: dict[str, Any] = {"Path": pd.Series([StreamInfo(path) for path in files.paths], dtype=object)} if files.has_path else {}
    if files.columns is not None:
        own = to_frame(files.columns, files.columns.num_rows, partition=False)
        columns |= {name: own[name] for name in own.columns}
    return _of_frame(pd.DataFrame(columns))
