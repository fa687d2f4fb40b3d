"""Finds committed rows that are gone from their parts, or are not what was written there.

Disks fail, a power cut takes what was not synced, and scripts write where they should not.
"""

from __future__ import annotations

import errno
import zlib
from collections.abc import Sequence

import numpy as np

from daskpar import atomic
from daskpar.outputs.commits import Commits
from daskpar.outputs.journal_reader import JournalContents
from daskpar.outputs.part_reader import READ_BYTES
from daskpar.rows.part_store import PartStore, StoredPart
from daskpar.rundir.boot import same_boot
from daskpar.value_classes import frozen

REPAIR_ROUNDS = 3
"""How often damaged rows are looked for and run again, before what damages them has to be mended first."""


@frozen
class Damage:
    """What of the committed rows is not as it was written."""

    ranges: list[tuple[int, int]]
    """[start, stop) of the mini-batches."""
    places: tuple[str, ...] = ()
    """The parts they were in."""

    @property
    def count(self) -> int:
        """Mini-batches."""
        return sum(stop - start for start, stop in self.ranges)


def lost_ranges(contents: JournalContents, commits: Commits, store: PartStore) -> list[tuple[int, int]]:
    """Ranges [start, stop) of committed mini-batches whose rows are not in the store any more; `commits` is
    just loaded from `contents`.

    By length of the part; where the machine has booted since, or the journal is damaged, by the checksum of
    each flush. All checksums are compared when the rows are joined. Raises InfrastructureLost where the disk
    does not answer.
    """
    # Reading all rows twice takes long, so only where a power cut or a bad disk may have changed many.
    first = _first_doubtful_session(contents)
    numbers = commits.flushes_in_force()
    doubtful = numbers[contents.sessions[numbers - 1] >= first]
    return commits.rows_of_flushes(_bad(commits, store, numbers, doubtful))


def damage(commits: Commits, store: PartStore) -> Damage:
    """Compare all committed rows with their checksums; reads all of them.

    Raises InfrastructureLost where the disk does not answer.
    """
    numbers = commits.flushes_in_force()
    found = _bad(commits, store, numbers, numbers)
    parts = np.unique(commits.flushes["part"][found]).tolist()
    return Damage(
        commits.rows_of_flushes(found), tuple(store.place_of(commits.part_names[part]) for part in parts)
    )


def damage_in_words(found: Damage) -> str:
    """A sentence on rows that are to be run again."""
    shown = ", ".join(f"{a}" if b == a + 1 else f"{a}-{b - 1}" for a, b in found.ranges[:5])
    more = ", ..." if len(found.ranges) > 5 else ""
    places = ", ".join(found.places[:3]) + (", ..." if len(found.places) > 3 else "")
    return (
        f"The rows of {found.count} committed mini-batches ({shown}{more}) are not what was written (by "
        f"their checksums): the script or another process has changed {places}, or the disk is bad"
    )


def _bad(commits: Commits, store: PartStore, numbers: np.ndarray, doubtful: np.ndarray) -> np.ndarray:
    """Which of the flushes `numbers` are not whole; the `doubtful` ones of them are read."""
    with atomic.explained("Committed rows can't be read"):
        short = numbers[_too_short(commits, store, numbers)]
        return np.union1d(short, _wrong(commits, store, np.setdiff1d(doubtful, short)))


def _too_short(commits: Commits, store: PartStore, numbers: np.ndarray) -> np.ndarray:
    """Which of these flushes end behind the end of their parts."""
    flushes = commits.flushes[numbers]
    parts, inverse = np.unique(flushes["part"], return_inverse=True)
    names: Sequence[str] = [commits.part_names[part] for part in parts.tolist()]
    sizes = np.array([store.size(name) for name in names], np.int64)
    short: np.ndarray = flushes["offset"] + flushes["length"] > sizes[inverse]
    return short


def _first_doubtful_session(contents: JournalContents) -> int:
    boots = contents.boots
    if contents.damaged:
        return 0  # a disk that spoils the journal may have spoiled rows too
    if same_boot(boots[-1]):
        return len(boots)
    # The first session of this boot has checked all flushes before it.
    first = len(boots) - 1
    while first and boots[first - 1] == boots[-1]:
        first -= 1
    return first


def _wrong(commits: Commits, store: PartStore, numbers: np.ndarray) -> np.ndarray:
    """Those of the flushes whose rows are not those that were written; parts are read from start to end."""
    flushes = commits.flushes
    order = numbers[np.lexsort((flushes["offset"][numbers], flushes["part"][numbers]))]
    wrong = []
    current, stored = -1, None
    try:
        for number in order.tolist():
            part, offset, length, crc = flushes[number].tolist()
            if part != current:
                if stored is not None:
                    stored.close()
                current, stored = part, _open(store, commits.part_names[part])
            if stored is None or _checksum(stored, offset, length) != crc:
                wrong.append(number)
    finally:
        if stored is not None:
            stored.close()
    return np.array(wrong, np.int64)


def _open(store: PartStore, name: str) -> StoredPart | None:
    try:
        return store.open(name)
    except FileNotFoundError:
        return None


def _checksum(stored: StoredPart, offset: int, length: int) -> int | None:
    crc = 0
    while length:
        try:
            data = stored.read(offset, min(length, READ_BYTES))
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return None  # a bad sector
        if not data:
            return None
        crc = zlib.crc32(data, crc)
        offset += len(data)
        length -= len(data)
    return crc
