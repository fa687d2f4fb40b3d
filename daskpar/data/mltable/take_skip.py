"""Resolves `take`, `skip` and `select_partitions` of rows when a table is planned.

Each leaves a table made of fewer, or narrower, spans. A take or skip of rows that filters let through ends at
a record, so it is a cut of the table like any other; only as much is read as is needed to find that record.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np

from daskpar.data.tables.cutting import cut_into_pieces, cuts_of_file
from daskpar.data.tables.table import Table
from daskpar.data.tables.table_reader import TableReader
from daskpar.data.tables.table_steps import drops_rows, needed_columns
from daskpar.errors import InputError

SPAN_BYTES = 4 * 1024 * 1024
"""Bytes of the table that are read at a time while rows are counted."""
FIRST_BYTES = 64 * 1024
"""Bytes of the first such part."""


def take(table: Table, count: int) -> Table:
    """The first `count` rows of a table."""
    kept: list[tuple[int, int, int]] = []
    scan = _Scan(table)
    for i, (number, start, stop) in enumerate(scan.spans if count else []):
        positions = scan.positions(i)
        if len(positions) >= count:
            kept.append((number, start, scan.behind(i, int(positions[count - 1]))))
            break
        count -= len(positions)
        kept.append((number, start, stop))
    return replace(table, extents=_joined(kept))


def skip(table: Table, count: int) -> Table:
    """A table without its first `count` rows."""
    if not count:
        return table
    scan = _Scan(table)
    for i, (number, _, stop) in enumerate(scan.spans):
        positions = scan.positions(i)
        if len(positions) > count:
            return replace(
                table, extents=_joined([(number, int(positions[count]), stop), *scan.spans[i + 1 :]])
            )
        count -= len(positions)
    return replace(table, extents=())


def select_partitions(table: Table, numbers: list[int]) -> Table:
    """The rows of the given partitions, out of those that an earlier choice has left."""
    parts = _partitions(table) if table.partitions is None else table.partitions
    if numbers and numbers[-1] >= len(parts):
        raise InputError(f"there is no partition {numbers[-1]}: the table has {len(parts)} (numbered from 0)")
    chosen = [parts[number] for number in numbers]
    of_file: dict[int, list[tuple[int, int]]] = {}
    for number, low, high in chosen:
        of_file.setdefault(number, []).append((low, high))
    kept = []
    for number, start, stop in table.spans():
        kept += [
            (number, max(start, low), min(stop, high))
            for low, high in of_file.get(number, ())
            if max(start, low) < min(stop, high)
        ]
    return replace(table, extents=_joined(kept), partitions=tuple(chosen))


def _partitions(table: Table) -> list[tuple[int, int, int]]:
    """All partitions as in Microsoft's reader: text is cut by `partition_size`, Parquet by row groups."""
    parts: list[tuple[int, int, int]] = []
    for number in range(len(table.files)):
        end = table.end_of(number)
        if table.by_rows:
            inner = np.cumsum([rows for rows, _ in table.groups[number]])[:-1]
        elif table.dialect is not None and table.dialect.support_multi_line:
            inner = np.zeros(0, np.int64)
        else:
            inner = cuts_of_file(table, number, table.partition_size)
        edges = [0, *inner.tolist(), end]
        parts += [(number, start, stop) for start, stop in itertools.pairwise(edges)]
    return parts


def _joined(spans: list[tuple[int, int, int]]) -> tuple[tuple[int, int, int], ...]:
    """Neighbouring spans as one."""
    out: list[tuple[int, int, int]] = []
    for number, start, stop in spans:
        if out and out[-1][0] == number and out[-1][2] == start:
            out[-1] = (number, out[-1][1], stop)
        elif stop > start:
            out.append((number, start, stop))
    return tuple(out)


class _Scan:
    """A table in small spans, and for each the positions of the rows that the steps so far let through."""

    def __init__(self, table: Table) -> None:
        self._by_count = table.by_rows and not drops_rows(table.steps)
        self._multi_line = table.dialect is not None and table.dialect.support_multi_line
        if self._by_count:
            self.spans = list(table.spans())
            return
        pieces = cut_into_pieces(table, SPAN_BYTES)
        # the first rows usually do: the first span is a small one
        if (
            len(pieces)
            and not table.by_rows
            and not self._multi_line
            and pieces[0]["stop"] - pieces[0]["start"] > FIRST_BYTES
        ):
            pieces = np.concatenate([pieces[:1], pieces])
            pieces["stop"][0] = pieces["start"][1] = pieces["start"][0] + FIRST_BYTES
        self.spans = [(int(number), int(start), int(stop)) for number, start, stop in pieces.tolist()]
        needed = needed_columns(table.steps, table.base.names, ())
        narrow = replace(table, needed=frozenset(needed or table.base.names[:1]))
        self._reader = TableReader(narrow, pieces, positions=True)
        self._records = TableReader(replace(narrow, steps=()), pieces, positions=True)

    def positions(self, i: int) -> np.ndarray:
        """Positions of the rows of span `i`."""
        if self._by_count:
            _, start, stop = self.spans[i]
            return np.arange(start, stop)
        self._reader.expect(i, i + 1)
        return self._reader.chunk(i).positions

    def behind(self, i: int, position: int) -> int:
        """Where span `i` ends when its last record is the one at `position`."""
        if not self._multi_line:
            return position + 1
        records = self._records.chunk(i).positions
        later = records[records > position]
        return int(later[0]) if len(later) else self.spans[i][2]
