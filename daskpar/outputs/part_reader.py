"""Reads committed rows from their parts, in mini-batch order and in pieces of a few megabytes.

Every byte is checked on its way: a flush against its checksum in the journal, as it is read to be joined. So
what is checked is what is written, whoever changes a part at whatever moment.
"""

from __future__ import annotations

import errno
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence

from daskpar import atomic
from daskpar.atomic import PIECE_BYTES
from daskpar.errors import RowsDamaged
from daskpar.outputs.commits import PartRanges
from daskpar.rows.part_store import PartStore, StoredPart

_OPEN_PARTS = 64
READ_BYTES = 128 << 10
"""What is read, checked and written at once: more would be out of the processor's cache again by the time
that it is written."""

HELD_BYTES = 8 << 20
"""Flushes that are kept while only some of their rows are wanted; one in any case."""
_Range = tuple[int, int, int, int, int, int]
"""Of a range: part, offset, length; of its flush: offset, length, CRC-32."""


class PartReader:
    """Ranges (`Commits.part_ranges`) of the parts `part_names` in `store`, one after the other.

    Holds no more than a piece in memory; or one range where it gives ranges, and a few flushes where only
    some of their rows are wanted. Raises RowsDamaged once it comes to a flush that is not what was written,
    when some of its rows may have been given: what was made of them is to be thrown away.
    """

    def __init__(self, ranges: Iterable[PartRanges], part_names: Sequence[str], store: PartStore) -> None:
        self._part_ranges = ranges
        self._part_names = part_names
        self._store = store
        self._open_parts: OrderedDict[int, StoredPart] = OrderedDict()
        self._held: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        """Part and offset of flushes that were checked, and their rows: where many calls are in flight, the
        rows of a few flushes alternate.
        """
        self._held_bytes = 0

    def pieces(self) -> Iterator[bytes]:
        """All rows, a piece at a time."""
        return self._gathered(PIECE_BYTES)

    def ranges(self) -> Iterator[bytes]:
        """The rows of each range."""
        for found in self._each():
            yield b"".join(self._checked(found))

    def copy_to(self, target: int) -> Iterator[int]:
        """Write all rows at the position of the descriptor `target`; yields the number of bytes after each
        piece.
        """
        for data in self._gathered(READ_BYTES):
            atomic.write_all(target, data)
            yield len(data)

    def close(self) -> None:
        """Close the parts."""
        while self._open_parts:
            self._open_parts.popitem()[1].close()

    def __enter__(self) -> PartReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _gathered(self, least: int) -> Iterator[bytes]:
        gathered: list[bytes] = []
        size = 0
        for found in self._each():
            for data in self._checked(found):
                gathered.append(data)
                size += len(data)
                if size >= least:
                    yield b"".join(gathered)
                    gathered, size = [], 0
        if gathered:
            yield b"".join(gathered)

    def _each(self) -> Iterator[_Range]:
        for found in self._part_ranges:
            flushes = found.flushes
            columns = (found.parts, found.offsets, found.lengths)
            of_flush = (flushes[name] for name in ("offset", "length", "crc"))
            yield from zip(*(column.tolist() for column in (*columns, *of_flush)), strict=True)

    def _checked(self, found: _Range) -> Iterator[bytes]:
        """The rows of a range; the last of them only once all of its flush was found to be as written."""
        part, offset, length, flush_offset, flush_length, crc = found
        if length == flush_length and offset == flush_offset:
            yield from self._flush(part, offset, length, crc)
            return
        if not flush_offset <= offset <= offset + length <= flush_offset + flush_length:
            raise self._damaged(part, offset)
        rows = self._held.get((part, flush_offset))
        if rows is None:
            rows = b"".join(self._flush(part, flush_offset, flush_length, crc))
            self._hold((part, flush_offset), rows)
        first = offset - flush_offset
        for at in range(first, first + length, READ_BYTES):
            yield rows[at : min(at + READ_BYTES, first + length)]

    def _hold(self, flush: tuple[int, int], rows: bytes) -> None:
        """Keep a flush for the ranges to come, in the place of the oldest ones where these are too many."""
        self._held[flush] = rows
        self._held_bytes += len(rows)
        while self._held_bytes > HELD_BYTES and len(self._held) > 1:
            self._held_bytes -= len(self._held.popitem(last=False)[1])

    def _flush(self, part: int, offset: int, length: int, crc: int) -> Iterator[bytes]:
        begin, found = offset, 0
        while True:
            data = self._read(part, offset, min(length, READ_BYTES))
            found = zlib.crc32(data, found)
            offset, length = offset + len(data), length - len(data)
            if length:
                yield data
                continue
            if found != crc:
                raise self._damaged(part, begin)
            yield data
            return

    def _read(self, part: int, offset: int, length: int) -> bytes:
        try:
            data = self._open(part).read(offset, length)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            raise self._damaged(part, offset) from error  # a bad sector
        if not data:
            raise self._short(part)
        return data

    def _open(self, part: int) -> StoredPart:
        stored = self._open_parts.pop(part, None)
        if stored is None:
            # A step may have more parts than a process may have open files: the one unused for longest goes.
            if len(self._open_parts) >= _OPEN_PARTS:
                self._open_parts.popitem(last=False)[1].close()
            try:
                stored = self._store.open(self._part_names[part])
            except FileNotFoundError as error:
                raise self._short(part) from error
        self._open_parts[part] = stored
        return stored

    def _short(self, part: int) -> RowsDamaged:
        place = self._store.place_of(self._part_names[part])
        return RowsDamaged(
            f"Committed rows are missing from the part file {place}: it is shorter than the journal says, "
            "or gone. `python -m daskpar resume` finds out which mini-batches these are and runs them again."
        )

    def _damaged(self, part: int, offset: int) -> RowsDamaged:
        place = self._store.place_of(self._part_names[part])
        return RowsDamaged(
            f"Committed rows in the part file {place} are not those that were written there (by their "
            f"checksum, from byte {offset} on): a script or another process has changed the file, or the "
            "disk is bad."
        )
