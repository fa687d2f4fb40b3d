"""Reads columns of date texts as nanosecond timestamps, by the formats of their kind.

Texts that have every part of a format at a fixed place are read by numpy, all at once; the others one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from daskpar.data.columns.date_formats import IMPOSSIBLE, MONTHS, OUT_OF_RANGE, Format, compile_format
from daskpar.data.columns.kinds import ColumnKind
from daskpar.value_classes import frozen, mutable

Bytes = NDArray[np.uint8]
Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]

_BLANK = 32
_EDGE = 2**63 // 10**9
"""Whole seconds that surely fit a timestamp lie below."""


def to_timestamps(texts: pa.Array, kind: ColumnKind) -> pa.Array:
    """Timestamps of `texts` by the formats of `kind`.

    Null for texts that no format fits, or whose date a timestamp can't hold.
    """
    if kind.date_constant or not len(texts):
        return _one_by_one(texts, kind, None, None)
    column = _Column.of(texts)
    quick = _by_arrow(texts, column, kind)
    if quick is not None:
        return quick
    values = np.full(len(texts), OUT_OF_RANGE, np.int64)
    open_ = texts.is_valid().to_numpy(zero_copy_only=False)
    formats = [
        made for made in (compile_format(text, kind.inferred) for text in kind.formats) if made is not None
    ]
    for number, made in enumerate(formats):
        if number:
            # a text that an earlier format may still fit, in another layout, is left for reading one by one
            earlier = pc.match_substring_regex(texts, f"^(?:{_loose(formats[number - 1])})$").to_numpy(
                zero_copy_only=False
            )
            open_ = open_ & ~earlier.astype(np.bool_)
        _read_by_layouts(column, made, values, open_)
    # a given format that fits ends the search, so what is left with a value of OUT_OF_RANGE and closed is
    # null for good
    rest = (values == OUT_OF_RANGE) & ~column.settled & texts.is_valid().to_numpy(zero_copy_only=False)
    return _one_by_one(texts, kind, values, rest)


_BY_ARROW = {"%Y-%m-%d": (10, None), "%Y-%m-%d %H:%M:%S": (19, " "), "%Y-%m-%dT%H:%M:%S": (19, "T")}
"""Formats whose texts of that length Arrow reads as we do, with this character in the middle."""


def _by_arrow(texts: pa.Array, column: _Column, kind: ColumnKind) -> pa.Array | None:
    """The timestamps where Arrow's own reading of ISO dates gives them for every text."""
    length, gap = _BY_ARROW.get(kind.formats[0], (0, None))
    if not length or len(kind.formats) > 1:
        return None
    counts = np.bincount(column.lengths)
    if len(counts) != length + 1 or counts[length] != len(texts) - texts.null_count:
        return None
    if (
        gap is not None
        and not (column.data[(column.starts + 10)[column.lengths == length]] == ord(gap)).all()
    ):
        return None
    try:
        if gap is None:
            return texts.cast(pa.date32()).cast(pa.timestamp("ns"))
        return texts.cast(pa.timestamp("ns"))
    except pa.ArrowInvalid:
        return None


def _loose(made: Format) -> str:
    """A pattern in RE2's language that fits whatever the format fits."""
    return (
        made.pattern.pattern.replace("}+)", "})")
        if made.inferred
        else rf"\s*{made.pattern.pattern.replace('}+)', '})')}\s*"
    )


def _one_by_one(texts: pa.Array, kind: ColumnKind, values: Numbers | None, rest: Flags | None) -> pa.Array:
    """Read the texts at `rest` (all, without it) one distinct text at a time, the others are in `values`."""
    if rest is None or rest.any():
        picked = texts if rest is None else texts.filter(pa.array(rest))
        coded = picked.dictionary_encode()
        read = pa.array([read_date(text, kind) for text in coded.dictionary.to_pylist()], pa.int64()).take(
            coded.indices
        )
        if values is None or rest is None:
            return read.cast(pa.timestamp("ns"))
        values[rest] = read.fill_null(OUT_OF_RANGE).to_numpy()
    assert values is not None
    nulls = values == OUT_OF_RANGE
    return pa.array(values.view("M8[ns]"), mask=nulls if nulls.any() else None)


def read_date(text: str, kind: ColumnKind) -> int | None:
    """Nanoseconds of one text, None where no format fits or the date is impossible or too large.

    A format that fits ends the search, a given one even if a field is impossible.
    """
    whole = (kind.date_constant or "") + text
    for made in kind.formats:
        compiled = compile_format(made, kind.inferred)
        value = None if compiled is None else compiled.read(whole)
        if value is not None and (value != IMPOSSIBLE or not kind.inferred):
            return None if value in (IMPOSSIBLE, OUT_OF_RANGE) else value
    return None


@mutable
class _Column:
    """The bytes of a text column."""

    data: Bytes
    starts: Numbers
    lengths: Numbers
    settled: Flags
    """Texts that a given format fits with an impossible date: null for good."""

    @classmethod
    def of(cls, texts: pa.Array) -> _Column:
        _, offsets, data = texts.buffers()
        wide = pa.types.is_large_string(texts.type)
        ends = np.frombuffer(offsets, np.int64 if wide else np.int32)[
            texts.offset : texts.offset + len(texts) + 1
        ].astype(np.int64)
        content = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
        return cls(content, ends[:-1], np.diff(ends), np.zeros(len(texts), np.bool_))

    def matrix(self, rows: NDArray[np.intp] | None, length: int) -> Bytes:
        """Bytes of the texts at `rows`, one row of the result for each position in the text.

        None for all texts, which then lie behind one another in the buffer.
        """
        if rows is None:
            first = int(self.starts[0])
            square = self.data[first : first + length * len(self.starts)].reshape(-1, length)
        else:
            square = self.data[self.starts[rows][:, None] + np.arange(length)]
        return np.ascontiguousarray(square.T)


@frozen
class _DateLayout:
    """A format with every part at a fixed place: (part, position, width) and (character, position)."""

    length: int
    fields: tuple[tuple[str, int, int], ...]
    literals: tuple[tuple[int, int], ...]


def _read_by_layouts(column: _Column, made: Format, values: Numbers, open_: Flags) -> None:
    """Put the timestamps of the open texts that have a layout of the format into `values` and close them."""
    layouts = _date_layouts(made.parts)
    if not layouts:
        return
    lengths = np.bincount(column.lengths[open_])
    for layout in layouts:
        if layout.length >= len(lengths) or not lengths[layout.length]:
            continue
        whole = int(lengths[layout.length]) == len(column.lengths) and bool(open_.all())
        rows = None if whole else np.flatnonzero(open_ & (column.lengths == layout.length))
        if rows is not None and not len(rows):
            continue
        read, fits = _read(column.matrix(rows, layout.length), layout)
        good = fits & (read != OUT_OF_RANGE)
        at: Any = slice(None) if rows is None else rows
        values[at] = np.where(good, read, values[at])
        if not made.inferred:
            column.settled[at] |= fits & ~good
            open_[at] &= ~fits
        else:
            open_[at] &= ~good


def _read(text: Bytes, layout: _DateLayout) -> tuple[Numbers, Flags]:
    """Timestamps of texts of one layout (OUT_OF_RANGE: impossible), and which texts have that layout."""
    fits: Flags = np.ones(text.shape[1], np.bool_)
    for character, at in layout.literals:
        fits &= text[at] == character
    parts: dict[str, Any] = {}
    for name, at, width in layout.fields:
        if name in "bpz":
            parts[name], right = _WORDS[name](text[at : at + width])
        else:
            parts[name], right = _number(text[at : at + width])
            if name == "f":
                parts["f"] = parts["f"] * 10 ** (9 - width)
        fits &= right
    values, near = _timestamps(parts)
    return values, fits & ~near


def _number(digits: Bytes) -> tuple[Numbers, Flags]:
    plain = digits - np.uint8(48)
    right: Flags = np.all(plain <= 9, axis=0)
    if len(digits) == 2:
        return (plain[0] * np.uint8(10) + plain[1]).astype(np.int64), right
    value = plain[0].astype(np.int32)  # 32 bits hold the nine digits at most
    for row in plain[1:]:
        value *= 10
        value += row
    return value.astype(np.int64), right


_MONTH_CODES = np.array([int.from_bytes(name.encode(), "big") for name in MONTHS], np.int64)
_MONTH_ORDER = np.argsort(_MONTH_CODES)


def _month(text: Bytes) -> tuple[Numbers, Flags]:
    low = (text | np.uint8(32)).astype(np.int64)  # letters in lower case
    code = (low[0] << 16) + (low[1] << 8) + low[2]
    place = _MONTH_ORDER[np.minimum(np.searchsorted(_MONTH_CODES, code, sorter=_MONTH_ORDER), 11)]
    letters = ((text | np.uint8(32)) - np.uint8(97) < 26).all(axis=0)
    return place + 1, letters & (_MONTH_CODES[place] == code)


def _half(text: Bytes) -> tuple[Numbers, Flags]:
    upper = text & np.uint8(0xDF)
    is_letter = (text >= 65).all(axis=0)
    return (upper[0] == ord("P")).astype(np.int64), is_letter & (
        (upper[0] == ord("A")) | (upper[0] == ord("P"))
    ) & (upper[1] == ord("M"))


def _zone(text: Bytes) -> tuple[Numbers, Flags]:
    width = len(text)
    if width in (1, 3):
        name = b"Z" if width == 1 else b"UTC"
        return np.zeros(text.shape[1], np.int64), (text == np.frombuffer(name, np.uint8)[:, None]).all(axis=0)
    hours, right = _number(text[1:3])
    minutes, also = _number(text[-2:])
    negative = text[0] == ord("-")
    right = right & also & (negative | (text[0] == ord("+")))
    if width == 6:
        right &= text[3] == ord(":")
    return np.where(negative, -1, 1) * (hours * 60 + minutes) * 60, right


_WORDS = {"b": _month, "p": _half, "z": _zone}


def _timestamps(parts: dict[str, Any]) -> tuple[Numbers, Flags]:
    """Nanoseconds since 1970 from numbers of year, month…; OUT_OF_RANGE where one of them is impossible.

    Also which ones are so near the ends of what a timestamp holds that 64 bits can't tell.
    """
    year = parts["Y"] if "Y" in parts else parts["y"] + np.where(parts["y"] < 70, 2000, 1900)
    month, day = parts.get("m", parts.get("b", 1)), parts.get("d", 1)
    good = (year >= 1) & (year <= 9999) & (month >= 1) & (month <= 12) & (day >= 1)
    months = np.where(good, year * 12 + month, 13)
    table = _first_days()
    first = table[months]
    good &= day <= table[months + 1] - first
    hour = parts.get("H", 0)
    if "I" in parts:
        good &= (parts["I"] >= 1) & (parts["I"] <= 12)
        hour = parts["I"] % 12 + 12 * parts.get("p", 0)
    minute, second = parts.get("M", 0), parts.get("S", 0)
    good &= np.less(hour, 24) & np.less_equal(minute, 59) & np.less_equal(second, 60)
    seconds = (first + day - 1) * 86400 + hour * 3600 + minute * 60 + second - parts.get("z", 0)
    seconds = np.where(good, seconds, _EDGE * 2)
    inner = np.abs(seconds) < _EDGE - 1
    near = ~inner & (np.abs(seconds) <= _EDGE + 1)
    return np.where(inner, np.where(inner, seconds, 0) * 10**9 + parts.get("f", 0), OUT_OF_RANGE), near


@lru_cache(maxsize=1)
def _first_days() -> Numbers:
    """Days since 1970 of the first of each month, by year * 12 + month."""
    months = np.arange(-1970 * 12 - 1, 8030 * 12 + 1, dtype=np.int64)
    return months.astype("M8[M]").astype("M8[D]").astype(np.int64)


@lru_cache(maxsize=256)
def _date_layouts(parts: Sequence[tuple[str, str]]) -> tuple[_DateLayout, ...]:
    """Every layout of a format that is worth reading all at once; none for formats with full month names."""
    if any(part == ("%", "B") for part in parts) or not any(
        mark == "%" and name in "Yy" for mark, name in parts
    ):
        return ()
    choices = [_widths(parts, index) for index in range(len(parts))]
    return tuple(_placed(parts, widths) for widths in product(*choices))


def _widths(parts: Sequence[tuple[str, str]], index: int) -> tuple[int, ...]:
    mark, name = parts[index]
    if mark != "%":
        return (1,)
    if name in ("m", "d", "H", "I"):
        follower = parts[index + 1] if index + 1 < len(parts) else ("=", "")
        alone = follower[0] == " " or (follower[0] == "=" and not follower[1].isdigit())
        return (2, 1) if alone else (2,)
    return {
        "Y": (4,),
        "b": (3,),
        "z": (1, 6, 5, 3),
        ".f": (0, 4, 7, 10, 2, 3, 5, 6, 8, 9),
        "f": (6, 3, 9),
    }.get(name, (2,))


def _placed(parts: Sequence[tuple[str, str]], widths: Sequence[int]) -> _DateLayout:
    fields, literals = [], []
    at = 0
    for (mark, name), width in zip(parts, widths, strict=True):
        if mark == " ":
            literals.append((_BLANK, at))
        elif mark == "=":
            encoded = name.encode()
            literals.extend(_literal(encoded, at))
            width = len(encoded)
        elif name == ".f":
            literals.extend([(ord("."), at)] if width else [])
            fields.extend([("f", at + 1, width - 1)] if width else [])
        else:
            fields.append((name, at, width))
        at += width
    return _DateLayout(at, tuple(fields), tuple(literals))


def _literal(encoded: bytes, at: int) -> Iterator[tuple[int, int]]:
    for step, byte in enumerate(encoded):
        yield byte, at + step
