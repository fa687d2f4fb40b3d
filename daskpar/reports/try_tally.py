"""Adds up the tries of one step, however many, into what a page can draw: all of it stays small.

A bulk costs an append. The adding is done when many have come, or when somebody looks.
"""

from __future__ import annotations

import numpy as np

from daskpar.batches.records import RECORD, unpack
from daskpar.reports.job_report import ProcessorTotals
from daskpar.reports.record_columns import processors
from daskpar.results import Reason, TryStatus
from daskpar.value_classes import frozen

WAITING_RECORDS = 20_000
"""Tries that wait before they are added up: what a bulk costs is then shared by many."""
PARTS_OF_A_DECADE = 6
FIRST_DECADE, LAST_DECADE = -5, 6
"""Run times from 10 µs to eleven days; what is beyond goes into the first or last bar."""
BARS = (LAST_DECADE - FIRST_DECADE) * PARTS_OF_A_DECADE
SLOWEST = 10
SPANS = 1_500
"""Tries that a timeline draws one by one; of more it draws how busy each processor was."""
SLOTS = 240
"""Columns of such a timeline; when they are used up, each takes twice the time."""
TIMELINE_ROWS = 64
"""Processors of a timeline: the first ones that have done something."""
KEPT_TRIES = 20_000
"""Tries that are kept one by one for the table of a report."""
KEPT_FAILED = 10_000
"""Failed tries that are kept beyond those."""

OUTCOMES = ("done", "failed", "hung")
"""Of a try: `hung` is one that was killed for its time."""


@frozen
class BusyTable:
    """How busy each processor was: of each column, the share of time in each outcome."""

    start: float
    """Seconds since the epoch."""
    width: float
    """Seconds of a column."""
    rows: list[tuple[int, int]]
    """(node, processor)."""
    shares: np.ndarray
    """[row, outcome, column], from 0 to 1."""


def outcomes_of(records: np.ndarray) -> np.ndarray:
    """For each try the number of its outcome in `OUTCOMES`."""
    failed = records["status"] == TryStatus.FAILED
    if not failed.any():
        return np.zeros(len(records), np.int64)
    hung = np.isin(records["reason"], (Reason.TIMEOUT, Reason.LOAD_TIMEOUT))
    return np.where(failed & hung, 2, np.where(failed, 1, 0))


def bar_edge(number: int) -> float:
    """Seconds at the left end of bar `number`."""
    return float(10.0 ** (FIRST_DECADE + number / PARTS_OF_A_DECADE))


class TryTally:
    """Takes bulks of tries (`batches.records.RECORD`), in any order.

    `keep`: how many tries are kept one by one.
    """

    def __init__(self, keep: int = KEPT_TRIES) -> None:
        self._keep = keep
        self._waiting: list[np.ndarray] = []
        self._waiting_records = 0
        self._totals = ProcessorTotals()
        self._bars = np.zeros((len(OUTCOMES), BARS), np.int64)
        self._slowest = np.empty(0, RECORD)
        self._kept: list[np.ndarray] = []
        self._kept_tries = self._kept_failed = 0
        self._busy: dict[tuple[int, int], np.ndarray] = {}
        self._origin = 0.0
        self._width = 0.05
        self._seen = 0

    def add(self, records: np.ndarray) -> None:
        """Take a bulk; it must not change any more."""
        self._waiting.append(records)
        self._waiting_records += len(records)
        if self._waiting_records >= WAITING_RECORDS:
            self._digest()

    @property
    def tries(self) -> int:
        """How many have come."""
        return self._seen + self._waiting_records

    @property
    def totals(self) -> ProcessorTotals:
        """What each processor did."""
        self._digest()
        return self._totals

    @property
    def bars(self) -> np.ndarray:
        """[outcome, bar]: how many tries took so long in `run()`."""
        self._digest()
        return self._bars

    @property
    def slowest(self) -> np.ndarray:
        """The records of the slowest tries, the slowest first."""
        self._digest()
        return self._slowest

    @property
    def kept(self) -> np.ndarray:
        """The records that are kept one by one, in the order in which they came."""
        self._digest()
        if len(self._kept) > 1:
            self._kept = [np.concatenate(self._kept)]
        return self._kept[0] if self._kept else np.empty(0, RECORD)

    def busy(self) -> BusyTable:
        """How busy each processor was, those with the lowest numbers first."""
        self._digest()
        rows = sorted(self._busy)
        seconds = np.array([self._busy[row] for row in rows]).reshape(-1, len(OUTCOMES), SLOTS)
        return BusyTable(self._origin, self._width, rows, np.minimum(seconds / self._width, 1.0))

    def _digest(self) -> None:
        if not self._waiting:
            return
        waiting, self._waiting, self._waiting_records = self._waiting, [], 0
        # As bytes: numpy compares the fields of all the arrays that it concatenates, which takes longer.
        records = waiting[0] if len(waiting) == 1 else unpack(b"".join(part.tobytes() for part in waiting))
        self._seen += len(records)
        self._totals.add(records)
        outcomes = outcomes_of(records)
        self._add_bars(records, outcomes)
        self._add_slowest(records)
        self._keep_some(records)
        self._add_busy(records, outcomes)

    def _add_bars(self, records: np.ndarray, outcomes: np.ndarray) -> None:
        run = records["run"].copy()
        ran = run > 0
        seconds = run[ran].astype(np.float64)
        places = np.floor((np.log10(seconds) - FIRST_DECADE) * PARTS_OF_A_DECADE).astype(np.int64)
        codes = outcomes[ran] * BARS + places.clip(0, BARS - 1)
        self._bars += np.bincount(codes, minlength=self._bars.size).reshape(self._bars.shape)

    def _add_slowest(self, records: np.ndarray) -> None:
        least = self._slowest["elapsed"][-1] if len(self._slowest) == SLOWEST else -1.0
        slow = records[records["elapsed"] > least]
        if len(slow):
            found = np.concatenate([self._slowest, slow])
            self._slowest = found[np.argsort(-found["elapsed"], kind="stable")[:SLOWEST]]

    def _keep_some(self, records: np.ndarray) -> None:
        room = self._keep - self._kept_tries
        if room > 0:
            self._kept.append(records[:room].copy())
            self._kept_tries += min(len(records), room)
        rest = records[max(room, 0) :]
        failed = rest[rest["status"] == TryStatus.FAILED][: KEPT_FAILED - self._kept_failed]
        if len(failed):
            self._kept.append(failed)
            self._kept_failed += len(failed)

    def _add_busy(self, records: np.ndarray, outcomes: np.ndarray) -> None:
        known = records["started"] > 0
        if not known.all():
            records, outcomes = records[known], outcomes[known]
        if not len(records):
            return
        started, elapsed = records["started"].copy(), records["elapsed"].astype(np.float64)
        ended = started + elapsed
        first, last = float(started.min()), float(ended.max())
        self._origin = self._origin or first
        while first < self._origin or last >= self._origin + SLOTS * self._width:
            self._widen(first)
        places, which = processors(records)
        rows = [self._row(place) for place in places]
        series = which * len(OUTCOMES) + outcomes
        slots = ((started - self._origin) / self._width).astype(np.int64)
        within = slots == ((ended - self._origin) / self._width).astype(np.int64)
        # Most lie within one column; the others are spread over theirs.
        shape = (len(places), len(OUTCOMES), SLOTS)
        codes = (series * SLOTS + slots)[within]
        short = np.bincount(codes, weights=elapsed[within], minlength=int(np.prod(shape))).reshape(shape)
        for row, seconds in zip(rows, short, strict=True):
            if row is not None:
                row += seconds
        long = np.flatnonzero(~within)
        # Counted, not `np.unique`, which loads numpy's masked arrays: 15 ms of a small run.
        for number in np.flatnonzero(np.bincount(series[long])).tolist():
            row = rows[number // len(OUTCOMES)]
            if row is not None:
                chosen = long[series[long] == number]
                row[number % len(OUTCOMES)] += self._spread(started[chosen], ended[chosen])

    def _row(self, place: tuple[int, int]) -> np.ndarray | None:
        """Seconds of a processor by outcome and column; None where there are too many processors."""
        if place not in self._busy and len(self._busy) >= TIMELINE_ROWS:
            return None
        return self._busy.setdefault(place, np.zeros((len(OUTCOMES), SLOTS)))

    def _spread(self, started: np.ndarray, ended: np.ndarray) -> np.ndarray:
        """Seconds in each column, of spans that may reach over many."""
        edges = self._origin + np.arange(SLOTS + 1) * self._width
        starts, ends = np.sort(started), np.sort(ended)
        # Time spent before an edge: of each span that began before it, what lies before it.
        return np.diff(_before(starts, edges) - _before(ends, edges))

    def _widen(self, first: float) -> None:
        """Let each column stand for twice its time, and let the first one begin earlier where it has to."""
        early = first < self._origin
        for row, seconds in self._busy.items():
            halved = seconds.reshape(len(OUTCOMES), SLOTS // 2, 2).sum(axis=2)
            empty = np.zeros_like(halved)
            self._busy[row] = np.concatenate([empty, halved] if early else [halved, empty], axis=1)
        if early:
            self._origin -= SLOTS * self._width
        self._width *= 2


def _before(moments: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """For each edge: the sum of (edge - moment) over the moments before it."""
    shifted = moments - edges[0]  # small numbers, so that sums of many stay exact
    sums = np.concatenate(([0.0], np.cumsum(shifted)))
    places = np.searchsorted(moments, edges)
    result: np.ndarray = places * (edges - edges[0]) - sums[places]
    return result
