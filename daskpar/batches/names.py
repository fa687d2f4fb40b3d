"""Names that people know, for the mini-batches of a plan: their files, their key or their rows.

Files are named by their path below the input, so that two `x.txt` in two folders are told apart; rows by
their file and where they lie in it, those of a collection from Python by where they lie in that; groups by
the values of their keys. Read for many mini-batches at once, and without pyarrow but for keys: the driver
names each mini-batch in its reports.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from daskpar.batches.name_texts import (
    SHOWN_FILES,
    files_text,
    first_rows,
    keys_text,
    many_files_texts,
    root_of,
)
from daskpar.batches.plan import GROUPED, NUMBERS, Plan
from daskpar.value_classes import frozen

if TYPE_CHECKING:
    import pyarrow as pa

Texts = list[str] | str
"""A text for each mini-batch, or one that all of them have."""
NONE = ""
"""Stands where a mini-batch has no such name: groups have no files, files no rows."""
ROW_KIND = {True: "rows", False: "bytes"}
"""What the ends of a piece count, by whether the format knows its rows before they are read."""


@frozen(kw_only=True)
class NameParts:
    """The names of some mini-batches, and what they are made of; `NONE` where that is not theirs."""

    names: Texts
    files: Texts = NONE
    """`a/x.txt`, `a/x.txt, b/x.txt` or `a/x.txt … b/z.txt (20 files)`."""
    rows: Texts = NONE
    """`rows 0–500`: from the first to before the last; `bytes 0–4096` where rows are counted by reading."""
    keys: Texts = NONE
    """`store=7, brand=null`."""


@frozen(kw_only=True)
class Item:
    """A part of a mini-batch that can be named."""

    path: str
    """Of the file; empty where rows were brought together from anywhere."""
    name: str
    """The path below the input."""
    rows: str = NONE
    """Which rows of it, as in `NameParts`."""


@frozen(kw_only=True)
class _TableFiles:
    """The files of a table."""

    paths: list[str]
    names: list[str]
    by_rows: bool
    """Whether pieces are counted in rows."""
    first_rows: list[int] | None
    """Number of the first row of each in a collection from Python, whose files are ours; else None."""


class MiniBatchNames:
    """The names of the mini-batches of the plan in `folder`.

    Raises what `Plan.open` raises.
    """

    def __init__(self, folder: str | Path) -> None:
        self._plan = Plan.open(folder)
        self._keys: tuple[list[pa.Field], list[pa.ChunkedArray]] | None = None
        self._pieces: np.ndarray | None = None
        self._files: _TableFiles | None = None

    @property
    def count(self) -> int:
        """Mini-batches of the plan."""
        return self._plan.count

    @property
    def items(self) -> int | None:
        """Items of all of them, None where rows are counted as they are read."""
        return self._plan.total_items

    def name(self, index: int) -> str:
        """The name of one."""
        return self.names([index])[0]

    def names(self, indices: Sequence[int] | np.ndarray) -> list[str]:
        """The name of each of them."""
        found = self.parts(indices).names
        return [found] * len(indices) if isinstance(found, str) else found

    def parts(self, indices: Sequence[int] | np.ndarray) -> NameParts:
        """The names of these mini-batches, which come fastest in ascending order."""
        chosen = np.asarray(indices, np.int64)
        if self._plan.kind == NUMBERS:
            return NameParts(names=[f"number {i}" for i in chosen.tolist()])
        if self._plan.kind == GROUPED:
            keys = self._key_texts(chosen)
            return NameParts(names=keys, keys=keys)
        if self._plan.stored_paths is not None:
            files = self._file_texts(chosen)
            return NameParts(names=files, files=files)
        files, rows = self._row_texts(self._piece_array()[chosen])
        if self._table_files().first_rows is not None:
            return NameParts(names=rows, rows=rows)
        return NameParts(names=list(map("{} {}".format, files, rows)), files=files, rows=rows)

    def items_of(self, index: int) -> Iterator[Item]:
        """What mini-batch `index` holds: each file, or each run of rows; one without a path where the rows of
        a group were brought together.
        """
        start, stop = self._plan.item_range(index)
        paths = self._plan.stored_paths
        if self._plan.kind == NUMBERS:
            yield Item(path="", name=f"number {index}")
        elif paths is not None:
            for at in range(start, stop, 4096):
                for path in paths.slice(at, min(stop, at + 4096)):
                    yield Item(path=path, name=path.removeprefix(self._plan.root))
        elif self._plan.rows_are_gathered:
            yield Item(path="", name=self.name(index), rows=f"{self._rows_between(start, stop)} rows")
        else:
            pieces = self._piece_array()[start:stop]
            files, rows = self._row_texts(pieces)
            known = self._table_files()
            for number, name, span in zip(pieces["file"].tolist(), files, rows, strict=True):
                named = known.first_rows is None
                yield Item(path=known.paths[number] if named else "", name=name if named else span, rows=span)

    # -- file lists --

    def _file_texts(self, chosen: np.ndarray) -> list[str]:
        paths = self._plan.stored_paths
        assert paths is not None
        skip = len(self._plan.root.encode("utf-8", "surrogateescape"))  # all paths begin with it
        starts, stops = self._plan.item_ranges(chosen)
        numbers = stops - starts
        most = int(numbers.max(initial=0))
        if most == 1:
            return paths.some(starts, skip)
        # All files of each where they are few, else the first and the last one.
        few = numbers <= SHOWN_FILES
        shown, step = np.where(few, numbers, 2), np.where(few, 1, numbers - 1)
        ends = np.cumsum(shown)
        within = np.arange(int(shown.sum())) - np.repeat(ends - shown, shown)
        names = paths.some(np.repeat(starts, shown) + within * np.repeat(step, shown), skip)
        if most > SHOWN_FILES and bool((numbers == most).all()):
            return many_files_texts(names[::2], names[1::2], most)
        cuts = zip((ends - shown).tolist(), ends.tolist(), numbers.tolist(), strict=True)
        return [files_text(names[start:end], number) for start, end, number in cuts]

    # -- rows --

    def _row_texts(self, pieces: np.ndarray) -> tuple[list[str], list[str]]:
        known = self._table_files()
        kind = ROW_KIND[known.by_rows]
        numbers = pieces["file"].tolist()
        starts, stops = pieces["start"], pieces["stop"]
        if known.first_rows is not None:
            firsts = np.asarray(known.first_rows, np.int64)[pieces["file"]]
            starts, stops = starts + firsts, stops + firsts
        spans = zip(starts.tolist(), stops.tolist(), strict=True)
        return [known.names[at] for at in numbers], [f"{kind} {start}–{stop}" for start, stop in spans]

    def _rows_between(self, start: int, stop: int) -> int:
        pieces = self._piece_array()[start:stop]
        return int((pieces["stop"] - pieces["start"]).sum())

    def _piece_array(self) -> np.ndarray:
        if self._pieces is None:
            self._pieces = self._plan.pieces
        return self._pieces

    def _table_files(self) -> _TableFiles:
        if self._files is None:
            # The text alone: Table itself brings pyarrow and pandas.
            table: Mapping[str, Any] = json.loads(self._plan.table_text)
            paths: list[str] = table["files"]
            root = root_of(table["origin"], paths)
            by_rows = table["format"] in ("parquet", "arrow")
            rows = (sum(rows for rows, _ in groups) for groups in table["groups"])
            self._files = _TableFiles(
                paths=paths,
                names=[path.removeprefix(root) for path in paths],
                by_rows=by_rows,
                first_rows=first_rows(table["origin"], self._plan.folder, rows) if by_rows else None,
            )
        return self._files

    # -- keys --

    def _key_texts(self, chosen: np.ndarray) -> list[str]:
        import pyarrow as pa

        from daskpar.data.columns.buffers import integers
        from daskpar.data.columns.special_types import values_of

        if self._keys is None:
            found = pa.ipc.open_file(pa.memory_map(str(self._plan.folder / "groups.arrow"))).read_all()
            self._keys = list(found.schema)[1:], found.columns[1:]
        fields, columns = self._keys
        at = integers(chosen)
        values = [values_of(column.take(at), field) for field, column in zip(fields, columns, strict=True)]
        names = [field.name for field in fields]
        return [keys_text(dict(zip(names, row, strict=True))) for row in zip(*values, strict=True)]
