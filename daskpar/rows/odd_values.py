"""Returned values whose text is not what a user takes it for: counted; Azure ML writes the same text."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

from daskpar.data.notices import (
    RETURNED_ARRAYS,
    RETURNED_BREAKS,
    RETURNED_BYTES,
    LossCounter,
    LostValues,
    shortened,
)

PLAIN_TYPES = frozenset({str, int, float, bool, type(None)})
"""Elements of these types need no look."""
NAMES_LENGTH = 200
"""Characters of a list of column names that a message shows."""
_DIGITS = 8
"""Digits that numpy shows of a number in an array."""
_SHOWN_ELEMENTS = 1000
"""Elements of an array that numpy shows."""


def count_odd_values(values: Iterable[Any], losses: LossCounter) -> None:
    """Count bytes, and arrays that lose digits or elements in their text."""
    for value in values:
        kind = type(value)
        if kind in PLAIN_TYPES:
            continue
        if issubclass(kind, bytes | bytearray | memoryview):
            losses.add("", RETURNED_BYTES, LostValues(1, shortened(str(value))))
        elif _loses_digits(value):
            losses.add("", RETURNED_ARRAYS, LostValues(1, shortened(str(value))))


def count_breaks(text: str, elements: Sequence[Any], losses: LossCounter) -> None:
    """Count the line breaks inside elements, whose texts joined are `text`."""
    breaks = text.count("\n") - len(elements) + 1
    if "\r" in text:
        breaks += text.count("\r") - text.count("\r\n")
    if breaks:
        example = next(shown for shown in map(str, elements) if "\n" in shown or "\r" in shown)
        losses.add("", RETURNED_BREAKS, LostValues(breaks, shortened(example)))


def count_breaks_of_rows(text: bytes, rows: int, losses: LossCounter) -> None:
    """Count the line breaks inside rows of DataFrames, which their text has in quotes alone."""
    if b'"' not in text:
        return
    from daskpar.data.formats.byte_scan import count_byte  # brings numpy, which frames have brought

    if breaks := count_byte(text, 10) - rows:
        inside = text.split(b'"')[1::2]
        example = next((field for field in inside if b"\n" in field), b"")
        losses.add("", RETURNED_BREAKS, LostValues(breaks, shortened(example.decode("utf-8", "replace"))))


def count_odd_columns(frame: Any, losses: LossCounter) -> None:
    """The same of the columns of a DataFrame that hold objects."""
    for number in range(frame.shape[1]):
        column = frame.iloc[:, number]
        if column.dtype == object:
            count_odd_values(column, losses)


def names_text(names: tuple[Any, ...]) -> str:
    """A list of column names in a message: short, and another one for each list."""
    text = ", ".join(map(str, names))
    if len(text) <= NAMES_LENGTH:
        return text
    mark = zlib.crc32(text.encode("utf-8", "surrogateescape"))
    return f"{text[:NAMES_LENGTH]}… ({len(names)} columns, {mark:08x})"


def _loses_digits(value: Any) -> bool:
    """Whether the text of a value says less than the value: arrays and tensors, alone or in a container."""
    if isinstance(value, list | tuple):
        return any(_shows_type(inner) for inner in value)
    if isinstance(value, dict):
        return any(_shows_type(inner) for inner in value.values())
    if not hasattr(type(value), "__array__"):
        return False
    numpy = sys.modules.get("numpy")
    if numpy is None or isinstance(value, numpy.generic):
        return False
    if not isinstance(value, numpy.ndarray):
        return type(value).__module__.partition(".")[0] != "pandas" or getattr(value, "ndim", 0) > 0
    if value.size > _SHOWN_ELEMENTS:
        return True
    if value.dtype.kind not in "fc":
        return False
    known = value[~numpy.isnan(value)]
    return bool((known.round(_DIGITS) != known).any())


def _shows_type(value: Any) -> bool:
    """Whether a container shows a value otherwise than its own text: `np.float64(0.5)`, `array([…])`."""
    return type(value) not in PLAIN_TYPES and hasattr(type(value), "__array__")
