"""Rate and time left from samples: no clock, no sleep."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskpar.reports.rates import Pace, Sample, Samples, pace


@pytest.mark.parametrize(
    ("first", "last", "now", "planned", "expected"),
    [
        (Sample(0, 0), Sample(10, 50), 10, 100, Pace(5.0, 10.0)),
        (
            Sample(0, 0),
            Sample(10, 50),
            12.5,
            100,
            Pace(4.0, 10.0),
        ),  # stands still since: slower, and 2.5 s of the rest are over
        (Sample(0, 40), Sample(10, 50), 10, 50, Pace(1.0, 0.0)),
        (Sample(0, 0), Sample(0, 0), 5, 100, Pace(0.0, None)),
        (Sample(0, 0), Sample(9, 0), 9, 0, Pace(0.0, None)),
        (Sample(0, 100), Sample(9, 100), 9, 100, Pace(0.0, 0.0)),
        (Sample(0, 0), Sample(10, 50), 10, 0, Pace(5.0, None)),
    ],
)
def test_pace(first: Sample, last: Sample, now: float, planned: int, expected: Pace) -> None:
    assert pace(first, last, now, planned) == expected


def test_no_samples_no_pace() -> None:
    assert Samples().pace(5.0, 10) == Pace(0.0, None)


def test_what_an_earlier_process_had_done_is_no_speed_of_this_one() -> None:
    samples = Samples()
    samples.add(0.0, 1_000_000)
    samples.add(10.0, 1_000_010)
    assert samples.pace(10.0, 1_000_020) == Pace(1.0, 10.0)


def test_the_window_forgets_the_past_and_slow_steps_keep_theirs() -> None:
    fast = Samples(window=10)
    for second in range(100):
        fast.add(second, second if second < 50 else 50 + 10 * (second - 50))
    assert fast.pace(99, 10_000).per_second == pytest.approx(10.0)

    slow = Samples(window=10)
    for second in range(1001):
        slow.add(second, second // 100)
    assert slow.pace(1000, 100).per_second == pytest.approx(0.01, rel=0.2)


def test_counts_that_shrink_start_afresh() -> None:
    samples = Samples()
    samples.add(0, 100)
    samples.add(1, 5)
    samples.add(2, 6)
    assert samples.pace(2, 10) == Pace(1.0, 4.0)


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(0, 50)), max_size=300))
def test_a_pace_is_never_negative_and_the_memory_is_bounded(steps: list[tuple[float, int]]) -> None:
    samples = Samples()
    now, done = 0.0, 0
    for wait, more in steps:
        now, done = now + wait, done + more
        samples.add(now, done)
        shown = samples.pace(now, 20_000)
        assert shown.per_second >= 0
        assert shown.seconds_left is None or shown.seconds_left >= 0
    assert len(samples._kept) <= 310
