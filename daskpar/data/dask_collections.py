"""MLTables and file lists as lazy Dask collections.

The only module of daskpar.data that imports Dask.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import dask
import dask.bag
import dask.dataframe
import numpy as np
import pandas as pd
import pyarrow as pa
from dask.base import compute
from dask.dataframe.dask_expr._expr import ArrowStringConversion
from dask.delayed import delayed

from daskpar.data.arrow_memory import prefer_system_pool
from daskpar.data.columns.row_keys import check_keys, group_rows
from daskpar.data.columns.special_types import StreamInfo
from daskpar.data.files import FileList, list_files
from daskpar.data.mltable.open import open_mltable
from daskpar.data.tables.cutting import cut_into_pieces
from daskpar.data.tables.frame_slices import to_frame
from daskpar.data.tables.partitions import (
    JoinedPartition,
    KnownPartition,
    Partition,
    PiecePartition,
    TableRead,
    places_of_groups,
    show_warning,
)
from daskpar.data.tables.table import Table
from daskpar.datastores import Written, known_options, options_for, own_options
from daskpar.errors import InputError, UsageError
from daskpar.jobspec import scalars
from daskpar.jobspec.model import BySize
from daskpar.locations import resolve
from daskpar.named_places import all_datastores
from daskpar.sizes import parse_size

FILES_IN_PARTITION = 1000
GROUP_BYTES = 4 * 1024 * 1024
"""Row groups of Parquet smaller than this share a partition."""


def read_mltable(
    path: str | Path,
    *,
    mini_batch_size: int | str | None = None,
    partition_keys: Sequence[str] | None = None,
    partition_bytes: int | None = None,
    datastores: Mapping[str, Written] | None = None,
) -> dask.dataframe.DataFrame:
    """The table of an MLTable folder as a lazy Dask dataframe, as Microsoft's `mltable` reads it.

    Columns, dtypes, values and nulls are the same as there. `path` is the folder (or the MLTable file) on any
    filesystem that fsspec knows. Only metadata and the inference sample are read now: mistakes in the
    MLTable, missing files and unreadable samples raise InputError with the MLTable's line. `partition_bytes`
    cuts partitions of that size (default: the MLTable's `partition_size`, 20 MiB; Parquet: row groups); the
    rows are the same whatever it is. Each partition counts its index from 0. `datastores`: name in
    `azureml://datastores/NAME/paths/…` -> folder, URL or `{"url": ..., "storage_options": {...}}`, on top of
    those in Dask's configuration; partitions are read with these options, wherever that is.

    `mini_batch_size` and `partition_keys` give one partition for each mini-batch that a job with these
    settings has, with the same rows in the same order. A plain number counts files: for a table it raises
    InputError. Keys that do not all come from the paths are read now, so that their groups can be counted;
    when the frame is computed, each piece is read once and its rows wait in memory (a distributed scheduler
    may spill them) until their groups are complete. A job has no such bounds: prefer it for very many groups,
    and for tables larger than memory.

    Arrow allocates from the system's memory from then on, in this process and in workers, unless
    ARROW_DEFAULT_MEMORY_POOL is set.

    Values that don't convert become null, as there; a warning names column, count and an example.

    Deliberate differences from Microsoft's reader, each where that one crashes, depends on chance or loses
    values silently (there → here):

        JSON lines, mixed kinds in a column: values of other kinds than the first one's become null
            → int and float give float64, other mixtures keep each value (object)
        JSON lines, integers from 2**63 on: turn negative
            → uint64 (float64 where a column has negative ones too)
        JSON lines, a repeated key: crashes
            → the last one counts
        folders: listed in the order of the disk
            → sorted: depth first, names by their bytes
        two- and four-digit years in one date column: either reading, by chance
            → each value is read by the format that fits it
        a partition format: a regular expression by accident
            → literal text stands for itself, `+` and parentheses included
        Parquet with dictionary, fixed-size binary, map, duration, float16 columns or LZ4: refused
            → read
        delta tables: partition columns are missing, a second folder is ignored
            → delivered; an error
        columns that first appear in a later partition: added to it
            → columns are those of the sample (all headers and footers included); later values are left out
              with a counted warning, `columns:` declares them
        a table too large for the sample: no row left gives no column, a column of nulls alone is object
            → the columns of the table; the dtype of its kind
    """
    size = None if mini_batch_size is None else _size(mini_batch_size)
    if sum(given is not None for given in (size, partition_keys, partition_bytes)) > 1:
        raise UsageError(
            "mini_batch_size, partition_keys and partition_bytes each say how to cut the table: "
            "give one of them"
        )
    if isinstance(partition_keys, str):
        raise UsageError(f"partition_keys is a list of names of columns: write [{partition_keys!r}]")
    prefer_system_pool()
    with own_options(known_options()):
        places = all_datastores(datastores or {})
        opened = open_mltable(resolve(str(path), Path.cwd(), places), places)
        return _collection(opened, size, partition_keys, partition_bytes)


def _collection(
    opened: Table | FileList,
    size: BySize | None,
    partition_keys: Sequence[str] | None,
    partition_bytes: int | None,
) -> dask.dataframe.DataFrame:
    """What was opened, lazily, cut as was asked for."""
    if isinstance(opened, FileList):
        return _of_files(opened, size, partition_keys)
    if partition_keys is not None:
        check_keys(partition_keys, opened.schema.names, opened.origin)
    if size is not None and size.number and size.unit == 1:
        what = f"mini_batch_size {size.written} is a number of files, but {opened.origin} is read as a table"
        raise InputError(
            f'{what}: write a size with a unit, like "1mb" (partition_bytes={size.number} if you mean bytes)'
        )
    for text in opened.planning_warnings:
        show_warning(text)
    sample = opened.sample
    assert sample is not None
    if opened.whole and not sample.num_rows:
        return _of_frame(pd.DataFrame({}))
    meta = to_frame(sample, sample.num_rows, partition=not opened.whole).iloc[:0]
    nulls = tuple(
        name
        for name in sample.column_names
        if opened.whole and sample.column(name).null_count == sample.num_rows
    )
    meta = meta.astype(dict.fromkeys(nulls, object))
    if partition_keys:
        return _by_keys(opened, partition_keys, meta, nulls)
    bytes_ = size.size_bytes if size else partition_bytes
    return _from_map(
        _parts(opened, cut_into_pieces(opened, bytes_) if bytes_ else _partitions(opened), nulls), meta
    )


def _size(written: int | str) -> BySize:
    try:
        number, unit = parse_size(written)
    except ValueError as error:
        raise UsageError(
            f"read_mltable: mini_batch_size: {scalars.quoted(written)} is no mini-batch size. {error}"
        ) from None
    return BySize(number=number, unit=unit)


def _parts(table: Table, pieces: np.ndarray, nulls: tuple[str, ...]) -> list[PiecePartition]:
    table_read = TableRead(uuid.uuid4().hex, len(pieces), nulls, options_for(table.files))
    of_file = {file: table.only(file) for file in np.unique(pieces["file"]).tolist()}
    return [
        PiecePartition(of_file[file], start, stop, table_read, number)
        for number, (file, start, stop) in enumerate(pieces.tolist())
    ]


def _by_keys(
    table: Table, keys: Sequence[str], meta: pd.DataFrame, nulls: tuple[str, ...]
) -> dask.dataframe.DataFrame:
    """One partition for each distinct tuple of keys, in order of first appearance, rows in table order."""
    known = table.path_keys(keys)
    if known is not None:
        pieces = table.files_pieces()
        parts = _parts(table, pieces, nulls)
        grouped = group_rows(known.take(pa.array(pieces["file"])), keys)
        return _from_map(
            [
                JoinedPartition(tuple(parts[k] for k in grouped.order[start:stop]))
                for start, stop in pairwise(grouped.starts)
            ],
            meta,
        )
    parts = _parts(table, _partitions(table), nulls)
    found = compute(*[delayed(_group_keys)(part, keys) for part in parts])
    groups = places_of_groups(found, keys)
    rows_by_group = [delayed(_split_by_group)(part, keys) for part in parts]
    joined = [
        delayed(_join)([rows_by_group[piece][own] for piece, own in places], parts[0].table_read)
        for places in groups
    ]
    if not joined:
        return _from_map([], meta)
    return _as_they_are(
        dask.dataframe.from_delayed(joined, meta=meta, verify_meta=False, prefix="mltable-group")
    )


def _group_keys(part: PiecePartition, keys: Sequence[str]) -> pa.Table:
    return part.group_keys(keys)


def _split_by_group(part: PiecePartition, keys: Sequence[str]) -> list[pa.Table]:
    return part.rows_by_group(keys)


def _join(tables: Sequence[pa.Table], table_read: TableRead) -> pd.DataFrame:
    return table_read.frame(pa.concat_tables(tables))


def _partitions(table: Table) -> np.ndarray:
    """Pieces of the default size; Parquet by row groups, so that none is decoded twice."""
    return (
        cut_into_pieces(table, GROUP_BYTES, whole_groups=True)
        if table.by_rows
        else cut_into_pieces(table, table.partition_size)
    )


def read_files(path: str | Path, *, datastores: Mapping[str, Written] | None = None) -> dask.bag.Bag:
    """The files at a location as a lazy Dask bag of their paths.

    All files below a folder, sorted, hidden ones included. `datastores`: as for `read_mltable`.
    """
    with own_options(known_options()):
        found = list_files(resolve(str(path), Path.cwd(), all_datastores(datastores or {})))
    bag: dask.bag.Bag = dask.bag.from_sequence(list(found.paths), partition_size=FILES_IN_PARTITION)
    return bag


def _load(part: Partition, columns: Sequence[str]) -> pd.DataFrame:
    """What Dask calls; it asks for no more columns than are used later."""
    prefer_system_pool()
    return part.load(columns)


def _from_map(parts: Sequence[Partition], meta: pd.DataFrame) -> dask.dataframe.DataFrame:
    return _as_they_are(
        dask.dataframe.from_map(_load, list(parts) or [KnownPartition(meta)], meta=meta, label="read-mltable")
    )


def _as_they_are(made: dask.dataframe.DataFrame) -> dask.dataframe.DataFrame:
    """The frame without the step that Dask adds, which makes text of values of any kind.

    It is left out by `dataframe.convert-string` too, but Dask's settings are those of all threads: frames of
    others that are made meanwhile would be without it, and it would come and go in the midst of ours.
    """
    while isinstance(made.expr, ArrowStringConversion):
        made = type(made)(made.expr.frame)
    return made


def _of_frame(frame: pd.DataFrame, rows: Sequence[np.ndarray] = ()) -> dask.dataframe.DataFrame:
    """A frame whose partitions hold these rows, or all of them."""
    parts = [KnownPartition(frame.iloc[part].reset_index(drop=True)) for part in rows] or [
        KnownPartition(frame)
    ]
    return _from_map(parts, frame.iloc[:0])


def _of_files(files: FileList, size: BySize | None, keys: Sequence[str] | None) -> dask.dataframe.DataFrame:
    known = [] if files.columns is None else files.columns.column_names
    if size is not None and size.unit != 1:
        raise InputError(
            f"mini_batch_size is a number of bytes, but {files.origin} is a list of files: "
            "give a number of files"
        )
    if keys is not None:
        check_keys(keys, known, f"the file list {files.origin}")
    if not len(files):
        return _of_frame(pd.DataFrame({}))
    columns: dict[str, Any] = (
        {"Path": pd.Series([StreamInfo(path) for path in files.paths], dtype=object)}
        if files.has_path
        else {}
    )
    if files.columns is not None:
        own = to_frame(files.columns, files.columns.num_rows, partition=False)
        columns |= {name: own[name] for name in own.columns}
    rows: list[np.ndarray] = []
    if size is not None:
        rows = np.split(np.arange(len(files)), np.arange(size.number or 1, len(files), size.number or 1))
    elif keys and files.columns is not None:
        grouped = group_rows(files.columns, keys)
        rows = np.split(grouped.order, grouped.starts[1:-1])
    return _of_frame(pd.DataFrame(columns), rows)
