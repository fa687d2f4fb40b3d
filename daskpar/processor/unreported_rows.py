"""Rows that a processor has put in its part and not reported yet: one range of bytes."""

from __future__ import annotations

import zlib
from typing import NamedTuple

from daskpar.rows.part_store import PartWriter


class WrittenRange(NamedTuple):
    """Rows of some mini-batches in a part, one after the other."""

    part: str
    """Name of the part; empty where there are no rows."""
    offset: int
    length: int
    """Bytes of all rows."""
    crc: int
    """CRC-32 of them."""
    carried: bytes
    """As `Written.carried`."""
    lengths: list[int]
    """Bytes of each mini-batch that has rows, which may be none."""


NOTHING = WrittenRange("", 0, 0, 0, b"", [])


class UnreportedRows:
    """What was put in the part of one processor since its last report."""

    def __init__(self, part: PartWriter) -> None:
        self._part = part
        self._range = NOTHING

    @property
    def length(self) -> int:
        """Bytes of them."""
        return self._range.length

    def put(self, text: bytes | memoryview, lengths: list[int]) -> WrittenRange | None:
        """Append the rows of further mini-batches. OSError where the part can't take them; those before stay.

        Returns the rows of before where the new ones do not lie right behind them, for the script has changed
        the file: they are to be reported apart, and are taken out.
        """
        before = self._range
        if not text:
            self._range = before._replace(lengths=before.lengths + lengths)
            return None
        offset, crc, carried = self._part.append(text, before.crc)
        if self._part.name == before.part and offset == before.offset + before.length:
            self._range = WrittenRange(
                before.part,
                before.offset,
                before.length + len(text),
                crc,
                before.carried + carried,
                before.lengths + lengths,
            )
            return None
        if not before.length:  # those before have no rows
            self._range = WrittenRange(
                self._part.name, offset, len(text), crc, carried, before.lengths + lengths
            )
            return None
        self._range = WrittenRange(self._part.name, offset, len(text), zlib.crc32(text), carried, lengths)
        return before

    def take(self) -> WrittenRange:
        """What was put since the last call."""
        found, self._range = self._range, NOTHING
        return found
