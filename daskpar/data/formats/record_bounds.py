"""Where the records of a delimited file begin and end, found in its bytes.

A piece (start, stop) holds the records whose first byte s is in start <= s < stop. Without
`support_multi_line` start and stop may be any bytes: reading moves on to the next line break. With it a line
break may lie inside quotes, so pieces must begin at true record starts, which `find_starts` finds in one pass
over the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from daskpar.data.formats.byte_scan import count_byte, has_pair
from daskpar.data.formats.dialect import Dialect
from daskpar.errors import InputError
from daskpar.value_classes import frozen

Positions = NDArray[np.int64]

_QUOTE, _BREAK, _RETURN = 34, 10, 13
MOST_RECORD_BYTES = 256 << 20
"""A record that is longer is none: the file is no text, has no line ends, or a quote is never closed. It
would be held in memory whole, and more than once.
"""
_SLACK = 4096
_FEW = 32
"""Up to so many pieces of a chunk, counting lines piece by piece is faster than finding where each of them
begins.
"""


@frozen
class RecordBytes:
    """Bytes of whole records, and where in the file they lie."""

    offset: int
    data: bytes


def read_records(
    read: Callable[[int, int], bytes],
    size: int,
    start: int,
    stop: int,
    dialect: Dialect,
    body: int = 0,
    source: str = "",
    near: bool = False,
) -> RecordBytes:
    """The whole records of a piece of a file of `size` bytes whose records begin at byte `body`.

    `read(offset, length)` gives bytes of the file. With `support_multi_line`, start and stop must be record
    starts. `near`: a read costs little, as of a local file; the ends are then looked for by reads of their
    own, and what lies between is never copied. Raises InputError for a record of more than 256 MB.
    """
    stop = min(stop, size)
    if stop <= max(start, body):
        return RecordBytes(min(max(start, body), size), b"")
    if dialect.support_multi_line:
        exact = max(start, body)
        return RecordBytes(exact, read(exact, stop - exact))
    if near and not dialect.wide:
        first = body if start <= body else _next_line(read, start, stop, source)
        last = _next_line(read, stop, size, source) if first < stop else first
        return RecordBytes(first, read(first, last - first) if first < last else b"")
    origin = body if start <= body else (start - 1) // _scale(dialect) * _scale(dialect)
    data = read(origin, min(stop + _SLACK, size) - origin)
    while True:
        begin: int | None = 0 if start <= body else _line_start(data, start - origin, dialect)
        end = _line_start(data, stop - origin, dialect)
        more = b""
        if begin is None and origin + len(data) >= stop:
            break  # one record goes through the whole piece: whoever has its start reads it
        if (begin is None or end is None) and origin + len(data) < size:
            check_record(origin + len(data) - stop, stop, source)
            more = read(origin + len(data), min(max(_SLACK, len(data)), size - origin - len(data)))
        if not more:
            break
        data += more
    first, last = (len(data) if found is None else found for found in (begin, end))
    return RecordBytes(origin + first, data[first:last] if first < last else b"")


def _next_line(read: Callable[[int, int], bytes], position: int, limit: int, source: str) -> int:
    """The first start of a line at or behind `position` (which is not the file's start), `limit` at most."""
    at, length = position - 1, _SLACK
    while at < limit:
        data = read(at, min(length, limit - at))
        if not data:
            return at  # the file has become shorter
        if (found := data.find(b"\n")) >= 0:
            return at + found + 1
        at += len(data)
        check_record(at - position, position, source)
        length *= 2
    return limit


def check_record(length: int, at: int, source: str) -> None:
    """Raise InputError where `length` bytes, about byte `at` of the file `source`, are too long for a record
    without an end.
    """
    if length > MOST_RECORD_BYTES:
        raise InputError(
            f"{source}: {length:,} bytes from about byte {at} on hold no end of a record (a line end outside "
            "quotes). Is it a text file, with the encoding that its MLTable names, and is each quote closed?"
        )


def _scale(dialect: Dialect) -> int:
    return 2 if dialect.wide else 1


def _line_start(data: bytes, position: int, dialect: Dialect) -> int | None:
    """The first start of a line at or behind `position` (which is not the data's own start)."""
    if not dialect.wide:
        return data.find(b"\n", position - 1) + 1 or None
    at = data.find(b"\n\0", max(position - 2, 0))
    while at % 2:  # also -1: the loop ends below
        if at < 0:
            return None
        at = data.find(b"\n\0", at + 1)
    return at + 2


def _units(data: bytes, dialect: Dialect) -> bytes:
    """One byte for each character of the file's encoding.

    Characters of two bytes that can't be one are replaced by one that means nothing here.
    """
    if not dialect.wide:
        return data
    wide = np.frombuffer(data, "<u2", len(data) // 2)
    return np.where(wide < 256, wide, 1).astype(np.uint8).tobytes()


class _Quotes:
    """Follows over chunks whether the text is inside quotes."""

    def __init__(self, dialect: Dialect) -> None:
        self.inside = False
        self._before = _BREAK  # the byte in front of the chunk: records begin as if behind a line break
        self._closed = False  # whether the byte in front closed a quoted field
        self._starts = np.zeros(256, np.bool_)
        self._starts[[ord(dialect.delimiter), _BREAK]] = True
        self._regular = self._starts.copy()
        self._regular[_QUOTE] = True

    def toggles(self, units: bytes) -> Positions:
        """Positions at which quoted text begins or ends, in turn.

        `inside` (before the call) says what the first one does.
        """
        if not units:
            return np.empty(0, np.int64)
        array = np.frombuffer(units, np.uint8)
        quotes = np.flatnonzero(array == _QUOTE) if _QUOTE in units else np.empty(0, np.int64)
        openers = quotes[1 if self.inside else 0 :: 2]
        before = array[openers - 1]
        if len(openers) and openers[0] == 0:
            before[0] = self._before if self._before != _QUOTE or self._closed else 0
        # a quote opens a field behind a delimiter or line break, or doubles the one in front: else it is an
        # ordinary character
        toggles = quotes if self._regular[before].all() else self._one_by_one(units, quotes)
        self.inside ^= bool(len(toggles) % 2)
        self._before = units[-1]
        self._closed = bool(len(toggles)) and int(toggles[-1]) == len(units) - 1 and not self.inside
        return toggles

    def _one_by_one(self, units: bytes, quotes: Positions) -> Positions:
        inside, closed = self.inside, -1 if self._closed else -2
        found: list[int] = []
        for at in quotes.tolist():
            if inside:
                inside, closed = False, at
            elif at == closed + 1 or self._starts[units[at - 1] if at else self._before]:
                inside = True
            else:
                continue
            found.append(at)
        return np.array(found, np.int64)


def _ending_breaks(units: bytes, toggles: Positions, inside: bool, before: int) -> Positions:
    array = np.frombuffer(units, np.uint8)
    breaks = np.flatnonzero(array == _BREAK)
    if len(toggles) or inside:
        breaks = breaks[(np.searchsorted(toggles, breaks) + inside) % 2 == 0]
    previous = array[breaks - 1]
    if len(breaks) and breaks[0] == 0:
        previous[0] = before
    # a line break on its own line belongs to the field that follows
    ending: Positions = breaks[previous != _BREAK]
    return ending


def find_starts(
    chunks: Iterable[bytes], positions: Sequence[int] | Positions, dialect: Dialect, body: int = 0
) -> Positions:
    """For each of the sorted `positions` the first record start at or behind it.

    `chunks` are the file's bytes from `body`, where the first record starts, to its end.
    """
    scale = _scale(dialect)
    wanted = (np.maximum(np.asarray(positions, np.int64), body) + scale - 1) // scale
    found = np.empty(len(wanted), np.int64)
    quotes, done, base, before, rest = _Quotes(dialect), 0, body // scale, _BREAK, b""
    done = int(np.searchsorted(wanted, base, "right"))
    found[:done] = base
    for chunk in chunks:
        whole = rest + chunk if rest else chunk
        rest = whole[len(whole) // scale * scale :]
        units = _units(whole, dialect)
        inside = quotes.inside
        toggles = quotes.toggles(units)
        first = 0
        while done < len(wanted) and wanted[done] <= base + len(units):
            first = _next_break(units, max(first, int(wanted[done]) - 1 - base), toggles, inside, before)
            if first < 0:
                break
            upto = int(np.searchsorted(wanted, base + first + 1, "right"))
            found[done:upto] = base + first + 1
            done = upto
        base += len(units)
        before = units[-1] if units else before
    found[done:] = base
    return found * scale


def _next_break(units: bytes, at: int, toggles: Positions, inside: bool, before: int) -> int:
    """The first line break at or behind `at` that ends a record, -1 where there is none in these units."""
    while True:
        at = units.find(b"\n", at)
        if at < 0:
            return -1
        passed = int(np.searchsorted(toggles, at))
        if (passed + inside) % 2:
            if passed == len(toggles):
                return -1
            at = int(toggles[passed])
        elif (units[at - 1] if at else before) == _BREAK:
            at += 1
        else:
            return at


def record_end(data: bytes, begin: int, dialect: Dialect) -> int | None:
    """The byte behind the record that starts at `begin`; None where its end is not in `data`."""
    if not dialect.support_multi_line:
        return _line_start(data, begin + _scale(dialect), dialect)
    units = _units(data[begin:], dialect)
    at = _next_break(units, 0, _Quotes(dialect).toggles(units), False, _BREAK)
    return None if at < 0 else begin + (at + 1) * _scale(dialect)


def row_ends(
    data: bytes, offset: int, stops: Sequence[int] | Positions, dialect: Dialect, rows: int = -1
) -> Positions:
    """For each of the sorted `stops` the number of rows in `data` that start before it.

    `data` holds whole records, from byte `offset` of the file. `rows`: how many a reader found in it, where
    one was there already: as many as lines means that no line is blank, and none is looked for.
    """
    scale = _scale(dialect)
    units = _units(data, dialect)
    limits = (np.clip(np.asarray(stops, np.int64) - offset, 0, len(data)) + scale - 1) // scale
    if not dialect.support_multi_line:
        found, lines = _line_ends(units, limits)
        if (lines == rows and b"\r" not in units) or not _has_blank_lines(units):
            return found
    starts = _row_starts(units, dialect)
    return np.searchsorted(starts, limits).astype(np.int64)


def _line_ends(units: bytes, limits: Positions) -> tuple[Positions, int]:
    """For each of the sorted `limits` the number of lines that start before it; and that of all lines."""
    breaks = np.frombuffer(units, np.uint8) == _BREAK
    unfinished = int(bool(units) and not units.endswith(b"\n"))
    if len(limits) <= _FEW:
        edges = [0, *np.maximum(limits - 1, 0).tolist(), len(breaks)]
        counts = [int(np.count_nonzero(breaks[start:stop])) for start, stop in pairwise(edges)]
        return np.cumsum(counts[:-1], dtype=np.int64) + (limits > 0), sum(counts) + unfinished
    at = np.flatnonzero(breaks)
    return (limits > 0) + np.searchsorted(at, limits - 1), len(at) + unfinished


def row_starts(data: bytes, offset: int, dialect: Dialect) -> Positions:
    """The byte of the file at which each row of `data` (whole records, from byte `offset`) starts."""
    return _row_starts(_units(data, dialect), dialect) * _scale(dialect) + offset


def _has_blank_lines(units: bytes) -> bool:
    return (
        units.startswith((b"\n", b"\r\n"))
        or has_pair(units, b"\n\n")
        or (b"\r" in units and has_pair(units, b"\n\r"))
    )


def _row_starts(units: bytes, dialect: Dialect) -> Positions:
    """Where the records that are not empty start."""
    array = np.frombuffer(units, np.uint8)
    if dialect.support_multi_line:
        breaks = _ending_breaks(units, _Quotes(dialect).toggles(units), False, _BREAK)
    else:
        breaks = np.flatnonzero(array == _BREAK)
    starts = np.concatenate([np.zeros(1, np.int64), breaks + 1])
    ends = np.concatenate([breaks, np.full(1, len(units), np.int64)])
    # the text of a record ends before its line break, which is one or two characters
    returned = np.zeros(len(ends), np.bool_)
    inner = ends[:-1] > starts[:-1]
    returned[:-1][inner] = array[ends[:-1][inner] - 1] == _RETURN
    ends = ends - returned
    empty = ends <= starts
    if dialect.support_multi_line:
        # only line breaks that stand alone are left in front: an empty line with "\r\n", or the end of the
        # text
        full = np.flatnonzero(~empty)
        empty[full] = array[ends[full] - 1] == _BREAK
        if len(full) and full[-1] == len(starts) - 1:
            empty[-1] = not units[starts[-1] :].strip(b"\n")
    return starts[~empty]


def count_breaks(data: bytes) -> int:
    """How many lines `data` has, empty ones included."""
    return count_byte(data, _BREAK) + (bool(data) and not data.endswith(b"\n"))


def count_lines(data: bytes) -> int:
    """How many lines of `data` (one byte for each character) are not empty."""
    if _has_blank_lines(data):
        return len(_row_starts(data, Dialect()))
    return count_breaks(data)


def ends_inside_quotes(data: bytes, dialect: Dialect) -> bool:
    """Whether a quote in `data` (one byte for each character, from a record's start) is never closed."""
    quotes = _Quotes(dialect)
    quotes.toggles(data)
    return quotes.inside


def has_glued_breaks(data: bytes, dialect: Dialect) -> bool:
    """Whether a line break stands alone between records of `data`, and so belongs to a field."""
    if not data.startswith(b"\n") and not has_pair(data, b"\n\n"):
        return False
    array = np.frombuffer(data, np.uint8)
    breaks = np.flatnonzero(array == _BREAK)
    toggles = _Quotes(dialect).toggles(data)
    breaks = breaks[np.searchsorted(toggles, breaks) % 2 == 0]
    previous = array[breaks - 1]
    return bool(len(breaks) and (breaks[0] == 0 or (previous == _BREAK).any()))
