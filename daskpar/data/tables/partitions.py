"""The partitions of a Dask collection as plain values that load themselves anywhere.

A partition is a piece of a table, several pieces, or rows that are known already.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from dataclasses import field
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa

from daskpar.data.columns.row_keys import group_rows
from daskpar.data.notices import LossCounter
from daskpar.data.tables.frame_slices import to_frame
from daskpar.data.tables.lost_values import LossReporter
from daskpar.data.tables.piece import PIECE
from daskpar.data.tables.table import Table
from daskpar.data.tables.table_reader import TableReader
from daskpar.datastores import StorageOptions, own_options
from daskpar.value_classes import frozen

READS_REMEMBERED = 32
"""Reads of tables that a process remembers. One of which it reads a part only never ends: `head()`, for
example, or a worker of a cluster.
"""

reporters: dict[tuple[str, tuple[str, ...]], LossReporter] = {}
"""What this process lost, by read of a table and the columns that it asks for; the latest is the last."""
_reporters_lock = threading.Lock()


def show_warning(text: str) -> None:
    """Warn of what reading a table has shown."""
    # with a registry of its own, Python shows a warning each time: also when the table is computed again
    warnings.warn_explicit(text, UserWarning, "daskpar.read_mltable", 0, registry={})


@frozen
class TableRead:
    """One call of `read_mltable`, as all its partitions know it."""

    token: str
    """Differs from call to call: files may have changed by the next one."""
    pieces: int
    nulls: tuple[str, ...]
    """Columns without any value."""
    storage: StorageOptions = field(default_factory=StorageOptions)
    """How its files are opened, wherever the partitions are read."""

    def warn(self, origin: str, columns: Sequence[str], piece: int, losses: LossCounter) -> None:
        """Warn of what a piece lost, where the message is new."""
        key = self.token, tuple(columns)
        with _reporters_lock:
            reporter = reporters.pop(key, None) or LossReporter(self.pieces)
            reporters[key] = reporter
            if len(reporters) > READS_REMEMBERED:
                del reporters[next(iter(reporters))]
        for text in reporter.add(piece, losses):
            show_warning(f"{origin}: {text}")
        if reporter.complete:
            with _reporters_lock:
                reporters.pop(key, None)

    def frame(self, table: pa.Table) -> pd.DataFrame:
        """Rows as the data frame of a partition."""
        return self.finished(to_frame(table, table.num_rows))

    def finished(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame with the dtype that columns without any value have in the whole table."""
        for name in self.nulls:
            if name in frame.columns:
                frame[name] = pd.Series([None] * len(frame), index=frame.index, dtype=object)
        return frame


@frozen
class PiecePartition:
    """One piece of a table of one file."""

    table: Table
    start: int
    stop: int
    table_read: TableRead
    number: int
    """Which of the pieces it is."""

    def __dask_tokenize__(self) -> tuple[str, int]:
        return self.table_read.token, self.number

    def load(self, columns: Sequence[str]) -> pd.DataFrame:
        """The rows; no more columns are read than these need."""
        with own_options(self.table_read.storage):
            reader = self._reader(columns)
            frame = reader.frame(0)
            reader.losses = LossCounter()
            reader.losses.add_notices(reader.take_notices())  # with what the frame itself has changed
            self._close_and_warn(reader, columns)
        return self.table_read.finished(frame)

    def rows(self, columns: Sequence[str], warn: bool = True) -> pa.Table:
        """The rows as they are before they become a data frame; at least one column."""
        with own_options(self.table_read.storage):
            reader = self._reader(columns)
            rows = reader.arrow(0)
            self._close_and_warn(reader, columns, warn)
        return rows

    def group_keys(self, keys: Sequence[str]) -> pa.Table:
        """The keys of the groups that the piece has rows of, in order of first appearance."""
        rows = self.rows(keys, warn=False)
        return rows.take(pa.array(group_rows(rows, keys).first))

    def rows_by_group(self, keys: Sequence[str]) -> list[pa.Table]:
        """The rows of each group, in the order of `group_keys`."""
        rows = self.rows(self.table.schema.names)
        grouped = group_rows(rows, keys)
        return [rows.take(pa.array(grouped.order[start:stop])) for start, stop in pairwise(grouped.starts)]

    def _reader(self, columns: Sequence[str]) -> TableReader:
        table = self.table if list(columns) == self.table.schema.names else self.table.select(columns)
        return TableReader(table, np.array([(0, self.start, self.stop)], PIECE))

    def _close_and_warn(self, reader: TableReader, columns: Sequence[str], warn: bool = True) -> None:
        reader.close()
        if warn:
            self.table_read.warn(self.table.origin, columns, self.number, reader.losses)


@frozen
class JoinedPartition:
    """Several pieces, one after the other."""

    parts: tuple[PiecePartition, ...]

    def __dask_tokenize__(self) -> list[tuple[str, int]]:
        return [part.__dask_tokenize__() for part in self.parts]

    def load(self, columns: Sequence[str]) -> pd.DataFrame:
        """The rows of all pieces."""
        if not columns:
            return pd.DataFrame(index=pd.RangeIndex(sum(len(part.load(columns)) for part in self.parts)))
        return self.parts[0].table_read.frame(pa.concat_tables([part.rows(columns) for part in self.parts]))


@frozen
class KnownPartition:
    """Rows that are there already."""

    frame: pd.DataFrame

    def load(self, columns: Sequence[str]) -> pd.DataFrame:
        """The rows."""
        return self.frame[list(columns)]


Partition = PiecePartition | JoinedPartition | KnownPartition


def places_of_groups(found: Sequence[pa.Table], keys: Sequence[str]) -> list[list[tuple[int, int]]]:
    """For each group of a table the pieces that hold rows of it, and which of their groups it is.

    Groups come in order of first appearance; `found` holds what `group_keys` says of each piece.
    """
    piece = np.repeat(np.arange(len(found)), [len(table) for table in found])
    own = np.concatenate([np.arange(len(table)) for table in found]) if found else piece
    if not len(piece):
        return []
    grouped = group_rows(pa.concat_tables(found), keys)
    places = list(zip(piece[grouped.order].tolist(), own[grouped.order].tolist(), strict=True))
    return [places[start:stop] for start, stop in pairwise(grouped.starts.tolist())]
