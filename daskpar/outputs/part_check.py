"""Finds committed rows that are gone from their parts: parts are not synced, and a power cut may come."""

from __future__ import annotations

import zlib

import numpy as np

from daskpar.atomic import PIECE_BYTES
from daskpar.outputs.commits import Commits
from daskpar.outputs.journal_reader import JournalContents
from daskpar.rows.part_store import PartStore, StoredPart
from daskpar.rundir.boot import same_boot


def lost_ranges(contents: JournalContents, commits: Commits, store: PartStore) -> list[tuple[int, int]]:
    """Ranges [start, stop) of committed mini-batches whose rows are not in the store any more.

    By length of the part; where the machine has booted since, or the journal is damaged, by the checksum
    of each flush.
    """
    lost = np.zeros(commits.count, bool)
    for i in _bad_flushes(contents, store).tolist():
        records = contents.records(i, i + 1)
        records = records[(records["index"] >= 0) & (records["index"] < commits.count)]
        name = contents.parts.get(int(contents.flushes["part"][i]), "")
        lost[records["index"][commits.in_force(records, name)]] = True
    edges = np.flatnonzero(np.diff(np.concatenate(([False], lost, [False])).astype(np.int8)))
    return [(start, stop) for start, stop in edges.reshape(-1, 2).tolist()]


def _bad_flushes(contents: JournalContents, store: PartStore) -> np.ndarray:
    flushes = contents.flushes
    numbers, inverse = np.unique(flushes["part"], return_inverse=True)
    names = [contents.parts.get(number, "") for number in numbers.tolist()]
    sizes = np.array([store.size(name) if name else 0 for name in names], np.int64)
    with_rows = flushes["length"] > 0
    bad = with_rows & (flushes["offset"] + flushes["length"] > sizes[inverse]) if len(flushes) else with_rows
    # Reading all rows again takes long, so only where a power cut or a bad disk may have changed them.
    doubtful = np.flatnonzero(with_rows & ~bad & (contents.sessions >= _first_doubtful_session(contents)))
    order = doubtful[np.lexsort((flushes["offset"][doubtful], flushes["part"][doubtful]))]
    bad[_wrong_checksums(contents, store, order)] = True
    return np.flatnonzero(bad)


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


def _wrong_checksums(contents: JournalContents, store: PartStore, order: np.ndarray) -> np.ndarray:
    """Those of the flushes `order` (sorted by part) whose rows are not those that were written."""
    wrong = []
    number, stored = 0, None
    try:
        for i in order.tolist():
            part, offset, length, crc = (
                int(contents.flushes[name][i]) for name in ("part", "offset", "length", "crc")
            )
            if stored is None or part != number:
                if stored is not None:
                    stored.close()
                    stored = None
                number, stored = part, store.open(contents.parts[part])
            if _checksum(stored, offset, length) != crc:
                wrong.append(i)
    finally:
        if stored is not None:
            stored.close()
    return np.array(wrong, np.int64)


def _checksum(stored: StoredPart, offset: int, length: int) -> int | None:
    crc = 0
    while length:
        data = stored.read(offset, min(length, PIECE_BYTES))
        if not data:
            return None
        crc = zlib.crc32(data, crc)
        offset += len(data)
        length -= len(data)
    return crc
