"""Which running mini-batches are stragglers: by what the others took, and never before anybody can tell."""

from __future__ import annotations

import pytest

from daskpar.engine.rules.backup_rule import (
    LEAST_SECONDS,
    QUANTILE,
    QUIET_SECONDS,
    SLOW_FACTOR,
    BackupRule,
)

RULE = BackupRule()
TEN = [(1, float(second)) for second in range(1, 11)]


@pytest.mark.parametrize(
    ("times", "ended", "planned", "usual"),
    [
        (TEN, 10, 10, 9.0),  # nine of ten took that at most
        (TEN[:4], 4, 5, None),  # too few
        (TEN[:5], 5, 10, 5.0),  # just enough, and just half of the step
        (TEN, 10, 21, None),  # less than half of the step
        ([], 100, 100, None),  # done by an earlier process, whose times nobody knows
        ([(5000, 100.0), (1, 60.0)], 5001, 5002, 0.02),  # one slow one does not change what is usual
        ([(1, 1.0)] * 6 + [(1, 20.0)] * 4, 10, 12, 20.0),  # where there are two kinds, the slower one counts
        ([(0, 0.0)] * 9, 0, 0, None),
    ],
)
def test_what_is_usual_is_what_nine_of_ten_took_at_most(times, ended, planned, usual):
    assert QUANTILE == 0.9
    assert RULE.usual_seconds(times, ended=ended, planned=planned) == usual


@pytest.mark.parametrize(
    ("elapsed", "usual", "limit", "slow"),
    [
        (LEAST_SECONDS - 0.1, 0.01, None, False),  # nobody would notice
        (LEAST_SECONDS, 0.01, None, True),
        (19.9, 10.0, None, False),
        (SLOW_FACTOR * 10.0, 10.0, None, True),
        (20.0, 10.0, 60.0, True),
        (50.0, 10.0, 60.0, False),  # its timeout ends it before a copy could be there
        (3600.0, 0.1, 3600.0, False),
    ],
)
def test_a_mini_batch_is_slow_that_runs_for_twice_the_usual_time(elapsed, usual, limit, slow):
    assert RULE.is_slow(elapsed, usual, limit) is slow


def test_a_block_is_quiet_after_longer_than_what_is_ahead_of_it_may_take():
    assert not RULE.is_quiet(QUIET_SECONDS - 0.1, 0.0, 1)
    assert RULE.is_quiet(QUIET_SECONDS, 0.0, 1)
    assert not RULE.is_quiet(QUIET_SECONDS + 1.9, 1.0, 0)
    assert RULE.is_quiet(QUIET_SECONDS + 2, 1.0, 0.5), "one is ahead of its end at least"
    assert not RULE.is_quiet(QUIET_SECONDS + 19, 1.0, 10)
    assert RULE.is_quiet(QUIET_SECONDS + 20, 1.0, 10)
