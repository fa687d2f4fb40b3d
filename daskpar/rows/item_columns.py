"""Columns that stand before returned rows: those of the items, keys of the group, the mini-batch's index.

They are taken from the plan and the decoded input, not from what the script was given: a script may change
its frame, and pandas makes fractions of whole numbers with nulls. So ids and dates arrive as the input has
them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from daskpar.batches.plan import Plan
from daskpar.jobspec.row_formats import ALL, INDEX_COLUMN
from daskpar.rows.missing_values import is_missing
from daskpar.value_classes import frozen

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_LISTED = 10
"""Names that a message shows."""


class NamesClash(ValueError):
    """Returned columns have names of those before them: no row of the step can be written."""


class ColumnsBefore:
    """What stands before the rows of each mini-batch of one plan."""

    def __init__(self, plan: Plan, join: tuple[str, ...], *, index: bool) -> None:
        self._plan = plan
        self._index = index
        self._keys = plan.key_names
        # Of a group all items have the same keys, so these stand before any number of rows.
        self._of_items = any(name not in self._keys for name in join)
        if plan.tabular and self._of_items:
            join = tuple(plan.table.schema.names) if join == (ALL,) else join
            plan.keep(join)
        self._join = join

    def of(self, index: int, items: int, piece: tuple[int, int] | None = None) -> ItemColumns:
        """Those of the `items` of mini-batch `index`, which was loaded last.

        `piece`: of its items [start, stop) alone.
        """
        columns: list[_Constant | _Paths | _Decoded] = []
        if self._index:
            columns.append(_Constant(INDEX_COLUMN, index))
        if self._plan.tabular and self._of_items:
            kept = self._plan.kept
            if piece is not None:
                kept = kept.slice(piece[0], piece[1] - piece[0])
            columns += [_Decoded(name, kept.select([at])) for at, name in enumerate(kept.column_names)]
        elif self._join:
            keys = self._plan.keys(index) or {}
            paths = [] if self._plan.tabular else self._plan.paths_of(index)
            if piece is not None:
                paths = paths[slice(*piece)]
            columns += [
                _Constant(name, keys[name]) if name in keys else _Paths(name, paths) for name in self._join
            ]
        return ItemColumns(tuple(columns), items if self._of_items else None, index, self._keys)


@frozen
class _Constant:
    """One value for all rows."""

    name: str
    value: Any

    def values(self, rows: int) -> Sequence[Any]:
        return [self.value] * rows

    def arrow(self, rows: int) -> pa.Array:
        import pyarrow as pa

        return pa.array(self.values(rows), from_pandas=True)

    def series(self, rows: int) -> Any:
        return self.values(rows)


@frozen
class _Paths:
    """The path of each item."""

    name: str
    paths: list[str]

    def values(self, rows: int) -> Sequence[Any]:
        return self.paths

    def arrow(self, rows: int) -> pa.Array:
        import pyarrow as pa

        try:
            return pa.array(self.paths, pa.large_string())
        except UnicodeEncodeError:
            path = next(path for path in self.paths if not path.isprintable())
            raise ValueError(
                f"the path {path!r} is no UTF-8, which texts in Parquet have to be: rename the file, or "
                "write --append_row_format jsonl or csv"
            ) from None

    def series(self, rows: int) -> Any:
        return self.paths


@frozen
class _Decoded:
    """A column of the input, a value for each item."""

    name: str
    table: pa.Table

    def values(self, rows: int) -> Sequence[Any]:
        from daskpar.data.columns.special_types import values_of

        return [
            str(value) if type(value).__name__ == "StreamInfo" else value
            for value in values_of(self.table.column(0), self.table.schema.field(0))
        ]

    def arrow(self, rows: int) -> pa.ChunkedArray:
        return self.table.column(0)

    def series(self, rows: int) -> Any:
        import pyarrow.types as kinds

        from daskpar.data.tables.frame_slices import to_frame

        column = self.table.column(0)
        if column.null_count and (kinds.is_integer(column.type) or kinds.is_boolean(column.type)):
            import pandas as pd

            # int64 and uint8 are Int64 and UInt8 where pandas is to keep their nulls.
            name = str(column.type).replace("uint", "UInt").replace("int", "Int")
            kind: Any = "boolean" if kinds.is_boolean(column.type) else name
            array: Any = pd.array(column.to_pylist(), kind)
            return array
        return to_frame(self.table, rows).iloc[:, 0].array


@frozen
class ItemColumns:
    """What stands before the returned rows of one mini-batch."""

    columns: tuple[_Constant | _Paths | _Decoded, ...]
    items: int | None
    """How many rows there have to be; None: any number."""
    index: int
    """Of the mini-batch."""
    keys: tuple[str, ...] = ()
    """The columns by which the input is split, for messages."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the columns, in order."""
        return tuple(column.name for column in self.columns)

    def check(self, returned: Sequence[str], rows: int) -> None:
        """ValueError where there is not one row for each item; NamesClash where a returned column has the
        name of one of these.
        """
        clash = [name for name in returned if name in self.names]
        if clash:
            raise NamesClash(
                f"run() returned rows with the columns {_listed(clash)} (mini-batch {self.index}), which "
                "--append_row_join or --append_row_index puts before each row already: return only the other "
                "columns (`return frame[['score']]`), give them other names, or leave the names out of "
                "--append_row_join"
            )
        if self.items is not None and rows != self.items:
            keys = (
                f"; --append_row_join {','.join(self.keys)} alone goes with any number of rows"
                if self.keys
                else ""
            )
            raise ValueError(
                f"run() returned {rows} rows for the {self.items} items of mini-batch {self.index}, and "
                "--append_row_join puts columns of an item before its row: return exactly one row for each "
                f"item, in their order{keys}"
            )

    def frame(self, returned: pd.DataFrame) -> pd.DataFrame:
        """The returned frame with these columns before its own."""
        import pandas as pd

        rows = len(returned)
        self.check([str(name) for name in returned.columns], rows)
        plain = pd.RangeIndex(rows)
        before = pd.DataFrame({column.name: column.series(rows) for column in self.columns}, index=plain)
        return pd.concat([before, returned.set_axis(plain)], axis=1)

    def table(self, returned: pa.Table) -> pa.Table:
        """The returned table with these columns before its own."""
        import pyarrow as pa

        rows = returned.num_rows
        self.check(returned.column_names, rows)
        arrays = [column.arrow(rows) for column in self.columns]
        return pa.Table.from_arrays([*arrays, *returned.columns], names=[*self.names, *returned.column_names])

    def values(self, returned: Sequence[str], rows: int) -> list[Sequence[Any]]:
        """The values of each column as Python objects, for `rows` rows that have the names `returned`."""
        self.check(returned, rows)
        return [column.values(rows) for column in self.columns]

    def cells(self, returned: Sequence[str], rows: int) -> list[tuple[str, ...]]:
        """The fields of each row as texts: those that `to_csv` would write, without quotes."""
        self.check(returned, rows)
        return list(zip(*(_texts(column, rows) for column in self.columns), strict=True))


def _texts(column: _Constant | _Paths | _Decoded, rows: int) -> list[str]:
    if not isinstance(column, _Decoded):
        return ["" if is_missing(value) else str(value) for value in column.values(rows)]
    import pandas as pd

    from daskpar.rows.pandas_text import plain

    text = plain(pd.DataFrame({column.name: column.series(rows)}), ",").decode("utf-8", "surrogateescape")
    return [fields[0] if fields else "" for fields in csv.reader(io.StringIO(text, newline=""))]


def line_starts(cells: Sequence[Sequence[str]], separator: str) -> list[str]:
    """The fields of each row as the beginning of a line, with a separator at its end."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, lineterminator="\0")
    starts = []
    for row in cells:
        writer.writerow([*row, "x"])
        starts.append(text.getvalue()[:-2])
        text.seek(0)
        text.truncate()
    return starts


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:_LISTED]))
    return f"[{shown}{f', … ({len(names)} in all)' if len(names) > _LISTED else ''}]"
