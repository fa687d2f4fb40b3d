"""Infers the kinds of many columns at once from their sampled texts.

Numbers written plainly are told by their characters and by Arrow, all columns together. Every other column is
inferred by itself, by the rules that hold for all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daskpar.data.columns import buffers
from daskpar.data.columns.kinds import BOOL, FLOAT, INT, ColumnKind, infer_kind

MOST_BYTES = 16 << 20
"""Of texts that are looked at together, about."""
_DIGIT, _SIGN, _POINT, _BLANK, _OTHER = 1, 2, 4, 8, 128
_CLASSES = np.full(256, _OTHER, np.uint8)
_CLASSES[list(b"0123456789")] = _DIGIT
_CLASSES[ord("-")] = _SIGN
_CLASSES[list(b".eE")] = _POINT
_CLASSES[list(b" \t")] = _BLANK


def infer_kinds(columns: Sequence[Sequence[str | None] | pa.Array]) -> list[ColumnKind]:
    """What `infer_kind` says of each of the columns."""
    kinds: dict[int, ColumnKind] = {}
    arrays = [number for number, column in enumerate(columns) if isinstance(column, pa.Array)]
    for some in _groups(columns, arrays):
        kinds.update(_plain_numbers(columns, some))
    return [
        kinds[number] if number in kinds else infer_kind(listed(column))
        for number, column in enumerate(columns)
    ]


def listed(column: Sequence[str | None] | pa.Array) -> Sequence[str | None]:
    """The texts as Python's."""
    return column.to_pylist() if isinstance(column, pa.Array) else column


def _groups(columns: Sequence[pa.Array], numbers: Sequence[int]) -> Iterator[list[int]]:
    some: list[int] = []
    size = 0
    for number in numbers:
        each = columns[number].nbytes
        if some and size + each > MOST_BYTES:
            yield some
            some, size = [], 0
        some.append(number)
        size += each
    if some:
        yield some


def _plain_numbers(columns: Sequence[pa.Array], numbers: list[int]) -> dict[int, ColumnKind]:
    """The kinds of those of the columns whose texts are digits with signs, points, exponents and blanks."""
    whole = pa.concat_arrays([columns[number] for number in numbers])
    offsets = np.frombuffer(whole.buffers()[1], np.int32)[whole.offset : whole.offset + len(whole) + 1]
    edges = offsets[np.cumsum([0, *(len(columns[number]) for number in numbers)])]
    with_text = np.flatnonzero(np.diff(edges))
    if not len(with_text):
        return {}
    data = np.frombuffer(whole.buffers()[2], np.uint8)[: edges[-1]]
    classes = np.bitwise_or.reduceat(_CLASSES[data], edges[with_text])
    integers = with_text[(classes & ~np.uint8(_DIGIT | _SIGN | _BLANK)) == 0]
    floats = with_text[((classes & _POINT) != 0) & (classes < _OTHER)]
    found: dict[int, ColumnKind] = {}
    for places, type_ in ((integers, pa.int64()), (floats, pa.float64())):
        group = [numbers[place] for place in places.tolist()]
        found.update(_cast([columns[number] for number in group], group, type_))
    return found


def _cast(texts: list[pa.Array], numbers: list[int], type_: pa.DataType) -> dict[int, ColumnKind]:
    """Kinds of those columns whose texts Arrow takes for numbers, all of which are numbers to us too."""
    if not texts:
        return {}
    try:
        values = pc.ascii_trim(pa.concat_arrays(texts), " \t").cast(type_)
    except pa.ArrowInvalid:
        if len(texts) == 1:
            return {}
        middle = len(texts) // 2
        return {
            **_cast(texts[:middle], numbers[:middle], type_),
            **_cast(texts[middle:], numbers[middle:], type_),
        }
    if type_ == pa.float64():
        return dict.fromkeys(numbers, FLOAT)
    plain = buffers.numbers(values)
    starts = np.cumsum([0, *(len(column) for column in texts[:-1])])
    words = np.logical_and.reduceat((plain == 0) | (plain == 1) | ~buffers.valid(values), starts)
    return dict(zip(numbers, (BOOL if word else INT for word in words.tolist()), strict=True))


def with_leading_zeros(columns: Sequence[pa.Array]) -> list[int]:
    """Places of those columns of texts of numbers in which any may have zeros in front."""
    if not columns:
        return []
    whole = pc.ascii_ltrim(pa.concat_arrays(columns), " \t+-")
    zeros = buffers.numbers(pc.starts_with(whole, "0").cast(pa.uint8()), np.uint8) != 0
    longer = buffers.numbers(pc.binary_length(whole), np.int32) > 1
    rows = np.flatnonzero(zeros & longer & buffers.valid(whole))
    ends = np.cumsum([len(column) for column in columns])
    found: list[int] = np.unique(np.searchsorted(ends, rows, side="right")).tolist()
    return found
