"""A table as a plain value: its files, how they are read, and which steps follow.

The driver makes it and a plan holds it; processors read by it.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from daskpar.data.columns.kinds import ColumnKind
from daskpar.data.formats.dialect import Dialect
from daskpar.data.notices import LossCounter, Notice
from daskpar.data.stamps import UNKNOWN, Stamp
from daskpar.data.tables.piece import PIECE
from daskpar.data.tables.table_steps import RowChunk, TableStep, apply, drops_rows, needed_columns
from daskpar.value_classes import frozen

DELIMITED, JSON_LINES, PARQUET, ARROW = "delimited", "json_lines", "parquet", "arrow"


@frozen(kw_only=True)
class Table:
    """The recipe of a table.

    Rows come file by file, in the order of `files`; they are the same whatever the pieces are.
    """

    origin: str
    """The MLTable, for messages."""
    format: str
    files: tuple[str, ...]
    sizes: tuple[int, ...]
    """Bytes of each file."""
    marks: tuple[int, ...] = ()
    """What, with its size, each file was known by at planning (`data.stamps`); empty where nobody looked."""
    base: pa.Schema
    """Columns that the reader gives, before any step."""
    schema: pa.Schema
    """Columns of the table, behind all steps."""
    steps: tuple[TableStep, ...] = ()
    needed: frozenset[str] = frozenset()
    """Columns of `base` that have to be read."""
    dialect: Dialect | None = None
    kinds: Mapping[str, ColumnKind] = field(default_factory=dict)
    """Delimited: kind of each column of `base`; JSON lines: of each column that `columns:` declares."""
    header_files: int = 0
    """Delimited: how many files, from the first on, begin with a header (which is not read)."""
    headers: tuple[tuple[str, ...], ...] = ()
    """Delimited: the different lists of columns that files have, in the order of their fields."""
    header_of: tuple[int, ...] = ()
    """Delimited: which of `headers` each file has."""
    drop_invalid: bool = False
    """JSON lines: leave invalid lines out."""
    groups: tuple[tuple[tuple[int, int], ...], ...] = ()
    """Parquet and Arrow: rows and bytes of each row group (record batch) of each file."""
    values: pa.Table | None = None
    """Columns that come from the paths of the files, a row for each file."""
    extents: tuple[tuple[int, int, int], ...] | None = None
    """The pieces that the table is made of where it is not all of its files (`take`, `skip`,
    `select_partitions`).
    """
    partitions: tuple[tuple[int, int, int], ...] | None = field(default=None, compare=False, repr=False)
    """What `select_partitions` counts where it has chosen before; not part of the recipe."""
    partition_size: int = 20 * 1024 * 1024
    """Bytes of a partition of the Dask dataframe."""
    first: int = 0
    """Number of the first of `files` in the table that this one was taken from."""
    notices: tuple[Notice, ...] = field(default=(), compare=False, repr=False)
    """What planning saw of its headers and kinds that a user should know; not part of the recipe."""
    sample: pa.Table | None = field(default=None, compare=False, repr=False)
    """The first rows of the table, as planning saw them; not part of the recipe."""
    whole: bool = field(default=False, compare=False)
    """Whether `sample` holds all rows; not part of the recipe."""
    warnings: tuple[str, ...] = field(default=(), compare=False)
    """What was left out where its files were listed; not part of the recipe."""

    @classmethod
    def of_arrow_files(cls, files: Sequence[str], origin: str = "") -> Table:
        """The rows of Arrow IPC files as they are; grouped rows are written to such files.

        All files have the schema of the first.
        """
        groups, schema = [], pa.schema([])
        for number, path in enumerate(files):
            with pa.memory_map(path) as source, pa.ipc.open_file(source) as reader:
                schema = reader.schema if number == 0 else schema
                batches = (reader.get_batch(k) for k in range(reader.num_record_batches))
                groups.append(tuple((batch.num_rows, batch.nbytes) for batch in batches))
        sizes = tuple(os.path.getsize(path) for path in files)
        return cls(
            origin=origin or (files[0] if files else "Arrow files"),
            format=ARROW,
            files=tuple(files),
            sizes=sizes,
            base=schema,
            schema=schema,
            needed=frozenset(schema.names),
            groups=tuple(groups),
        )

    @cached_property
    def needed_fields(self) -> pa.Schema:
        """The columns of `base` that have to be read."""
        return pa.schema([found for found in self.base if found.name in self.needed])

    @property
    def planning_warnings(self) -> list[str]:
        """`warnings`, and `notices` in words."""
        losses = LossCounter()
        losses.add_notices(self.notices)
        return [*self.warnings, *losses.take_totals(self.origin)]

    @property
    def by_rows(self) -> bool:
        """Whether pieces are ranges of rows, not of bytes."""
        return self.format in (PARQUET, ARROW)

    @property
    def size_bytes(self) -> int:
        """Bytes of the files."""
        return sum(self.sizes)

    def rows_of(self, piece: np.void) -> int | None:
        """Rows of a piece where they are known without reading it."""
        if not self.by_rows or drops_rows(self.steps):
            return None
        return int(piece["stop"]) - int(piece["start"])

    @property
    def rows(self) -> int | None:
        """Rows of the table where they are known without reading it."""
        if not self.by_rows or drops_rows(self.steps):
            return None
        return sum(stop - start for _, start, stop in self.spans())

    def spans(self) -> Iterator[tuple[int, int, int]]:
        """What the table is made of: (file, start, stop), in its order."""
        if self.extents is not None:
            yield from self.extents
            return
        for number in range(len(self.files)):
            yield number, 0, self.end_of(number)

    def has_header(self, number: int) -> bool:
        """Whether the first line of a file is a header."""
        return number < self.header_files

    def start_of(self, number: int) -> int | None:
        """Where the part of a file that belongs to the table begins; None where none does."""
        if self.extents is None:
            return 0
        return min(
            (start for file, start, stop in self.extents if file == number and stop > start), default=None
        )

    def end_of(self, number: int) -> int:
        """Rows or bytes of a file."""
        return sum(rows for rows, _ in self.groups[number]) if self.by_rows else self.sizes[number]

    def stamp(self, number: int) -> Stamp:
        """What a file was known by when the table was planned."""
        return Stamp(self.sizes[number], self.marks[number]) if self.marks else UNKNOWN

    def files_pieces(self) -> np.ndarray:
        """One piece for each span: whole files, unless `take`, `skip` or `select_partitions` narrow them."""
        return np.array([span for span in self.spans() if span[2] > span[1]], PIECE)

    def describe(self, piece: np.void, root: str) -> str:
        """A piece in words, for messages; `root` is what the names of files leave out of their paths."""
        name = self.files[piece["file"]].removeprefix(root)
        return f"{name} {'rows' if self.by_rows else 'bytes'} {piece['start']}–{piece['stop']}"

    def only(self, number: int) -> Table:
        """The table of one of the files, whose rows are the same."""
        return replace(
            self,
            files=self.files[number : number + 1],
            sizes=self.sizes[number : number + 1],
            marks=self.marks[number : number + 1],
            header_files=int(self.has_header(number)),
            header_of=self.header_of[number : number + 1],
            groups=self.groups[number : number + 1],
            values=self.values_of(number),
            extents=None,
            first=self.first + number,
            sample=None,
        )

    def pruned(self) -> Table:
        """The table, reading no more columns than the result and its filters look at.

        At least one is read, to know the rows.
        """
        needed = needed_columns(self.steps, self.base.names, self.schema.names) or set(self.base.names[:1])
        return replace(self, needed=frozenset(needed))

    def select(self, names: Sequence[str]) -> Table:
        """The rows with these columns alone; only what they need is read."""
        steps = (*self.steps, {"op": "keep", "names": list(names)})
        return replace(
            self, steps=steps, schema=pa.schema([self.schema.field(name) for name in names]), sample=None
        ).pruned()

    def path_keys(self, names: Sequence[str]) -> pa.Table | None:
        """The final values of columns, a row for each file, where all of them come from the path alone.

        None where one does not.
        """
        own = (
            {}
            if self.values is None
            else dict(zip(self.values.column_names, self.values.columns, strict=True))
        )
        if "Path" in names:
            own["Path"] = pa.array(self.files, pa.string())
        if not all(
            name in own and name not in self.base.names and name in self.schema.names for name in names
        ):
            return None
        if self.values is not None and any(self.values.column_names.count(name) > 1 for name in names):
            return None  # extracted twice, and perhaps changed in between: the rows tell
        part = RowChunk(
            pa.table({name: own[name] for name in names}), 0, np.arange(len(self.files), dtype=np.int64)
        )
        return apply([step for step in self.steps if step["op"] == "convert"], part).table

    def values_of(self, number: int) -> pa.Table | None:
        """The columns that come from the path of a file (one row)."""
        return None if self.values is None else self.values.slice(number, 1)

    def to_json(self) -> str:
        """The recipe as JSON text."""
        return json.dumps(
            {
                "origin": self.origin,
                "format": self.format,
                "files": self.files,
                "sizes": self.sizes,
                "marks": self.marks,
                "base": _packed(self.base.serialize()),
                "schema": _packed(self.schema.serialize()),
                "steps": self.steps,
                "needed": sorted(self.needed),
                "dialect": None if self.dialect is None else self.dialect.to_json(),
                "kinds": {name: kind.to_json() for name, kind in self.kinds.items()},
                "header_files": self.header_files,
                "headers": self.headers,
                "header_of": self.header_of,
                "drop_invalid": self.drop_invalid,
                "groups": self.groups,
                "values": None if self.values is None else _packed_table(self.values),
                "extents": self.extents,
                "first": self.first,
                "partition_size": self.partition_size,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Table:
        """The table that `to_json` wrote."""
        found = json.loads(text)
        for name in ("files", "sizes", "marks", "steps", "header_of"):
            found[name] = tuple(found.get(name, ()))
        found["headers"] = tuple(tuple(names) for names in found["headers"])
        found["groups"] = tuple(tuple((rows, size) for rows, size in file) for file in found["groups"])
        found["needed"] = frozenset(found["needed"])
        for name in ("base", "schema"):
            found[name] = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(found[name])))
        found["dialect"] = None if found["dialect"] is None else Dialect.from_json(found["dialect"])
        found["kinds"] = _kinds(found["kinds"])
        if found["values"] is not None:
            found["values"] = pa.ipc.open_stream(base64.b64decode(found["values"])).read_all()
        if found["extents"] is not None:
            found["extents"] = tuple((file, start, stop) for file, start, stop in found["extents"])
        return cls(**found)


def _kinds(described: Mapping[str, Mapping[str, Any]]) -> dict[str, ColumnKind]:
    """The kinds of columns; those that are alike are one object."""
    known: dict[str, ColumnKind] = {}
    found: dict[str, ColumnKind] = {}
    for name, kind in described.items():
        key = str(kind)
        found[name] = known[key] if key in known else known.setdefault(key, ColumnKind.from_json(kind))
    return found


def _packed(buffer: pa.Buffer) -> str:
    return base64.b64encode(buffer.to_pybytes()).decode()


def _packed_table(table: pa.Table) -> str:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return _packed(sink.getvalue())
