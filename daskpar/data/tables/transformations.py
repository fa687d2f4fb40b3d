"""The steps behind a reader, as plain values applied to Arrow tables, piece by piece: columns kept, values
converted, rows filtered.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daskpar.data.columns.conversion import convert, convert_values
from daskpar.data.columns.kinds import Kind
from daskpar.data.columns.types import is_any, stream_field, values_of
from daskpar.data.columns.values import Failure, shown
from daskpar.data.tables import filter_parser
from daskpar.data.tables.filter_mask import mask
from daskpar.errors import InputError

Step = Mapping[str, Any]
"""`{"op": …}` with: keep `names`; convert `column`, `kind`; filter `text`, `where`; sample `low`, `high`,
`seed`; nanoseconds `names`; path; files `names`, `first` (the column of the file's own that has the first
name), `at`; nulls `names`."""

ROW_STEPS = ("filter", "sample")


@dataclass
class Losses:
    """Values that became null, or were left out, because they do not fit the columns: counted by column and
    cause.
    """

    found: dict[tuple[str, str], Failure] = field(default_factory=dict)

    def add(self, column: str, cause: str, lost: Failure | None) -> None:
        """Count; causes: `convert`, `late` (a column that the sample did not have), `invalid` (lines dropped;
        no column).
        """
        if lost:
            known = self.found.get((column, cause))
            self.found[column, cause] = known + lost if known else lost

    def merge(self, other: Losses) -> None:
        """Add what another counted."""
        for (column, cause), lost in other.found.items():
            self.add(column, cause, lost)

    def drain(self) -> list[str]:
        """What was counted, in words, most first; counting begins anew."""
        found, self.found = sorted(self.found.items(), key=lambda item: -item[1].count), {}
        return [in_words(column, cause, lost) for (column, cause), lost in found]


class RunningLosses:
    """Losses of the partitions of one table, told when they are new, whenever there are ten times as many,
    and in full once every partition has been read: never a flood."""

    def __init__(self, partitions: int) -> None:
        self._missing = set(range(partitions))
        self._of: dict[int, Losses] = {}
        self._total = Losses()
        self._told: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()

    @property
    def complete(self) -> bool:
        """Whether every partition has been read."""
        return not self._missing

    def news(self, partition: int, losses: Losses) -> list[str]:
        """Count what reading a partition lost (once, however often it is read); what of the totals is worth
        telling now, in words.
        """
        with self._lock:
            self._missing.discard(partition)
            if partition not in self._of:
                self._total.merge(losses)
                self._of[partition] = losses
            patience = 10 if self._missing else 1
            news = {
                key: lost
                for key, lost in self._total.found.items()
                if lost.count > (told := self._told.get(key, 0)) and lost.count >= patience * told
            }
            self._told |= {key: lost.count for key, lost in news.items()}
        return [in_words(*key, lost) for key, lost in news.items()]


def in_words(column: str, cause: str, lost: Failure) -> str:
    """One sentence on what was lost: column, count, an example, and what to do where there is something."""
    count = f"{lost.count:,} value{'s' if lost.count != 1 else ''}"
    if cause == "late":
        late = f"{count} of {column!r}, a column that the inference sample did not have, are left out"
        return f"{late}, e.g. {lost.example!r}: declare it in `columns:`"
    if cause == "invalid":
        return f"{lost.count:,} invalid lines are left out, e.g. {lost.example!r}"
    return f"{count} of column {column!r} became null because they are no values of its kind, e.g. {lost.example!r}"


@dataclass
class Part:
    """Rows on their way through the steps: the table, and for each row the position of its record in the
    file.
    """

    table: pa.Table
    file: int
    positions: np.ndarray
    path: str = ""
    values: pa.Table | None = None
    """The file's own columns (one row)."""
    losses: Losses = field(default_factory=Losses)


def apply(steps: Iterable[Step], part: Part) -> Part:
    """The part after the steps; rows keep their order."""
    for step in steps:
        _STEPS[step["op"]](step, part)
    return part


def needed_columns(steps: Sequence[Step], base: Sequence[str], final: Sequence[str]) -> set[str]:
    """Columns of the reader that the result or a filter depends on: all others need not be read."""
    needed = set(final)
    for step in steps:
        if step["op"] == "filter":
            needed |= filter_parser.columns_of(filter_parser.parse(step["text"]))
    return needed & set(base)


def drops_rows(steps: Iterable[Step]) -> bool:
    """Whether any of the steps may leave rows out."""
    return any(step["op"] in ROW_STEPS for step in steps)


def _keep(step: Step, part: Part) -> None:
    part.table = part.table.select([name for name in step["names"] if name in part.table.column_names])


def _convert(step: Step, part: Part) -> None:
    name, kind = step["column"], Kind.from_json(step["kind"])
    if name not in part.table.column_names:
        return
    number = part.table.column_names.index(name)
    array, lost = convert_field(part.table.column(number), part.table.schema.field(number), kind)
    part.losses.add(name, "convert", lost)
    part.table = part.table.set_column(number, converted_field(name, kind, array.type), array)


def converted_field(name: str, kind: Kind, type_: pa.DataType) -> pa.Field:
    """The field of a converted column."""
    return stream_field(name) if kind.name == "stream_info" else pa.field(name, type_)


def convert_field(column: pa.ChunkedArray, source: pa.Field, kind: Kind) -> tuple[pa.Array, Failure | None]:
    """`conversion.convert`, for columns with values of any kind as well."""
    return convert_values(values_of(column, source), kind) if is_any(source) else convert(column, kind)


def _filter(step: Step, part: Part) -> None:
    try:
        kept = mask(filter_parser.parse(step["text"]), part.table)
    except InputError as error:
        raise InputError(f"{step['where']}: filter {step['text']!r}: {error}") from None
    _select(part, kept)


def _select(part: Part, kept: pa.Array | pa.ChunkedArray) -> None:
    rows = kept.to_numpy(zero_copy_only=False) if isinstance(kept, pa.Array) else kept.to_numpy()
    rows = rows.astype(bool, copy=False)
    if not rows.all():
        part.table = part.table.filter(pa.array(rows))
        part.positions = part.positions[rows]


def _sample(step: Step, part: Part) -> None:
    drawn = uniform(step["seed"], part.file, part.positions)
    _select(part, pa.array((drawn >= step["low"]) & ((drawn < step["high"]) | (step["high"] == 1.0))))


def uniform(seed: int, file: int, positions: np.ndarray) -> np.ndarray:
    """Numbers in [0, 1) that depend on the seed and on where a record stands, not on how the table is cut."""
    state = positions.astype(np.uint64)
    with np.errstate(over="ignore"):
        for salt in (np.uint64(file), np.uint64(seed & (2**64 - 1))):
            state = state * np.uint64(0x9E3779B97F4A7C15) + salt + np.uint64(0x632BE59BD9B4E019)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _nanoseconds(step: Step, part: Part) -> None:
    for name in step["names"]:
        if name not in part.table.column_names:
            continue
        number = part.table.column_names.index(name)
        column = part.table.column(number)
        try:
            finer = column.cast(pa.timestamp("ns"))
        except pa.ArrowInvalid:
            fits = pc.equal(
                pc.cast(pc.cast(column, pa.timestamp("ns"), safe=False), column.type, safe=False), column
            )
            finer = pc.if_else(fits, column, pa.scalar(None, column.type)).cast(pa.timestamp("ns"))
            part.losses.add(
                name,
                "convert",
                Failure(finer.null_count - column.null_count, shown(column.filter(pc.invert(fits))[0])),
            )
        part.table = part.table.set_column(number, pa.field(name, pa.timestamp("ns")), finer)


def _path(step: Step, part: Part) -> None:
    _insert(part, 0, pa.field("Path", pa.string()), pa.scalar(part.path, pa.string()))


def _files(step: Step, part: Part) -> None:
    assert part.values is not None
    for shift in range(len(step["names"])):
        number = step["first"] + shift
        _insert(part, step["at"] + shift, part.values.schema.field(number), part.values.column(number)[0])


def _nulls(step: Step, part: Part) -> None:
    for name in step["names"]:
        _insert(part, part.table.num_columns, pa.field(name, pa.null()), pa.scalar(None))


def _insert(part: Part, at: int, column: pa.Field, value: pa.Scalar) -> None:
    rows = len(part.positions)
    array = (
        pa.nulls(rows, column.type) if not value.is_valid else pc.cast(pa.repeat(value, rows), column.type)
    )
    at = min(at, part.table.num_columns)
    part.table = (
        part.table.add_column(at, column, array)
        if part.table.num_columns
        else pa.table([array], schema=pa.schema([column]))
    )


_STEPS = {
    "keep": _keep,
    "convert": _convert,
    "filter": _filter,
    "sample": _sample,
    "nanoseconds": _nanoseconds,
    "path": _path,
    "files": _files,
    "nulls": _nulls,
}
