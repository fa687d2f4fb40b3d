"""Which mini-batches of a step are done and where their rows lie: pure state, good for ten million."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from daskpar.outputs.journal_reader import JournalContents
from daskpar.results import Counts, TryStatus
from daskpar.value_classes import frozen

REOPENED = 4
"""Status of a mini-batch that failed and is to be run again; its rows count until new ones replace them.
"""
_FINAL = 3
"""`status & _FINAL` is not 0 for final outcomes, and 0 for what is still to be run."""
_CHUNK = 1 << 20


@frozen(kw_only=True)
class PartRanges:
    """Ranges of bytes of parts; one after the other they are the rows of some mini-batches in order."""

    parts: np.ndarray
    """Number of the part (`Commits.part_names`) that each range lies in."""
    offsets: np.ndarray
    lengths: np.ndarray
    flushes: np.ndarray
    """`FLUSHED` of the flush that each range was written by: the range, or more than it."""


FLUSHED = np.dtype([("part", "i4"), ("offset", "i8"), ("length", "i8"), ("crc", "u4")])
"""Where the rows of one flush lie, and their CRC-32: they are checked as a whole. Part -1: its name is not
known."""


class _FlushTable:
    """`FLUSHED` of every flush with rows, by number; 0 is none."""

    def __init__(self) -> None:
        self._values = np.zeros(1, FLUSHED)
        self._size = 1

    @property
    def values(self) -> np.ndarray:
        return self._values[: self._size]

    def add(self, part: int, offset: int, length: int, crc: int) -> int:
        """The number of the new one."""
        number = self._size
        if number == len(self._values):
            self._values = np.concatenate((self._values, np.zeros(max(64, number), FLUSHED)))
        self._values[number] = (part, offset, length, crc)
        self._size += 1
        return number

    def extend(self, more: np.ndarray) -> None:
        self._values = np.concatenate((self.values, more))
        self._size = len(self._values)


class Commits:
    """The final outcome of each of `count` mini-batches. Decides what is accepted; touches no file."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.status = np.zeros(count, np.uint8)
        """`TryStatus`, 0 where nothing is known, or REOPENED."""
        self.part_names: list[str] = [""]
        self._numbers: dict[str, int] = {"": 0}
        # Zeros that are never touched take no memory: a step without rows costs 5 bytes for each mini-batch.
        self._flush = np.zeros(count, np.int32)
        self._flushes = _FlushTable()
        self._offset = np.zeros(count, np.int64)
        self._length = np.zeros(count, np.int64)
        self._items = np.zeros(count, np.uint32)
        self._failed_items = np.zeros(count, np.int64)
        self._done = np.zeros(4, np.int64)
        self._sums = {"items": 0, "failed_items": 0}
        self._tries_failed = self._retried = 0
        self.size_bytes = 0
        """Length of all committed rows."""

    # -- what is known --

    def missing(self) -> list[tuple[int, int]]:
        """Ranges [start, stop) without a final outcome, in order."""
        return _ranges((self.status & _FINAL) == 0)

    def failed(self) -> list[tuple[int, int]]:
        """Ranges [start, stop) whose final outcome is a failure, in order."""
        return _ranges(self.status == TryStatus.FAILED)

    def with_failed_items(self) -> list[int]:
        """Mini-batches that have failed, or of which some items have failed alone, in order."""
        found: list[int] = np.flatnonzero(
            (self.status == TryStatus.FAILED) | (self.status == REOPENED) | (self._failed_items > 0)
        ).tolist()
        return found

    def items_between(self, start: int, stop: int) -> int | None:
        """Items of the mini-batches [start, stop); None where one of them has no outcome."""
        if not ((self.status[start:stop] & _FINAL) != 0).all():
            return None
        return int(self._items[start:stop].sum(dtype=np.int64))

    def with_rows(self) -> list[tuple[int, int]]:
        """Ranges [start, stop) that have rows, in order."""
        return _ranges(self._length > 0)

    def is_final(self, index: int) -> bool:
        """Whether this mini-batch has its outcome."""
        return bool(self.status[index] & _FINAL)

    @property
    def complete(self) -> bool:
        """Whether every mini-batch has its outcome."""
        return int(self._done[1:].sum()) == self.count

    def counts(self) -> Counts:
        """The step's counts as of now."""
        return Counts(
            planned=self.count,
            succeeded=int(self._done[TryStatus.SUCCEEDED]),
            failed=int(self._done[TryStatus.FAILED]),
            empty=int(self._done[TryStatus.EMPTY]),
            items=self._sums["items"],
            failed_items=self._sums["failed_items"],
            tries_failed=self._tries_failed,
            retried=self._retried,
        )

    @property
    def flushes(self) -> np.ndarray:
        """`FLUSHED` of each flush that had rows, by its number; 0 is none. Those of a journal that this was
        loaded from are 1, 2, ... in its order.
        """
        return self._flushes.values

    def flushes_in_force(self) -> np.ndarray:
        """Numbers, ascending, of the flushes that some committed rows lie in."""
        used = np.zeros(len(self.flushes), bool)
        used[self._flush[self._length > 0]] = True
        used[0] = False
        return np.flatnonzero(used)

    def rows_of_flushes(self, numbers: np.ndarray) -> list[tuple[int, int]]:
        """Ranges [start, stop) of the mini-batches whose committed rows lie in these flushes."""
        chosen = np.zeros(len(self.flushes), bool)
        chosen[numbers] = True
        return _ranges(chosen[self._flush] & (self._length > 0))

    def whole_flushes(self, start: int, stop: int) -> int:
        """The last place up to `stop` at which no flush is cut in two, or `stop` where [start, stop) lies
        within one: a flush is checked as a whole, and read again for each of its pieces.
        """
        if not start < stop < self.count or not self._length[stop]:
            return stop
        within = (self._flush[start:stop] == self._flush[stop]) & (self._length[start:stop] > 0)
        first = start + int(np.argmax(within)) if within.any() else stop
        return first if first > start else stop

    def final_until(self, start: int, most_bytes: int) -> int:
        """Where the mini-batches from `start` on that have their final outcome end; fewer where their rows
        have more than `most_bytes` together (but one at least), or where there are more than a million."""
        waiting = np.flatnonzero((self.status[start : start + _CHUNK] & _FINAL) == 0)
        stop = start + int(waiting[0]) if len(waiting) else min(start + _CHUNK, self.count)
        fitting = int(np.searchsorted(np.cumsum(self._length[start:stop]), most_bytes, "right"))
        return min(stop, start + max(1, fitting))

    def part_ranges(
        self, first: int = 0, last: int | None = None, *, merged: bool = True
    ) -> Iterator[PartRanges]:
        """The committed rows of the mini-batches [first, last) (all) in their order, a million mini-batches
        at a time.

        `merged`: rows that follow each other in a flush too are one range; else each mini-batch is one.
        """
        last = self.count if last is None else last
        for start in range(first, last, _CHUNK):
            chosen = start + np.flatnonzero(self._length[start : min(start + _CHUNK, last)])
            if len(chosen):
                flush, offset, length = self._flush[chosen], self._offset[chosen], self._length[chosen]
                if merged:
                    flush, offset, length = _merged(flush, offset, length)
                flushes = self.flushes[flush]
                yield PartRanges(parts=flushes["part"], offsets=offset, lengths=length, flushes=flushes)

    # -- what changes --

    def acceptable(self, records: np.ndarray) -> np.ndarray:
        """Which records may count: those of mini-batches of this plan without a final outcome, one final
        record each.
        """
        index = records["index"]
        good = (index >= 0) & (index < self.count)
        if not good.all():
            good[good] = (self.status[index[good]] & _FINAL) == 0
        else:
            good = (self.status[index] & _FINAL) == 0
        final = np.flatnonzero(good & (records["final"] != 0))
        # Nearly always ascending; else the first of several final records of one mini-batch counts.
        if len(final) > 1 and not (np.diff(index[final]) > 0).all():
            first = np.zeros(len(final), bool)
            first[np.unique(index[final], return_index=True)[1]] = True
            good[final[~first]] = False
        return good

    def apply(
        self, records: np.ndarray, part: str = "", offset: int = 0, length: int = 0, crc: int = 0
    ) -> np.ndarray:
        """Take the records of one flush, whose rows are the bytes of `part` at `offset`; returns which were
        accepted. A committed mini-batch is never committed twice.
        """
        accepted = self.acceptable(records)
        taken = records if accepted.all() else records[accepted]
        self._count_tries(taken)
        final = taken if taken["final"].all() else taken[taken["final"] != 0]
        if len(final):
            self._replace(final["index"])
            self._put(final, self._flushes.add(self._number(part), offset, length, crc) if part else 0)
            self._done += np.bincount(final["status"], minlength=4)[:4]
            self._sums["items"] += int(final["items"].sum())
            self._sums["failed_items"] += int(final["failed_items"].sum())
            self.size_bytes += int(final["length"].sum())
        return accepted

    def reopen_failed(self) -> int:
        """Run the failed ones again, and those of which some items failed alone: they are missing from now
        on, and their rows stay until replaced. Returns how many.
        """
        chosen = np.flatnonzero(
            (self.status == TryStatus.FAILED)
            | ((self.status == TryStatus.SUCCEEDED) & (self._failed_items > 0))
        )
        self._uncount(chosen)
        self.status[chosen] = REOPENED
        return len(chosen)

    def revoke(self, ranges: np.ndarray | list[tuple[int, int]]) -> None:
        """The rows of [start, stop) are gone: as if never committed."""
        for start, stop in np.asarray(ranges, np.int64).reshape(-1, 2).tolist():
            chosen = start + np.flatnonzero(self.status[start:stop])
            self._uncount(chosen[(self.status[chosen] & _FINAL) != 0])
            self._clear(chosen)

    @classmethod
    def load(cls, count: int, contents: JournalContents) -> Commits:
        """The state that a journal describes; the last final record of a mini-batch holds (a journal has
        accepted ones only).
        """
        commits = cls(count)
        ranks = {number: commits._number(name) for number, name in contents.parts.items()}
        ranks[0] = 0
        known = np.zeros(len(contents.flushes), FLUSHED)
        numbers, inverse = np.unique(contents.flushes["part"], return_inverse=True)
        known["part"] = np.array([ranks.get(number, -1) for number in numbers.tolist()], np.int32)[inverse]
        for name in ("offset", "length", "crc"):
            known[name] = contents.flushes[name]
        commits._flushes.extend(known)
        first = 0
        for stop, ranges in (*contents.revoked, (len(contents.flushes), np.empty((0, 2), np.int64))):
            for begin, end, records in contents.batches(first, stop):
                of_each = contents.flushes["records"][begin:end]
                commits._load(records, np.repeat(np.arange(begin + 1, end + 1, dtype=np.int32), of_each))
            commits._forget(ranges)
            first = stop
        commits._recount()
        return commits

    def count_pieces(self, pieces: Iterable[tuple[int, bool, bool]]) -> None:
        """Count failed tries of divided mini-batches: (mini-batch, whether of all, whether divided then)."""
        for index, whole, divided in pieces:
            # The last try of one that failed as a whole in the end is counted with its outcome.
            self._tries_failed += not (whole and self.status[index] == TryStatus.FAILED)
            self._retried += divided

    def _load(self, records: np.ndarray, flush: np.ndarray) -> None:
        index = records["index"]
        good = (index >= 0) & (index < self.count) & (self.flushes["part"][flush] >= 0)
        self._count_tries(records)
        good &= records["final"] != 0
        self._put(records[good], flush[good])

    def _forget(self, ranges: np.ndarray) -> None:
        for start, stop in ranges.tolist():
            self._clear(slice(max(start, 0), max(stop, 0)))

    def _recount(self) -> None:
        self._done = np.bincount(self.status, minlength=4)[:4].astype(np.int64)
        self._sums = {
            "items": int(self._items.sum(dtype=np.int64)),
            "failed_items": int(self._failed_items.sum()),
        }
        self.size_bytes = int(self._length.sum())

    def _count_tries(self, records: np.ndarray) -> None:
        failed = records["status"] == TryStatus.FAILED
        tries = int(np.count_nonzero(failed))
        if tries:
            self._tries_failed += tries
            self._retried += tries - int(np.count_nonzero(records["final"][failed]))

    def _put(self, final: np.ndarray, flush: int | np.ndarray) -> None:
        index = final["index"]
        self.status[index] = final["status"]
        self._items[index] = final["items"]
        if np.any(final["failed_items"]) or np.any(self._failed_items[index]):
            self._failed_items[index] = final["failed_items"]
        if np.any(final["length"]) or np.any(self._length[index]):
            self._length[index] = final["length"]
            self._offset[index] = final["offset"]
            self._flush[index] = flush

    def _replace(self, index: np.ndarray) -> None:
        """Take the rows of reopened mini-batches away before new ones come."""
        if not self.status[index].any():
            return
        old = index[self.status[index] == REOPENED]
        self.size_bytes -= int(self._length[old].sum())

    def _uncount(self, index: np.ndarray) -> None:
        self._done -= np.bincount(self.status[index], minlength=4)[:4]
        self._sums["items"] -= int(self._items[index].sum(dtype=np.int64))
        self._sums["failed_items"] -= int(self._failed_items[index].sum())

    def _clear(self, index: np.ndarray | slice) -> None:
        self.size_bytes -= int(self._length[index].sum())
        for array in (self.status, self._items, self._failed_items, self._length, self._offset, self._flush):
            array[index] = 0

    def _number(self, part: str) -> int:
        number = self._numbers.get(part)
        if number is None:
            number = self._numbers[part] = len(self.part_names)
            self.part_names.append(part)
        return number


def _ranges(chosen: np.ndarray) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate(([False], chosen, [False])).astype(np.int8)))
    return [(start, stop) for start, stop in edges.reshape(-1, 2).tolist()]


def _merged(
    flush: np.ndarray, offset: np.ndarray, length: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    joins = (flush[1:] == flush[:-1]) & (offset[1:] == offset[:-1] + length[:-1])
    firsts = np.concatenate(([0], np.flatnonzero(~joins) + 1))
    return flush[firsts], offset[firsts], np.add.reduceat(length, firsts)
