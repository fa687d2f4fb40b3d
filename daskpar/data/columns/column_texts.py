"""Reads many columns of texts as values of their kinds: short columns of one kind together, in one pass.

A call of Arrow costs some microseconds however short a column is, and a kind takes several: of a table
with thousands of columns, a block has just a few rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daskpar.data.columns.kinds import FLOAT, INT, ColumnKind
from daskpar.data.columns.text_values import count_cut, count_lost, count_wide, from_text
from daskpar.data.notices import CUT, WIDE, LostValues
from daskpar.value_classes import frozen

SHORT = 4096
"""Rows up to which a column is joined with others of its kind."""
MOST_BYTES = 16 << 20
"""Of the texts that are joined, about."""
WIDE_FLOAT = 2.0**53
"""Integers up to here are floats without loss."""


@frozen
class ReadTexts:
    """What became of a column of texts."""

    array: pa.Array
    lost: LostValues | None = None
    """Texts that became null."""
    cause: str = ""
    """Why numbers became others."""
    changed: LostValues | None = None


def read_texts(columns: Sequence[tuple[pa.Array, ColumnKind]]) -> list[ReadTexts]:
    """Each of the columns, which have the same number of rows, read as its kind."""
    by_kind: dict[ColumnKind, list[int]] = {}
    for number, (_, kind) in enumerate(columns):
        by_kind.setdefault(kind, []).append(number)
    found: dict[int, ReadTexts] = {}
    for kind, numbers in by_kind.items():
        for some in _joinable(columns, numbers):
            found.update(zip(some, _read([columns[number][0] for number in some], kind), strict=True))
    return [found[number] for number in range(len(columns))]


def _joinable(columns: Sequence[tuple[pa.Array, ColumnKind]], numbers: list[int]) -> Iterator[list[int]]:
    """The columns in groups that are read together."""
    if len(columns[0][0]) > SHORT:
        yield from ([number] for number in numbers)
        return
    some: list[int] = []
    size = 0
    for number in numbers:
        each = columns[number][0].nbytes
        if some and size + each > MOST_BYTES:
            yield some
            some, size = [], 0
        some.append(number)
        size += each
    yield some


def _read(texts: Sequence[pa.Array], kind: ColumnKind) -> list[ReadTexts]:
    """Columns of one kind, joined and taken apart again."""
    whole = texts[0] if len(texts) == 1 else pa.concat_arrays(texts)
    result, lost = from_text(whole, kind)
    cause, changed = _changed(whole, result, kind)
    if len(texts) == 1:
        return [ReadTexts(result, lost, cause, changed)]
    rows = len(texts[0])
    parts = [result.slice(at, rows) for at in range(0, len(whole), rows)] if rows else [result] * len(texts)
    if lost is None and changed is None:
        return [ReadTexts(part) for part in parts]
    return [
        ReadTexts(part, count_lost(column, part), *_changed(column, part, kind))
        for column, part in zip(texts, parts, strict=True)
    ]


def _changed(texts: pa.Array, result: pa.Array, kind: ColumnKind) -> tuple[str, LostValues | None]:
    """Numbers that became others on the way, and why."""
    if kind == INT:
        return CUT, count_cut(texts, result)
    if kind == FLOAT and has_wide(result):
        return WIDE, count_wide(texts)
    return "", None


def has_wide(array: pa.Array) -> bool:
    """Whether any of these floats may be an integer that it can't hold."""
    buffer = array.buffers()[1]
    if not len(array) or buffer is None:
        return False
    values = np.frombuffer(buffer, np.float64)[array.offset : array.offset + len(array)]
    low, high = float(values.min()), float(values.max())  # nulls are some number there
    if high != high:  # nan hides the others; Arrow leaves it out, and takes ten times as long
        limits = pc.min_max(array)
        low, high = limits["min"].as_py() or 0.0, limits["max"].as_py() or 0.0
    return max(-low, high) >= WIDE_FLOAT
