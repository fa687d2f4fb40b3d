"""Which columns a transformation names: by name, by list, or by a pattern."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from daskpar.data.columns.kinds import ColumnKind


def columns_left(columns: Any, names: Sequence[str], transformation: str) -> list[str]:
    """Those of `names` that `keep_columns` or `drop_columns` leaves, in their order."""
    matching = matching_columns(columns, names)
    keep = transformation == "keep_columns"
    return [name for name in names if (name in matching) == keep]


def conversions(entries: list[dict[str, Any]], names: Sequence[str]) -> list[tuple[str, ColumnKind]]:
    """The columns that `convert_column_types` converts and their new kinds, in table order."""
    found: dict[str, ColumnKind] = {}
    for entry in entries:
        matching = matching_columns(entry["columns"], names)
        for name in names:
            if name in matching:
                # as Microsoft's reader: of two entries for a column the first counts
                found.setdefault(name, entry["kind"])
    return list(found.items())


def matching_columns(columns: Any, names: Sequence[str]) -> set[str]:
    """Names out of a list, or those of `names` that a pattern object matches; unknown ones do no harm."""
    if isinstance(columns, dict):
        # as Microsoft's reader: the pattern is searched anywhere in the name, and `ignore_case` has no effect
        fits = pc.match_substring_regex(pa.array(names, pa.string()), columns["pattern"]).to_pylist()
        return {name for name, found in zip(names, fits, strict=True) if found != columns["invert"]}
    return set(columns)
