"""The paths, pieces and groups of a plan, each with what writes it and what reads it.

Pieces and groups are Arrow files. Paths are two arrays one after the other: a small job writes and reads them
without pyarrow, whose import takes longer than the rest of its planning.

They are read by memory map, and a bounded part at a time: a plan may have more mini-batches than fit in
memory.
"""

from __future__ import annotations

import bisect
import itertools
import mmap
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daskpar import atomic
from daskpar.batches.plan_files import write_arrow
from daskpar.data.path_column import PathColumn

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

PATHS = "paths"
"""The file of the paths."""
PATHS_AT_ONCE = 4096
"""Paths decoded in one go."""
SPREAD = 64
"""Paths that are picked out are read with all between them, unless that is so many times as much."""
NEAR = 4096
"""Else each is read with the one before it, where no more bytes lie between them."""
GROUPS_AT_ONCE = 1 << 16
"""Groups in one record batch, which is mapped as a whole."""
KEYS_AT_ONCE = 256
"""Groups whose keys become Python objects in one go."""


def write_paths(path: Path, paths: Sequence[str] | pa.Array) -> dict[str, Any]:
    """Write the paths of a file list: where each ends, 64-bit integers from 0 on, then all one after the
    other. Where both lie in the file, for `StoredPaths`.

    Paths of one folder are stored as they are below it, and the folder (`prefix`) beside them.
    """
    column = paths if isinstance(paths, PathColumn) else _column_of(paths)
    with atomic.writing(path) as fd:
        for part in (column.ends, column.data):
            atomic.write_all(fd, memoryview(part).cast("B"))
    prefix = os.fsdecode(column.prefix)
    layout = {"count": len(column), "file": path.name, "offsets": 0, "data": 8 * len(column.ends)}
    return {**layout, "prefix": prefix} if prefix else layout


def _column_of(paths: Sequence[str] | pa.Array) -> PathColumn:
    if isinstance(paths, list | tuple):
        return PathColumn.of(paths)
    import numpy as np

    array = path_array(paths)
    _, offsets, data = array.buffers()
    if not len(array):
        return PathColumn.of([])
    ends = np.frombuffer(offsets, np.int64, len(array) + 1, 8 * array.offset)
    whole = memoryview(data if data is not None else b"")
    return PathColumn(b"", whole[ends[0] : ends[-1]], ends - ends[0])


def path_array(paths: Sequence[str] | pa.Array) -> pa.Array:
    """Paths as one Arrow array of bytes, those of a `PathColumn` without their prefix; names that are no
    UTF-8 keep their bytes.
    """
    import pyarrow as pa

    from daskpar.data.columns.buffers import byte_strings

    if isinstance(paths, PathColumn):
        buffers = [None, pa.py_buffer(paths.ends), pa.py_buffer(paths.data)]
        return pa.Array.from_buffers(pa.large_binary(), len(paths), buffers)
    if isinstance(paths, pa.ChunkedArray):
        paths = paths.combine_chunks()
    if isinstance(paths, pa.Array):
        return pa.concat_arrays([paths]).cast(pa.large_binary())
    return byte_strings(path.encode("utf-8", "surrogateescape") for path in paths)


class StoredPaths:
    """The paths of a plan, decoded in chunks from the mapped arrays.

    A plan of an earlier version has them in an Arrow file, and says where there.

    Read without pyarrow: a processor of images starts faster by what importing it takes.
    """

    def __init__(self, folder: Path, layout: Mapping[str, Any]) -> None:
        self.count: int = layout["count"]
        self._prefix: str = layout.get("prefix", "")
        self._start = self._stop = 0
        self._chunk: list[str] = []
        if not self.count:
            return
        with open(folder / layout.get("file", "plan.arrow"), "rb") as file:
            self._map = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        self._offsets = self._map[layout["offsets"] : layout["offsets"] + 8 * (self.count + 1)].cast("q")
        self._data = layout["data"]

    def column(self) -> PathColumn:
        """All of them, by the mapped buffers."""
        if not self.count:
            return PathColumn.of([])
        ends = self._offsets
        data = self._map[self._data : self._data + ends[self.count]]
        return PathColumn(os.fsencode(self._prefix), data, ends)

    def slice(self, start: int, stop: int) -> list[str]:
        """The paths [start, stop)."""
        if start < self._start or stop > self._stop:
            self._start, self._stop = start, min(self.count, max(stop, start + PATHS_AT_ONCE))
            self._chunk = self._decode(self._start, self._stop)
        return self._chunk[start - self._start : stop - self._start]

    def some(self, chosen: np.ndarray, skip: int = 0) -> list[str]:
        """The paths with these numbers, many at once, each without its first `skip` bytes; fastest where they
        ascend.
        """
        import numpy as np

        if not len(chosen):
            return []
        offsets = np.frombuffer(self._offsets, np.int64)
        before = os.fsencode(self._prefix)
        prefix = os.fsdecode(before[skip:])
        starts, stops = offsets[chosen] + max(0, skip - len(before)), offsets[chosen + 1]
        low, high = int(starts.min()), int(stops.max())
        if high - low <= SPREAD * int((stops - starts).sum()):
            return self._between(low, high, starts, stops, prefix)
        between = starts[1:] - stops[:-1]
        breaks = (np.flatnonzero((between < 0) | (between > NEAR)) + 1).tolist()
        found: list[str] = []
        for first, end in itertools.pairwise([0, *breaks, len(chosen)]):
            low, high = int(starts[first]), int(stops[end - 1])
            found += self._between(low, high, starts[first:end], stops[first:end], prefix)
        return found

    def _between(self, low: int, high: int, starts: np.ndarray, stops: np.ndarray, prefix: str) -> list[str]:
        """The texts at [start, stop), which lie in the bytes [low, high) of the paths, behind `prefix`."""
        data = bytes(self._map[self._data + low : self._data + high])
        return _cut(data, zip((starts - low).tolist(), (stops - low).tolist(), strict=True), prefix)

    def _decode(self, start: int, stop: int) -> list[str]:
        if start >= stop:
            return []
        ends = self._offsets[start : stop + 1].tolist()
        data = bytes(self._map[self._data + ends[0] : self._data + ends[-1]])
        base, prefix = ends[0], self._prefix
        if data.isascii():  # as in `_cut`, without a pair of numbers made for each
            text = data.decode("ascii")
            return [prefix + text[a - base : b - base] for a, b in itertools.pairwise(ends)]
        return _cut(data, ((a - base, b - base) for a, b in itertools.pairwise(ends)), prefix)


def _cut(data: bytes, parts: Iterable[tuple[int, int]], prefix: str) -> list[str]:
    """The texts at [start, stop) of `data`, each behind `prefix`."""
    if data.isascii():
        text = data.decode("ascii")
        return [prefix + text[start:stop] for start, stop in parts]
    return [prefix + data[start:stop].decode("utf-8", "surrogateescape") for start, stop in parts]


def write_pieces(path: Path, pieces: np.ndarray) -> dict[str, int]:
    """Write an array of PIECE; where it lies in the file, for `mapped_pieces`."""
    import numpy as np
    import pyarrow as pa

    data = np.ascontiguousarray(pieces)
    width = data.dtype.itemsize
    buffer = pa.py_buffer(data.view(np.uint8)) if len(data) else pa.py_buffer(b"")
    column = pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(data), [None, buffer])
    write_arrow(path, pa.table({"piece": column}))
    if not len(data):
        return {"count": 0, "data": 0}
    source = pa.memory_map(str(path))
    base = source.read_buffer().address
    source.seek(0)
    _, values = pa.ipc.open_file(source).get_batch(0).column(0).buffers()
    return {"count": len(data), "data": values.address - base}


def mapped_pieces(path: Path, layout: Mapping[str, int]) -> np.ndarray:
    """The array that `write_pieces` wrote, memory-mapped; read without pyarrow."""
    import numpy as np

    from daskpar.data.tables.piece import PIECE

    if not layout["count"]:
        return np.zeros(0, PIECE)
    with open(path, "rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return np.frombuffer(data, PIECE, layout["count"], layout["data"])


def read_pieces(path: Path) -> np.ndarray:
    """The array that `write_pieces` wrote, memory-mapped."""
    import numpy as np
    import pyarrow as pa

    from daskpar.data.tables.piece import PIECE

    column = pa.ipc.open_file(pa.memory_map(str(path))).read_all().column(0)
    if not len(column):
        return np.zeros(0, PIECE)
    return np.frombuffer(column.chunk(0).buffers()[1], PIECE, len(column))


def write_groups(path: Path, offsets: np.ndarray, keys: pa.Table) -> None:
    """Write where the rows of each group end (`offsets` without its first, 0), and the keys of each."""
    import pyarrow as pa

    from daskpar.data.columns.buffers import integers

    stops = integers(offsets[1:])
    schema = pa.schema([pa.field("offset", pa.int64()), *keys.schema])
    write_arrow(
        path, pa.Table.from_arrays([pa.chunked_array([stops]), *keys.columns], schema=schema), GROUPS_AT_ONCE
    )


class StoredGroups:
    """Where each group's rows lie, and its keys; one record batch is held at a time."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa

        self._file = pa.ipc.open_file(pa.memory_map(str(path)))
        self.names: tuple[str, ...] = tuple(self._file.schema.names[1:])
        """The key columns."""
        sizes = (self._file.get_batch(number).num_rows for number in range(self._file.num_record_batches))
        self._starts = [0, *itertools.accumulate(sizes)]
        self._current = -1
        self._stops: np.ndarray
        self._columns: pa.RecordBatch
        self._start = self._stop = 0
        self._chunk: list[tuple[Any, ...]] = []

    def rows(self, i: int) -> tuple[int, int]:
        """Where the paths or pieces of group `i` begin and end."""
        start = self._at(i - 1) if i else 0
        return start, self._at(i)

    def keys(self, i: int) -> dict[str, Any]:
        """Key column -> value of group `i`."""
        from daskpar.data.columns.special_types import values_of

        if not self._start <= i < self._stop:
            self._at(i)
            part = self._columns.slice(i - self._starts[self._current], KEYS_AT_ONCE)
            self._start, self._stop = i, i + part.num_rows
            values = (
                values_of(column, field)
                for column, field in zip(part.columns[1:], list(part.schema)[1:], strict=True)
            )
            self._chunk = list(zip(*values, strict=True))
        return dict(zip(self.names, self._chunk[i - self._start], strict=True))

    def _at(self, i: int) -> int:
        if self._current < 0 or not self._starts[self._current] <= i < self._starts[self._current + 1]:
            self._current = bisect.bisect_right(self._starts, i) - 1
            self._columns = self._file.get_batch(self._current)
            self._stops = self._columns.column(0).to_numpy()
        return int(self._stops[i - self._starts[self._current]])
