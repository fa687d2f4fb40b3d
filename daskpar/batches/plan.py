"""The plan of mini-batches as plain values in a folder: written once by the driver, memory-mapped by every
processor.

A plan is a folder with `plan.json` (what kind, how many, how to read) and Arrow IPC files with one row for
each file, piece or group. Mini-batch `i` of a plan is the same whoever reads it, whenever: never a matter of
the cluster, the blocks, a retry or a resume.

    kind      plan.arrow holds                                   mini-batch i is
    files     path                                               `per_batch` paths from row i * per_batch
    pieces    file, start, stop  (data.table.PIECE)              the rows of piece i
    grouped   the rows of `files` or `pieces`, group by group;   the rows offsets[i] .. offsets[i + 1]
              groups.arrow: offset and the key columns
    numbers   nothing                                            the list [i] (internal passes,
    rank_mini_batch_count)

File lists are read without pyarrow (`plan.json` says where the buffers of the Arrow file lie), so that a
processor of images starts fast. `plan.json` also says how long the other files are, and of which boot of the
machine: what a power cut took away is noticed.
"""

from __future__ import annotations

import bisect
import itertools
import json
import mmap
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daskpar.batches.plan_files import check_present, check_whole, mark, marks_of, sync, write_arrow
from daskpar.errors import PlanDamaged, RunDirectoryError
from daskpar.rundir.boot import boot_id, same_boot

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    from daskpar.batches.group_frames import GroupFrames
    from daskpar.data.tables.table import Table
    from daskpar.data.tables.table_reader import TableReader

FORMAT = 1
AHEAD = 4096  # paths decoded in one go
GROUPS_AT_ONCE = 1 << 16  # groups mapped at a time

FILES, PIECES, GROUPED, NUMBERS = "files", "pieces", "grouped", "numbers"


class FileMiniBatch(list[str]):
    """A mini-batch of a file list: the paths, and `task_id`, the index of the mini-batch."""

    task_id: int

    def __init__(self, paths: Sequence[str], task_id: int) -> None:
        super().__init__(paths)
        self.task_id = task_id

    def __reduce__(self) -> tuple[Any, ...]:
        return FileMiniBatch, (list(self), self.task_id)


@dataclass(frozen=True, kw_only=True)
class PlanSummary:
    """What a plan holds: `items` is None where rows are counted as they are read, `size_bytes` None where it
    is not known.
    """

    count: int
    items: int | None = None
    size_bytes: int | None = None
    tabular: bool = False
    kind: str = PIECES
    warnings: tuple[str, ...] = ()
    """What was lost in conversion where making the plan read the rows (groups), in words; only of a plan just
    made.
    """


def write_plan(
    folder: str | Path,
    *,
    kind: str,
    count: int | None = None,
    paths: Sequence[str] | pa.Array | None = None,
    per_batch: int = 1,
    table: Table | None = None,
    pieces: np.ndarray | None = None,
    offsets: np.ndarray | None = None,
    keys: pa.Table | None = None,
    items: int | None = None,
    size_bytes: int | None = None,
) -> PlanSummary:
    """Write a plan; `plan.json` appears last and whole, so a folder without it is no plan.

    `files` takes `paths` and `per_batch`; `pieces` takes `table` and `pieces`; `grouped` takes `offsets`
    (groups + 1 numbers), `keys` (a row for each group, columns named as the keys) and either `paths` or
    `table` with `pieces`; `numbers` takes `count`. Other files may lie in the folder already (those that the
    pieces of `grouped` read).
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    (target / "plan.json").unlink(missing_ok=True)
    document: dict[str, Any] = {"format": FORMAT, "kind": kind, "per_batch": per_batch, "boot": boot_id()}
    written: list[Path] = []
    if paths is not None:
        document["paths"] = _write_paths(target / "plan.arrow", paths)
        written.append(target / "plan.arrow")
        rows = len(paths)
        count = -(-rows // per_batch) if count is None else count
        items = rows if items is None else items
    elif pieces is not None and table is not None:
        document["table"] = table.to_json()
        document["breaks"] = _breaks(table, pieces) if kind == PIECES else []
        _write_pieces(target / "plan.arrow", pieces)
        written.append(target / "plan.arrow")
        count = len(pieces) if count is None else count
    if kind == GROUPED:
        assert offsets is not None and keys is not None
        count = len(offsets) - 1
        _write_groups(target / "groups.arrow", offsets, keys)
        written.append(target / "groups.arrow")
    if kind == NUMBERS:
        items = count
    summary = PlanSummary(
        count=count or 0, items=items, size_bytes=size_bytes, tabular=pieces is not None, kind=kind
    )
    document |= {"count": summary.count, "items": items, "size_bytes": size_bytes, "tabular": summary.tabular}
    document["files"] = mark(written, _own_files(table))
    sync(target)
    temporary = target / "plan.json.new"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, target / "plan.json")
    sync(target)  # what is committed from here on counts by this plan
    return summary


class Plan:
    """A written plan, opened for reading; mini-batches are loaded one at a time, cheapest in ascending order."""

    def __init__(self, folder: Path, document: Mapping[str, Any]) -> None:
        self.folder = folder
        self.marks = marks_of(document)
        self.boot: str = document.get("boot", "")
        """Of the machine, when it was written."""
        self.kind: str = document["kind"]
        self.count: int = document["count"]
        self.tabular: bool = document["tabular"]
        self.per_batch: int = document["per_batch"]
        self.total_items: int | None = document["items"]
        self.size_bytes: int | None = document["size_bytes"]
        self._breaks: list[int] = document.get("breaks", [])
        self._table_text: str | None = document.get("table")
        self._paths = _Paths(folder / "plan.arrow", document["paths"]) if "paths" in document else None
        self._groups = _Groups(folder / "groups.arrow") if self.kind == GROUPED else None
        self._pieces: np.ndarray | None = None
        self._table: Table | None = None
        self._reader: TableReader | None = None
        self._group_frames: GroupFrames | None = None

    @classmethod
    def open(cls, folder: str | Path) -> Plan:
        """Open the plan in `folder`; PlanDamaged when there is none or it lost something, RunDirectoryError
        for one of a newer version.
        """
        path = Path(folder)
        try:
            document = json.loads((path / "plan.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise PlanDamaged(f"{path} holds no plan of mini-batches (plan.json is missing)") from None
        except ValueError as error:
            raise PlanDamaged(f"{path / 'plan.json'} is damaged: {error}") from None
        if document.get("format") != FORMAT:
            raise RunDirectoryError(
                f"{path / 'plan.json'} has format {document.get('format')}; this daskpar reads format {FORMAT}"
            )
        check_present(path, marks_of(document))
        return cls(path, document)

    @classmethod
    def reopen(cls, folder: str | Path) -> Plan:
        """As `open`, for the driver of a run that goes on: PlanDamaged also where what the plan reads of its
        own is not certainly whole.
        """
        plan = cls.open(folder)
        check_whole(plan.folder, plan.marks, same_boot=same_boot(plan.boot))
        return plan

    @property
    def summary(self) -> PlanSummary:
        """What `write_plan` returned."""
        return PlanSummary(
            count=self.count,
            items=self.total_items,
            size_bytes=self.size_bytes,
            tabular=self.tabular,
            kind=self.kind,
        )

    @property
    def table(self) -> Table:
        """The recipe by which the pieces are read; only of tabular plans."""
        if self._table is None:
            from daskpar.data.tables.table import Table

            assert self._table_text is not None
            self._table = Table.from_json(self._table_text)
        return self._table

    @property
    def pieces(self) -> np.ndarray:
        """All pieces (`data.table.PIECE`), memory-mapped; only of tabular plans."""
        if self._pieces is None:
            self._pieces = _read_pieces(self.folder / "plan.arrow")
        return self._pieces

    @property
    def reader(self) -> TableReader:
        """The reader of the pieces; it counts the values lost in conversion (`warnings`)."""
        if self._reader is None:
            from daskpar.data.tables.table_reader import TableReader

            self._reader = TableReader(self.table, self.pieces)
        return self._reader

    @property
    def group_frames(self) -> GroupFrames | None:
        """The reader of groups of rows, which lie scattered over files of our own; None for other plans."""
        if self._groups is None or self._paths is not None:
            return None
        from daskpar.data.tables.table import (
            ARROW,  # brings pyarrow, which processors of file lists do without
        )

        if self.table.format != ARROW:
            return None
        if self._group_frames is None:
            from daskpar.batches.group_frames import GroupFrames

            self._group_frames = GroupFrames(self.table, self.pieces)
        return self._group_frames

    def items(self, i: int) -> int | None:
        """Planned items of mini-batch `i`, None where rows are only counted by reading."""
        start, stop = self._rows(i)
        if self._paths is not None or self.kind == NUMBERS:
            return stop - start
        counts = [self.table.rows_of(self.pieces[k]) for k in range(start, stop)]
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None

    def load(self, i: int) -> FileMiniBatch | pd.DataFrame | list[int]:
        """Mini-batch `i`: what `run()` gets."""
        if not 0 <= i < self.count:
            raise IndexError(f"mini-batch {i} of {self.count}")
        if self._paths is not None:
            start, stop = self._rows(i)
            return FileMiniBatch(self._paths.slice(start, stop), i)
        if self.kind == NUMBERS:
            return [i]
        if self._groups is None:
            return self.reader.frame(i)
        if self.group_frames is not None:
            return self.group_frames.frame(i)
        return self.reader.joined(*self._rows(i))

    def keys(self, i: int) -> dict[str, Any] | None:
        """Key column -> value of mini-batch `i`, in the order of the keys; None unless grouped."""
        return None if self._groups is None else self._groups.keys(i)

    def describe(self, i: int) -> str:
        """The items of mini-batch `i` in words, for messages: file names, or file and byte or row range."""
        start, stop = self._rows(i)
        if self.kind == NUMBERS:
            return f"number {i}"
        if self._paths is not None:
            shown = [
                os.path.basename(path.rstrip("/")) or path
                for path in self._paths.slice(start, min(stop, start + 5))
            ]
        else:
            shown = [self.table.describe(self.pieces[k]) for k in range(start, min(stop, start + 3))]
        rest = stop - start - len(shown)
        text = ", ".join(shown) + (f" and {rest} more" if rest else "")
        keys = self.keys(i)
        return (
            text
            if keys is None
            else f"{', '.join(f'{name}={value}' for name, value in keys.items())}: {text}"
        )

    def span(self, start: int, stop: int) -> None:
        """Hint: mini-batches [start, stop) are asked for next, so reading ahead ends there."""
        if self.group_frames is not None:
            self.group_frames.span(start, stop)
        elif self.tabular and start < stop:
            self.reader.span(self._rows(start)[0], self._rows(stop - 1)[1])

    def warnings(self) -> list[str]:
        """What was lost in conversion since the last call, in words; nothing for file lists."""
        if not self.tabular or self._reader is None:
            return []
        return [f"{self.table.origin}: {text}" for text in self._reader.losses.drain()]

    def breaks(self) -> list[int]:
        """First mini-batches of units that are dear to read twice (Parquet row groups), ascending; empty
        where there are none.
        """
        return self._breaks

    def _rows(self, i: int) -> tuple[int, int]:
        if self._groups is not None:
            return self._groups.rows(i)
        if self._paths is not None:
            return i * self.per_batch, min((i + 1) * self.per_batch, self._paths.count)
        return i, i + 1


def _own_files(table: Table | None) -> list[Path]:
    """Files of a plan's folder that its table reads: those of a grouping."""
    if table is None:
        return []
    from daskpar.data.tables.table import ARROW

    return [Path(path) for path in table.files] if table.format == ARROW else []


def _breaks(table: Table, pieces: np.ndarray) -> list[int]:
    """First pieces of row groups."""
    if not table.by_rows:
        return []
    import numpy as np

    found = []
    for number, groups in enumerate(table.groups):
        starts = np.cumsum([0, *(rows for rows, _ in groups)])[:-1]
        mine = np.flatnonzero(pieces["file"] == number)
        at = np.searchsorted(pieces["start"][mine], starts[starts < pieces["stop"][mine].max(initial=0)])
        found.append(mine[at[at < len(mine)]])  # a piece may hold several whole row groups
    return [int(i) for i in np.unique(np.concatenate(found))] if found else []


class _Paths:
    """The paths of a plan, decoded in chunks from the mapped buffers of an Arrow file."""

    def __init__(self, path: Path, layout: Mapping[str, int]) -> None:
        self.count = layout["count"]
        self._start = self._stop = 0
        self._chunk: list[str] = []
        if not self.count:
            return
        with open(path, "rb") as file:
            self._map = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        self._offsets = self._map[layout["offsets"] : layout["offsets"] + 8 * (self.count + 1)].cast("q")
        self._data = layout["data"]

    def slice(self, start: int, stop: int) -> list[str]:
        if start < self._start or stop > self._stop:
            self._start, self._stop = start, min(self.count, max(stop, start + AHEAD))
            self._chunk = self._decode(self._start, self._stop)
        return self._chunk[start - self._start : stop - self._start]

    def _decode(self, start: int, stop: int) -> list[str]:
        if start >= stop:
            return []
        ends = self._offsets[start : stop + 1].tolist()
        data = bytes(self._map[self._data + ends[0] : self._data + ends[-1]])
        base = ends[0]
        parts = itertools.pairwise(ends)
        if data.isascii():
            text = data.decode("ascii")
            return [text[a - base : b - base] for a, b in parts]
        return [data[a - base : b - base].decode("utf-8", "surrogateescape") for a, b in parts]


class _Groups:
    """Where each group's rows lie, and its keys; a record batch of them at a time, for there may be more
    groups than fit in memory.
    """

    def __init__(self, path: Path) -> None:
        import pyarrow as pa

        self._file = pa.ipc.open_file(pa.memory_map(str(path)))
        self._names: list[str] = self._file.schema.names[1:]
        sizes = (self._file.get_batch(number).num_rows for number in range(self._file.num_record_batches))
        self._starts = [0, *itertools.accumulate(sizes)]
        self._current = -1
        self._stops: np.ndarray
        self._columns: pa.RecordBatch
        self._start = self._stop = 0
        self._chunk: list[tuple[Any, ...]] = []

    def rows(self, i: int) -> tuple[int, int]:
        start = self._at(i - 1) if i else 0
        return start, self._at(i)

    def keys(self, i: int) -> dict[str, Any]:
        from daskpar.data.columns.types import values_of

        if not self._start <= i < self._stop:
            self._at(i)
            part = self._columns.slice(i - self._starts[self._current], 256)
            self._start, self._stop = i, i + part.num_rows
            values = (
                values_of(column, field)
                for column, field in zip(part.columns[1:], list(part.schema)[1:], strict=True)
            )
            self._chunk = list(zip(*values, strict=True))
        return dict(zip(self._names, self._chunk[i - self._start], strict=True))

    def _at(self, i: int) -> int:
        if self._current < 0 or not self._starts[self._current] <= i < self._starts[self._current + 1]:
            self._current = bisect.bisect_right(self._starts, i) - 1
            self._columns = self._file.get_batch(self._current)
            self._stops = self._columns.column(0).to_numpy()
        return int(self._stops[i - self._starts[self._current]])


def _write_paths(path: Path, paths: Sequence[str] | pa.Array) -> dict[str, int]:
    import pyarrow as pa

    column = path_array(paths)
    write_arrow(path, pa.table({"path": column}))
    if not len(column):
        return {"count": 0, "offsets": 0, "data": 0}
    source = pa.memory_map(str(path))
    base = source.read_buffer().address
    source.seek(0)
    batch = pa.ipc.open_file(source).get_batch(0)
    _, offsets, data = batch.column(0).buffers()
    return {
        "count": len(column),
        "offsets": offsets.address - base,
        "data": data.address - base if data is not None else 0,
    }


def path_array(paths: Sequence[str] | pa.Array) -> pa.Array:
    """Paths as one Arrow array of bytes; names that are no UTF-8 keep their bytes."""
    import pyarrow as pa

    from daskpar.data.columns.buffers import byte_strings

    if isinstance(paths, pa.ChunkedArray):
        paths = paths.combine_chunks()
    if isinstance(paths, pa.Array):
        return pa.concat_arrays([paths]).cast(pa.large_binary())
    return byte_strings(path.encode("utf-8", "surrogateescape") for path in paths)


def _write_pieces(path: Path, pieces: np.ndarray) -> None:
    import numpy as np
    import pyarrow as pa

    data = np.ascontiguousarray(pieces)
    width = data.dtype.itemsize
    buffer = pa.py_buffer(data.view(np.uint8)) if len(data) else pa.py_buffer(b"")
    column = pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(data), [None, buffer])
    write_arrow(path, pa.table({"piece": column}))


def _read_pieces(path: Path) -> np.ndarray:
    import numpy as np
    import pyarrow as pa

    from daskpar.data.tables.table import PIECE

    column = pa.ipc.open_file(pa.memory_map(str(path))).read_all().column(0)
    if not len(column):
        return np.zeros(0, PIECE)
    return np.frombuffer(column.chunk(0).buffers()[1], PIECE, len(column))


def _write_groups(path: Path, offsets: np.ndarray, keys: pa.Table) -> None:
    import pyarrow as pa

    from daskpar.data.columns.buffers import integers

    stops = integers(offsets[1:])
    schema = pa.schema([pa.field("offset", pa.int64()), *keys.schema])
    write_arrow(
        path, pa.Table.from_arrays([pa.chunked_array([stops]), *keys.columns], schema=schema), GROUPS_AT_ONCE
    )
