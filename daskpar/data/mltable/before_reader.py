"""Transformations before the reader: they act on the list of files.

As in Microsoft's reader the records are files then, with the column `Path` and those that come from the
paths: `take: 1` is the first file, and `filter` sees these columns alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from daskpar.data.mltable.column_choice import columns_left, conversions
from daskpar.data.mltable.document import Transformation
from daskpar.data.mltable.partition_format import PartitionFormat, extract, parse_format
from daskpar.data.tables.filter_mask import mask
from daskpar.data.tables.filter_parser import parse_filter
from daskpar.data.tables.table_steps import convert_field, converted_field, is_drawn, uniform
from daskpar.errors import InputError
from daskpar.value_classes import mutable


@mutable
class ListedFiles:
    """The list of files on its way through the transformations before the reader."""

    paths: list[str]
    lines: list[int]
    """Line of the MLTable that each file was listed from, for errors."""
    values: pa.Table | None = None
    """Columns that come from the paths, a row for each file."""
    has_path: bool = True
    """False where a transformation has dropped the column `Path`."""

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        own = [] if self.values is None else self.values.column_names
        return ["Path"] * self.has_path + own

    def select(self, rows: Sequence[int] | np.ndarray) -> None:
        """Keep the files with these numbers, in this order."""
        self.paths = [self.paths[row] for row in rows]
        self.lines = [self.lines[row] for row in rows]
        if self.values is not None:
            self.values = self.values.take(pa.array(rows, pa.int64()))

    def transform(self, transformation: Transformation) -> None:
        """Apply one transformation; InputError or ValueError where it can't be."""
        name, options = transformation.name, transformation.options
        value, count = options.get("value"), len(self.paths)
        if name == "take":
            self.select(range(min(value or 0, count)))
        elif name == "skip":
            self.select(range(min(value or 0, count), count))
        elif name == "filter":
            kept = mask(parse_filter(value), self._as_table())
            self.select(np.flatnonzero(kept.to_numpy(zero_copy_only=False)))
        elif name in ("take_random_sample", "sample"):
            drawn = uniform(options["seed"], 0, np.arange(count))
            self.select(np.flatnonzero(is_drawn(drawn, options["low"], options["high"])))
        elif name == "select_partitions":
            if value and value[-1] > 0:
                raise InputError(
                    f"there is no partition {value[-1]}: before the reader all files are partition 0"
                )
            self.select(range(count if value else 0))
        elif name in ("keep_columns", "drop_columns"):
            self._keep(columns_left(value, self.names, name))
        elif name == "convert_column_types":
            self._convert(value or [])
        else:
            self._extract(parse_format(value or ""))

    def _as_table(self) -> pa.Table:
        columns = {"Path": path_column(self.paths)} if self.has_path else {}
        values = self.values
        own = {} if values is None else dict(zip(values.column_names, values.columns, strict=True))
        return pa.table({**columns, **own})

    def _keep(self, names: list[str]) -> None:
        self.has_path = self.has_path and "Path" in names
        if self.values is not None:
            self.values = self.values.select([name for name in self.values.column_names if name in names])

    def _convert(self, entries: list[dict[str, Any]]) -> None:
        values = self.values
        for name, kind in conversions(entries, [] if values is None else values.column_names):
            assert values is not None
            number = values.column_names.index(name)
            array, _ = convert_field(values.column(number), values.schema.field(number), kind)
            values = values.set_column(number, converted_field(name, kind, array.type), array)
        self.values = values

    def _extract(self, form: PartitionFormat) -> None:
        known = self.names
        twice = next((name for name in form.columns if name in known), None)
        if twice is not None:
            raise InputError(f"there is a column {twice!r} already")
        found = extract(form, self.paths)
        if self.values is not None:
            for name in self.values.column_names:
                found = found.append_column(name, self.values.column(name))
            found = found.select([*self.values.column_names, *form.columns])
        self.values = found


def path_column(paths: Sequence[str]) -> pa.Array:
    """Paths as a column of texts; InputError where the bytes of one are no text."""
    try:
        return pa.array(paths, pa.string())
    except UnicodeEncodeError:
        odd = next(
            path for path in paths if not path.isascii() and path != path.encode(errors="ignore").decode()
        )
        raise InputError(
            f"the name of the file {odd!r} is not UTF-8, so it can't be a value of the column 'Path': "
            "rename the file"
        ) from None
