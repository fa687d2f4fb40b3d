"""Reads committed rows from their parts, in mini-batch order and in pieces of a few megabytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence

from daskpar import atomic
from daskpar.atomic import PIECE_BYTES
from daskpar.errors import InfrastructureLost
from daskpar.outputs.commits import PartRanges
from daskpar.rows.part_store import PartStore, StoredPart

_OPEN_PARTS = 64
_WORTH_A_COPY = 256 << 10
"""Ranges at least this long are copied by the store, shorter ones are gathered in memory first."""


class PartReader:
    """Ranges (`Commits.part_ranges`) of the parts `part_names` in `store`, one after the other.

    Holds no more than a piece in memory, or one range where it gives ranges.
    """

    def __init__(self, ranges: Iterable[PartRanges], part_names: Sequence[str], store: PartStore) -> None:
        self._part_ranges = ranges
        self._part_names = part_names
        self._store = store
        self._open_parts: OrderedDict[int, StoredPart] = OrderedDict()

    def pieces(self) -> Iterator[bytes]:
        """All rows, a piece at a time."""
        gathered: list[bytes] = []
        size = 0
        for part, offset, length in self._each():
            while length:
                data = self._read(part, offset, min(length, PIECE_BYTES))
                gathered.append(data)
                size, offset, length = size + len(data), offset + len(data), length - len(data)
                if size >= PIECE_BYTES:
                    yield b"".join(gathered)
                    gathered, size = [], 0
        if gathered:
            yield b"".join(gathered)

    def ranges(self) -> Iterator[bytes]:
        """The rows of each range."""
        for part, offset, length in self._each():
            yield self._read_whole(part, offset, length)

    def copy_to(self, target: int) -> Iterator[int]:
        """Write all rows at the position of the descriptor `target`; yields the number of bytes after each
        piece.
        """
        gathered: list[bytes] = []
        size = 0
        for part, offset, length in self._each():
            if length < _WORTH_A_COPY:
                gathered.append(self._read_whole(part, offset, length))
                size += length
                if size < PIECE_BYTES:
                    continue
            if gathered:
                atomic.write_all(target, b"".join(gathered))
                yield size
                gathered, size = [], 0
            if length >= _WORTH_A_COPY:
                yield from self._copy(part, offset, length, target)
        if gathered:
            atomic.write_all(target, b"".join(gathered))
            yield size

    def close(self) -> None:
        """Close the parts."""
        while self._open_parts:
            self._open_parts.popitem()[1].close()

    def __enter__(self) -> PartReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _each(self) -> Iterator[tuple[int, int, int]]:
        for found in self._part_ranges:
            yield from zip(found.parts.tolist(), found.offsets.tolist(), found.lengths.tolist(), strict=True)

    def _copy(self, part: int, offset: int, length: int, target: int) -> Iterator[int]:
        stored = self._open(part)
        while length:
            copied = stored.copy_to(target, offset, min(length, 16 * PIECE_BYTES))
            if not copied:
                raise self._short(part)
            offset, length = offset + copied, length - copied
            yield copied

    def _read_whole(self, part: int, offset: int, length: int) -> bytes:
        data = self._open(part).read(offset, length)
        while len(data) < length:
            data += self._read(part, offset + len(data), length - len(data))
        return data

    def _read(self, part: int, offset: int, length: int) -> bytes:
        data = self._open(part).read(offset, length)
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

    def _short(self, part: int) -> InfrastructureLost:
        place = self._store.place_of(self._part_names[part])
        return InfrastructureLost(
            f"Committed rows are missing from the part file {place}: it is shorter than the journal says, "
            "or gone. `python -m daskpar resume` finds out which mini-batches these are and runs them again."
        )
