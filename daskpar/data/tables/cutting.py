"""Cuts a table into pieces of about a size, from file sizes and row groups alone where that is possible."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from daskpar.data.formats.byte_source import ByteSource
from daskpar.data.formats.delimited import read_head
from daskpar.data.formats.record_bounds import find_starts
from daskpar.data.tables.piece import PIECE
from daskpar.data.tables.table import Table

READ_BYTES = 8 * 1024 * 1024
"""Bytes read at a time in the pass over a file whose records span lines."""


def cut_into_pieces(table: Table, size_bytes: int, whole_groups: bool = False) -> np.ndarray:
    """The table as pieces (an array of PIECE) of about `size_bytes`, in table order.

    Made from metadata alone, except that records that span lines (`support_multi_line`) need a pass over the
    bytes. A piece never crosses a file, and may turn out to hold no row. With `whole_groups` no row group of
    Parquet is cut, however large it is.
    """
    known: dict[int, np.ndarray] = {}
    pieces: list[np.ndarray] = []
    uncut: list[tuple[int, int, int]] = []  # together: of small files there may be many
    for number, start, stop in table.spans():
        if stop <= start:
            continue
        if number not in known:  # `take` and `skip` may leave several spans of one file
            known[number] = cuts_of_file(table, number, size_bytes, whole_groups)
        cuts = known[number]
        if not len(cuts):
            uncut.append((number, start, stop))
            continue
        inner = cuts[(cuts > start) & (cuts < stop)]
        edges = np.concatenate([[start], inner, [stop]])
        part = np.zeros(len(edges) - 1, PIECE)
        part["file"], part["start"], part["stop"] = number, edges[:-1], edges[1:]
        pieces += [np.array(uncut, PIECE), part]
        uncut.clear()
    return np.concatenate([*pieces, np.array(uncut, PIECE)])


def cuts_of_file(table: Table, number: int, size_bytes: int, whole_groups: bool = False) -> np.ndarray:
    """The inner cuts of file `number`, sorted, in rows or bytes.

    They depend on the file alone, never on what of it is wanted: a `take` leaves the other pieces as they
    are.
    """
    size_bytes = max(size_bytes, 1)
    if table.by_rows:
        return _cuts_of_row_groups(table.groups[number], size_bytes, whole_groups)
    # as Microsoft's reader: a record that starts exactly on a boundary belongs to the piece before it
    nominal = np.arange(size_bytes + 1, table.sizes[number], size_bytes, dtype=np.int64)
    assert table.dialect is not None
    if not table.dialect.support_multi_line or not len(nominal):
        return nominal  # reading moves on to the next line break by itself
    with ByteSource(table.files[number]) as source:
        head = read_head(
            source.read, table.sizes[number], table.dialect, table.has_header(number), table.files[number]
        )
        starts = find_starts(
            _chunks(source, head.body, table.sizes[number]), nominal, table.dialect, head.body
        )
    return np.asarray(starts, np.int64)


def _chunks(source: ByteSource, start: int, stop: int) -> Iterator[bytes]:
    while start < stop:
        data = source.read(start, min(READ_BYTES, stop - start))
        if not data:  # the file became shorter since it was listed
            return
        yield data
        start += len(data)


def _cuts_of_row_groups(
    groups: tuple[tuple[int, int], ...], size_bytes: int, whole_groups: bool
) -> np.ndarray:
    """Row groups joined up to the size; a larger one is cut into even runs of rows, or stays whole."""
    cuts: list[int] = []
    at = filled = 0
    for rows, size in groups:
        if filled and filled + size > size_bytes:
            cuts.append(at)
            filled = 0
        if size > size_bytes and rows and not whole_groups:
            step = max(1, int(rows * size_bytes / size))
            cuts += range(at + step, at + rows, step)
            cuts.append(at + rows)
        else:
            filled += size
        at += rows
    return np.unique(np.array([cut for cut in cuts if 0 < cut < at], np.int64))
