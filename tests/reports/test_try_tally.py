from __future__ import annotations

import numpy as np
import pytest

from daskpar.batches.records import RECORD
from daskpar.reports import try_tally
from daskpar.reports.try_tally import SLOTS, TryTally, bar_edge
from daskpar.results import Reason, TryStatus


def records(count: int, **fields: object) -> np.ndarray:
    """`count` tries that succeeded."""
    found = np.zeros(count, RECORD)
    found["index"], found["status"], found["final"], found["items"] = (
        np.arange(count),
        TryStatus.SUCCEEDED,
        1,
        1,
    )
    found["started"], found["elapsed"], found["run"] = 1e9 + np.arange(count), 0.5, 0.4
    for name, value in fields.items():
        found[name] = value
    return found


def test_nothing_is_lost_however_bulks_come() -> None:
    many = records(
        5_000,
        processor=np.arange(5_000) % 3,
        elapsed=np.linspace(0.001, 3, 5_000),
        run=np.linspace(0.001, 3, 5_000),
    )
    whole, pieces = TryTally(), TryTally()
    whole.add(many)
    for start in range(0, 5_000, 37):
        pieces.add(many[start : start + 37])
        if start % 11 == 0:
            assert pieces.tries == len(many[: start + 37])
            _ = pieces.bars  # somebody looks in between
    for tally in (whole, pieces):
        assert tally.bars.sum() == 5_000
        assert tally.slowest["index"].tolist() == list(range(4_999, 4_989, -1))
        assert sum(total.succeeded for total in tally.totals.known().values()) == 5_000
        assert len(tally.kept) == 5_000
    assert np.array_equal(whole.bars, pieces.bars)
    a, b = whole.busy(), pieces.busy()
    assert (a.rows, a.width) == (b.rows, b.width)
    assert np.allclose(a.shares, b.shares)


@pytest.mark.parametrize("elapsed", [0.001, 0.9, 250.0])
def test_the_time_of_each_processor_is_all_there(elapsed: float) -> None:
    """Whether tries are shorter or longer than a column of the timeline, in any order."""
    tally = TryTally()
    many = records(400, elapsed=elapsed, started=1e9 + np.arange(400) * elapsed)
    for part in (many[200:], many[:100], many[100:200]):
        tally.add(part)
        _ = tally.bars
    busy = tally.busy()
    assert busy.rows == [(0, 0)] and busy.shares.shape == (1, 3, SLOTS)
    assert busy.shares.max() <= 1.0
    assert busy.shares.sum() * busy.width == pytest.approx(400 * elapsed, rel=1e-3)
    assert busy.start <= 1e9 and busy.start + SLOTS * busy.width >= 1e9 + 400 * elapsed


def test_outcomes_and_bars() -> None:
    tally = TryTally()
    tally.add(records(3, run=[0.0, 1e-9, 1e9]))
    tally.add(records(2, status=TryStatus.FAILED, reason=[Reason.TIMEOUT, Reason.EXCEPTION], run=1.5))
    bars = tally.bars
    assert bars.sum(axis=1).tolist() == [2, 1, 1]  # one never came to run()
    assert bars[0, 0] == 1 and bars[0, -1] == 1
    at = int(np.flatnonzero(bars[1])[0])
    assert bar_edge(at) <= 1.5 < bar_edge(at + 1)


def test_what_is_kept_is_bounded_and_failed_ones_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(try_tally, "KEPT_FAILED", 5)
    tally = TryTally(keep=10)
    tally.add(records(100, status=np.where(np.arange(100) % 10 == 9, TryStatus.FAILED, TryStatus.SUCCEEDED)))
    assert tally.kept["index"].tolist() == [*range(10), 19, 29, 39, 49, 59]
    for node in range(try_tally.TIMELINE_ROWS + 10):
        tally.add(records(1, node=node))
    assert len(tally.busy().rows) == try_tally.TIMELINE_ROWS
