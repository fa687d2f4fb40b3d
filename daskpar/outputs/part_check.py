"""Which committed rows are really there: part files are not synced, so a power cut may have taken what the
journal tells of.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import numpy as np

from daskpar.atomic import PIECE_BYTES
from daskpar.outputs.commits import Commits
from daskpar.outputs.journal_reader import JournalContents
from daskpar.rundir.boot import same_boot


def lost_ranges(contents: JournalContents, commits: Commits, parts: Path) -> list[tuple[int, int]]:
    """Ranges [start, stop) of committed mini-batches whose rows are not in the part files any more.

    By length of the part file; where the machine has booted since, or the journal is damaged, by the checksum
    of each flush.
    """
    lost = np.zeros(commits.count, bool)
    for i in _bad_flushes(contents, parts).tolist():
        records = contents.records(i, i + 1)
        records = records[(records["index"] >= 0) & (records["index"] < commits.count)]
        name = contents.parts.get(int(contents.flushes["part"][i]), "")
        lost[records["index"][commits.in_force(records, name)]] = True
    edges = np.flatnonzero(np.diff(np.concatenate(([False], lost, [False])).astype(np.int8)))
    return [(start, stop) for start, stop in edges.reshape(-1, 2).tolist()]


def _bad_flushes(contents: JournalContents, parts: Path) -> np.ndarray:
    flushes = contents.flushes
    numbers, inverse = np.unique(flushes["part"], return_inverse=True)
    sizes = np.array([_size(parts, contents.parts.get(number, "")) for number in numbers.tolist()], np.int64)
    with_rows = flushes["length"] > 0
    bad = with_rows & (flushes["offset"] + flushes["length"] > sizes[inverse]) if len(flushes) else with_rows
    doubtful = np.flatnonzero(with_rows & ~bad & (contents.sessions >= _first_doubtful_session(contents)))
    order = doubtful[np.lexsort((flushes["offset"][doubtful], flushes["part"][doubtful]))]
    bad[_wrong_checksums(contents, parts, order)] = True
    return np.flatnonzero(bad)


def _size(parts: Path, name: str) -> int:
    try:
        return os.stat(parts / name).st_size if name else 0
    except FileNotFoundError:
        return 0


def _first_doubtful_session(contents: JournalContents) -> int:
    """Sessions before it were checked when the first one of a later boot began."""
    boots = contents.boots
    if contents.damaged:
        return 0
    if same_boot(boots[-1]):
        return len(boots)
    first = len(boots) - 1
    while first and boots[first - 1] == boots[-1]:
        first -= 1
    return first


def _wrong_checksums(contents: JournalContents, parts: Path, order: np.ndarray) -> np.ndarray:
    wrong = []
    opened, fd = 0, -1
    try:
        for i in order.tolist():
            part, offset, length, crc = (
                int(contents.flushes[name][i]) for name in ("part", "offset", "length", "crc")
            )
            if part != opened:
                if fd >= 0:
                    os.close(fd)
                opened, fd = part, os.open(parts / contents.parts[part], os.O_RDONLY | os.O_CLOEXEC)
            if _checksum(fd, offset, length) != crc:
                wrong.append(i)
    finally:
        if fd >= 0:
            os.close(fd)
    return np.array(wrong, np.int64)


def _checksum(fd: int, offset: int, length: int) -> int | None:
    crc = 0
    while length:
        data = os.pread(fd, min(length, PIECE_BYTES), offset)
        if not data:
            return None
        crc = zlib.crc32(data, crc)
        offset += len(data)
        length -= len(data)
    return crc
