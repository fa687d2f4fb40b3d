"""Where a file may be cut into pieces of about a size: from its size or its row groups alone, wherever that
is possible.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from daskpar.data.formats.byte_source import Source
from daskpar.data.formats.delimited import read_head
from daskpar.data.formats.record_bounds import find_starts

if TYPE_CHECKING:
    from daskpar.data.tables.table import Table

_CHUNK = 8 * 1024 * 1024


def boundaries(table: Table, number: int, size_bytes: int, whole_groups: bool = False) -> np.ndarray:
    """The inner cuts of file `number`: sorted, in rows or bytes; they depend on the file alone, never on what
    of it is wanted.
    """
    size_bytes = max(size_bytes, 1)
    if table.by_rows:
        return _of_rows(table.groups[number], size_bytes, whole_groups)
    # a record that starts exactly on a boundary belongs to the piece before it
    nominal = np.arange(size_bytes + 1, table.sizes[number], size_bytes, dtype=np.int64)
    assert table.dialect is not None
    if not table.dialect.support_multi_line or not len(nominal):
        return nominal
    with Source(table.files[number]) as source:
        head = read_head(
            source.read, table.sizes[number], table.dialect, table.has_header(number), table.files[number]
        )
        starts = find_starts(
            _chunks(source, head.body, table.sizes[number]), nominal, table.dialect, head.body
        )
    return np.asarray(starts, np.int64)


def _chunks(source: Source, start: int, stop: int) -> Iterator[bytes]:
    while start < stop:
        data = source.read(start, min(_CHUNK, stop - start))
        if not data:
            return
        yield data
        start += len(data)


def _of_rows(groups: tuple[tuple[int, int], ...], size_bytes: int, whole_groups: bool) -> np.ndarray:
    """Row groups joined up to the size; one that is larger is cut into even runs of rows, unless groups stay
    whole.
    """
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
