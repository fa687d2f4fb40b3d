"""Splits off the lines that only the careful reader reads right, so that the others can be read fast."""

from __future__ import annotations

import numpy as np

from daskpar.data.formats.dialect import Dialect
from daskpar.data.formats.record_bounds import row_starts
from daskpar.value_classes import frozen

_QUOTE, _BREAK, _RETURN = 34, 10, 13


@frozen
class CarefulLines:
    """Lines with quotes or a lone `\\r`, and the bytes of the other lines."""

    others: bytes
    rows: list[int]
    """Row number (from 0, of all lines with content) of each line apart."""
    texts: list[str]
    """The lines apart, without their ends."""
    total: int
    """How many rows there are in all."""


def split_careful_lines(data: bytes) -> CarefulLines | None:
    """Split `data` (UTF-8, whole lines, each a record).

    None where there is no such line, or so many that splitting is not worth it.
    """
    array = np.frombuffer(data, np.uint8)
    odd = np.flatnonzero(array == _QUOTE)
    if b"\r" in data:
        returns = np.flatnonzero(array == _RETURN)
        following = array[np.minimum(returns + 1, len(array) - 1)]
        odd = np.concatenate([odd, returns[following != _BREAK]])
    starts = row_starts(data, 0, Dialect())
    rows = np.unique(np.searchsorted(starts, odd, "right") - 1)
    if not len(rows) or 2 * len(rows) > len(starts):
        return None
    ends = np.append(starts[1:], len(data))  # empty lines in between do no harm
    pieces, texts, done = [], [], 0
    for start, end in zip(starts[rows].tolist(), ends[rows].tolist(), strict=True):
        pieces.append(data[done:start])
        line, found, _ = data[start:end].partition(b"\n")
        texts.append((line.removesuffix(b"\r") if found else line).decode())
        done = end
    pieces.append(data[done:])
    return CarefulLines(b"".join(pieces), rows.tolist(), texts, len(starts))
