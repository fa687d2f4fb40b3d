"""Recognizes rows with named columns among what `run()` returns; the base classes of the formats that write
them.

Columns are compared by what each processor says of those it has seen (`RowEncoder.schema`). What differs is
no matter of one mini-batch, but of two: a processor hands both over, and the driver ends the step with their
numbers.
"""

from __future__ import annotations

import dataclasses
import sys
from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from daskpar.data.notices import Notice
from daskpar.errors import JobFailed, UsageError
from daskpar.jobspec.row_formats import FILE_ENDINGS, SAME, UNION, wrong_ending
from daskpar.rows.columns import Columns, ColumnsDiffer
from daskpar.rows.row_format import RowFormat, Schema
from daskpar.value_classes import frozen

if TYPE_CHECKING:
    from typing import Self

    from daskpar.jobspec.model import ParallelStep
    from daskpar.rows.item_columns import ItemColumns

_REMEMBERED = 1000
"""Shapes of returns that need not be looked at again."""

WHAT_TO_RETURN = (
    "return a DataFrame, a named Series, a pyarrow Table, or a list of mappings, such as "
    '[{"file": "a.png", "label": 3}]'
)


@frozen
class NamedRowsFormat(RowFormat):
    """A format whose rows have names for their values."""

    columns: str = SAME
    """`same`, or `union` (`--append_row_columns`)."""
    item_columns: tuple[str, ...] = ()
    with_index: bool = False

    @classmethod
    def for_step(cls, step: ParallelStep) -> Self:
        own = step.settings
        return cls(
            columns=own.append_row_columns,
            item_columns=own.append_row_join,
            with_index=own.append_row_index,
        )

    @property
    def union(self) -> bool:
        """Whether mini-batches may have different columns."""
        return self.columns == UNION

    @property
    def kind(self) -> str:
        return f"{self.name} ({self.columns} columns){self.before}"

    @property
    def needs_schema(self) -> bool:
        return True

    def agreed(self, known: Schema, found: Schema, returned_by: str) -> Schema:
        try:
            for texts in self._each(found):
                known = self.joined(known, texts)
        except ColumnsDiffer as error:
            raise JobFailed(f"The rows can't be in one output: {error}.") from None
        # What two mini-batches of one processor did not agree on.
        (agreed, *others) = self._each(known)
        return agreed if not others else self.agreed(agreed, self._all(others), returned_by)

    def joined(self, known: Schema, found: Schema) -> Schema:
        """The schema of the rows of both; raises ColumnsDiffer."""
        columns = Columns.from_text(known[0]).joined(Columns.from_text(found[0]), union=self.union)
        return (columns.to_text(),)

    def check_name(self, target: str) -> None:
        if ending := wrong_ending(self.name, target):
            raise UsageError(
                f"What is exported is {self.name}, as the output of the step (--append_row_format), "
                f"and {target} says {ending}: name a file such as FILE{FILE_ENDINGS[self.name]}."
            )

    texts = 1
    """Texts that a schema of agreed rows has."""

    def _each(self, schema: Schema) -> list[Schema]:
        return [schema[at : at + self.texts] for at in range(0, len(schema), self.texts)]

    def _all(self, schemas: list[Schema]) -> Schema:
        return tuple(text for schema in schemas for text in schema)


class NamedRowsEncoder:
    """Of one processor: keeps the schema of what was added, the format's encoders the rows."""

    def __init__(self, row_format: NamedRowsFormat) -> None:
        self.row_format = row_format
        self.schema: Schema | None = None
        self._seen: set[Hashable] = set()
        self._highest = -1
        self._differs = False

    def add(self, returned: Any, index: int, before: ItemColumns | None = None) -> int:
        """As `RowEncoder.add`."""
        count, shape, schema = self._taken(returned, index, before)
        if shape is not None:
            self._note(shape, schema, index)
        return count

    def take_notices(self) -> tuple[Notice, ...]:
        """As `RowEncoder.take_notices`: values with names are not taken otherwise."""
        return ()

    @abstractmethod
    def _taken(
        self, returned: Any, index: int, before: ItemColumns | None
    ) -> tuple[int, Hashable, Callable[[], Schema]]:
        """Keep the rows of `returned`; their number, what is equal for returns of equal schema (None: it has
        no columns), and a function that makes the schema.
        """

    def _note(self, shape: Hashable, schema: Callable[[], Schema], index: int) -> None:
        # In a union the lowest mini-batch of each column counts; else any is good for a message.
        if self.row_format.union and index < self._highest:
            shape = (shape, index)
        self._highest = max(index, self._highest)
        if shape in self._seen or self._differs:
            return
        found = schema()
        if self.schema is None:
            self.schema = found
        else:
            try:
                self.schema = self.row_format.joined(self.schema, found)
            except ColumnsDiffer:
                self._differs = True
                self.schema = (*self.schema, *found)
        if len(self._seen) >= _REMEMBERED:
            self._seen.clear()
        self._seen.add(shape)


def pandas_frame(returned: Any) -> Any:
    """The DataFrame that `returned` is, or makes where it is a Series with a name; else None."""
    pandas = sys.modules.get("pandas")
    if pandas is None:
        return None
    if isinstance(returned, pandas.DataFrame):
        return returned
    if isinstance(returned, pandas.Series) and returned.name is not None:
        return returned.to_frame()
    return None


def arrow_table(returned: Any) -> Any:
    """`returned` as a pyarrow Table where it is one or a batch of one, else None."""
    arrow = sys.modules.get("pyarrow")
    if arrow is None:
        return None
    if isinstance(returned, arrow.RecordBatch):
        return arrow.Table.from_batches([returned])
    return returned if isinstance(returned, arrow.Table) else None


def frame_names(columns: Any) -> tuple[str, ...]:
    """The names of the columns of a frame, as texts; ValueError for several levels of them."""
    if getattr(columns, "nlevels", 1) > 1:
        raise ValueError(
            "the columns of the DataFrame have several levels: rows need one name for each column"
        )
    return tuple(map(str, columns))


def refuse_doubles(names: Sequence[str]) -> None:
    """ValueError where a name occurs twice."""
    if len(set(names)) < len(names):
        double = next(name for position, name in enumerate(names) if name in names[:position])
        raise ValueError(f"the column {double!r} occurs twice: rows need a name of its own for each value")


def refuse_nameless(names: Sequence[str], rows: int) -> None:
    """ValueError for rows without any column: nothing of them could be written."""
    if rows and not names:
        raise ValueError(f"the rows that run() returned have no names in them: {WHAT_TO_RETURN}")


def mappings(returned: Any, row_format: NamedRowsFormat) -> tuple[tuple[str, ...], list[Mapping[str, Any]]]:
    """Column names and rows of a list of mappings, named tuples or dataclasses.

    Raises ValueError for anything else, and where rows have different names and no union is wanted.
    """
    rows = [_mapping(row, position, row_format.name) for position, row in enumerate(returned)]
    if not rows:
        return (), rows
    names, known = tuple(rows[0]), rows[0].keys()
    for position, row in enumerate(rows):
        if row.keys() == known:
            continue
        if not row_format.union:
            raise ValueError(
                f"row {position} has the names {list(row)}, and the first row of the mini-batch "
                f"{list(names)}: give all rows the same names, "
                "or write --append_row_columns union"
            )
        names = tuple(dict.fromkeys((*names, *row)))
        known = dict.fromkeys(names).keys()
    refuse_nameless(names, len(rows))
    return names, rows


def _mapping(row: Any, position: int, name: str) -> Mapping[str, Any]:
    if hasattr(type(row), "_asdict"):
        row = row._asdict()
    elif dataclasses.is_dataclass(row) and not isinstance(row, type):
        row = {field.name: getattr(row, field.name) for field in dataclasses.fields(row)}
    if not isinstance(row, Mapping):
        raise ValueError(
            f"element {position} that run() returned is a {type(row).__name__}, and rows in the format "
            f"{name} have names (--append_row_format): {WHAT_TO_RETURN}"
        )
    if all(type(key) is str for key in row):
        return row
    named = {str(key): value for key, value in row.items()}
    if len(named) < len(row):
        raise ValueError(f"row {position} has two names that are the same as text: {list(row)}")
    return named


def rows_of(returned: Any) -> Iterable[Any]:
    """The rows of anything but a DataFrame: those of a pyarrow Table as mappings."""
    table = arrow_table(returned)
    return returned if table is None else table.to_pylist()  # type: ignore[no-any-return]


class EachRange:
    """As `RowJoiner`, of a format whose file is a head, then what `made` gives for each range and the names
    of all columns.
    """

    def __init__(self, schema: Schema | None, made: Callable[[bytes, tuple[str, ...]], bytes]) -> None:
        self._names = _names(schema)
        self._made = made

    def fits(self, schema: Schema | None) -> bool:
        """As `RowJoiner.fits`."""
        return _names(schema) == self._names

    def add(self, data: bytes) -> bytes:
        """As `RowJoiner.add`."""
        return self._made(data, self._names)

    def end(self) -> bytes:
        """As `RowJoiner.end`."""
        return b""


def _names(schema: Schema | None) -> tuple[str, ...]:
    return Columns.from_text(schema[0]).names if schema is not None else ()
