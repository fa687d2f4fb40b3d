"""Reads texts as values of a kind, a column at a time, as Microsoft's reader does.

pyarrow reads what it reads in the same way; Python reads each other distinct text.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from daskpar.data.columns.date_columns import to_timestamps
from daskpar.data.columns.kinds import FALSE_WORDS, INTEGER, NUMBER, TRUE_WORDS, ColumnKind
from daskpar.data.notices import LostValues

LOWEST, HIGHEST = -(2**63), 2**63 - 1
"""The integers of 64 bits."""

_SHORT_INTEGER = r"^[ \t]*-?[0-9]{1,18}[ \t]*$"
_PLAIN_NUMBER = r"^[ \t]*-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[ \t]*$"
_WIDE_INTEGER = r"^[ \t]*[+-]?[0-9]{16,40}[ \t]*$"
_MARGIN = " \t"


def from_text(texts: pa.ChunkedArray | pa.Array, kind: ColumnKind) -> tuple[pa.Array, LostValues | None]:
    """Values of `kind` read from `texts`: an array of `kind.arrow`, and what was lost.

    Missing texts stay null, texts that don't convert become null and are counted.
    """
    column = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    if isinstance(column, pa.ChunkedArray):  # combine_chunks of pyarrow keeps texts of more than 2 GB apart
        column = pa.concat_arrays([chunk.cast(pa.large_string()) for chunk in column.chunks])
    result = _READERS[kind.name](column, kind)
    return result, count_lost(column, result)


def count_lost(texts: pa.Array, result: pa.Array) -> LostValues | None:
    """What became null between `texts` and `result`."""
    count = result.null_count - texts.null_count
    if count <= 0:
        return None
    lost = pc.and_(pc.is_valid(texts), pc.is_null(result))
    return LostValues(count, example_text(texts[pc.index(lost, True).as_py()]))


def example_text(value: pa.Scalar) -> str:
    """The value in a message; moments beyond Python's years included."""
    try:
        return str(value.as_py())
    except OverflowError:
        return str(value.cast(pa.string()).as_py())


def read_int(text: str) -> int | None:
    """An integer as Microsoft's reader makes it of a text; None where it is no number.

    Numbers are cut toward zero and kept inside 64 bits, and `nan` is 0.
    """
    trimmed = text.strip(_MARGIN)
    if INTEGER.fullmatch(trimmed) and len(trimmed) < 25:  # more digits are beyond 64 bits in any case
        return max(LOWEST, min(HIGHEST, int(trimmed)))
    number = read_float(trimmed)
    if number is None or math.isnan(number):
        return None if number is None else 0
    if math.isinf(number) or abs(number) >= 2.0**63:
        return HIGHEST if number > 0 else LOWEST
    return int(number)


def read_float(text: str) -> float | None:
    """A decimal, exponent, inf or nan form; blanks and tabs around it are ignored."""
    trimmed = text.strip(_MARGIN)
    return float(trimmed) if NUMBER.fullmatch(trimmed) else None


def count_cut(texts: pa.Array, result: pa.Array) -> LostValues | None:
    """Which texts of an integer column became another number: cut toward zero, or kept inside 64 bits."""
    odd = pc.fill_null(pc.invert(pc.match_substring_regex(texts, _SHORT_INTEGER)), False)
    odd = pc.and_(odd, pc.is_valid(result))
    if not pc.any(odd).as_py():
        return None
    counts = pc.value_counts(texts.filter(odd))
    cut = [
        (text, count)
        for text, count in zip(
            counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True
        )
        if not _is_exact(text)
    ]
    if not cut:
        return None
    return LostValues(sum(count for _, count in cut), f"{cut[0][0]!r} became {read_int(cut[0][0])}")


def _is_exact(text: str) -> bool:
    """Whether the integer that is read of a text is the number that it says."""
    number = Decimal(text.strip(_MARGIN))
    return number.is_finite() and number == read_int(text)


def count_wide(texts: pa.Array) -> LostValues | None:
    """Which texts are integers that became another number as a float."""
    wide = pc.value_counts(texts.filter(pc.fill_null(pc.match_substring_regex(texts, _WIDE_INTEGER), False)))
    changed = [
        (text, count)
        for text, count in zip(
            wide.field("values").to_pylist(), wide.field("counts").to_pylist(), strict=True
        )
        if int(text) != int(float(text))
    ]
    if not changed:
        return None
    text = changed[0][0].strip(_MARGIN)
    return LostValues(sum(count for _, count in changed), f"{text} became {int(float(text))}")


def _ints(texts: pa.Array, kind: ColumnKind) -> pa.Array:
    return _cast_plain_texts(texts, pa.int64(), _SHORT_INTEGER, read_int)


def _floats(texts: pa.Array, kind: ColumnKind) -> pa.Array:
    return _cast_plain_texts(texts, pa.float64(), _PLAIN_NUMBER, read_float)


def _cast_plain_texts(
    texts: pa.Array, kind: pa.DataType, pattern: str, read: Callable[[str], Any]
) -> pa.Array:
    """Cast what matches `pattern` at once, read every other distinct text by itself."""
    plain = pc.fill_null(pc.match_substring_regex(texts, pattern), False)
    try:
        result = pc.ascii_trim(pc.if_else(plain, texts, pa.scalar(None, texts.type)), _MARGIN).cast(kind)
    except pa.ArrowInvalid:  # a number too large for Arrow's reading
        return convert_distinct(texts, pc.is_valid(texts), kind, read, pa.nulls(len(texts), kind))
    return convert_distinct(texts, pc.and_(pc.is_valid(texts), pc.invert(plain)), kind, read, result)


def convert_distinct(
    texts: pa.Array, chosen: pa.Array, kind: pa.DataType, read: Callable[[str], Any], result: pa.Array
) -> pa.Array:
    """`result` with the `chosen` places replaced by what `read` makes of each distinct text there."""
    picked = texts.filter(chosen)
    if not len(picked):
        return result
    coded = picked.dictionary_encode()
    values = pa.array([read(text) for text in coded.dictionary.to_pylist()], kind)
    return pc.replace_with_mask(result, chosen, values.take(coded.indices))


def _bools(texts: pa.Array, kind: ColumnKind) -> pa.Array:
    own = kind.true_values is not None and kind.false_values is not None
    true, false = (kind.true_values or (), kind.false_values or ()) if own else (TRUE_WORDS, FALSE_WORDS)
    trimmed = pc.utf8_trim_whitespace(texts)
    is_true = pc.is_in(trimmed, pa.array(true, texts.type))
    known = pc.or_(is_true, pc.is_in(trimmed, pa.array(false, texts.type)))
    # as Microsoft's reader: words are compared exactly, blanks around them ignored
    other = pa.scalar(kind.mismatch, pa.bool_())
    return pc.if_else(pc.is_valid(texts), pc.if_else(known, is_true, other), pa.scalar(None, pa.bool_()))


def _nothing(texts: pa.Array, kind: ColumnKind) -> pa.Array:
    return pa.nulls(len(texts), pa.null())


def _dates(texts: pa.Array, kind: ColumnKind) -> pa.Array:
    return to_timestamps(texts, kind) if kind.formats else _nothing(texts, kind)


def _strings(texts: pa.Array, kind: ColumnKind) -> pa.Array:
    return texts


def _streams(texts: pa.Array, kind: ColumnKind) -> pa.Array:
    from daskpar.data.columns.stream_urls import parse_stream_url  # rare: few tables hold locations

    return convert_distinct(
        texts, pc.is_valid(texts), pa.string(), parse_stream_url, pa.nulls(len(texts), pa.string())
    )


_READERS: dict[str, Callable[[pa.Array, ColumnKind], pa.Array]] = {
    "int": _ints,
    "float": _floats,
    "bool": _bools,
    "datetime": _dates,
    "string": _strings,
    "stream_info": _streams,
    "null": _nothing,
}
