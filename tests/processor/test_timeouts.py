"""Timeouts and slowness, decided from plain values."""

from __future__ import annotations

from pathlib import Path

import pytest

from daskpar.processor import timeouts
from daskpar.processor.protocol import ProcessorSettings
from daskpar.processor.shared_page import Announcement, Phase
from daskpar.rows.shared_folder import SharedFolder

SETTINGS = ProcessorSettings(
    run_id="r", step="s", node=0, python="", processors=1, entry_script="", code=None, plan="", store=SharedFolder(Path("parts")), shared="", logs="", work="",
    working_dir="", output_dir="", run_timeout=10.0, overhead_timeout=20.0, init_timeout=30.0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("phase", "limit"),
    [
        (Phase.INIT, 30),
        (Phase.LOAD, 20),
        (Phase.RUN, 10),
        (Phase.SHUTDOWN, 10),
        (Phase.IDLE, None),
        (Phase.FLUSH, 20),
    ],
)
def test_each_phase_has_its_limit_and_reaching_it_is_not_passing_it(phase, limit):
    assert timeouts.time_limit(phase, SETTINGS) == limit
    if limit is None:
        assert not timeouts.is_overdue(phase, 0, 1e9, SETTINGS)
    else:
        assert not timeouts.is_overdue(phase, 5, 5 + limit, SETTINGS)
        assert timeouts.is_overdue(phase, 5, 5 + limit + 0.001, SETTINGS)


@pytest.mark.parametrize(
    ("phase", "seconds", "expected", "slow"),
    [
        (Phase.RUN, 0.3, 0, True),
        (Phase.RUN, 0.1, 0, False),
        (Phase.RUN, 15, 10, False),
        (Phase.LOAD, 25, 10, True),
        (Phase.INIT, 99, 0, False),
    ],
)
def test_slow_is_what_takes_longer_than_others_do(phase, seconds, expected, slow):
    assert timeouts.is_slow(phase, 0.0, seconds, expected) is slow


def test_the_mean_time_is_that_of_all_and_follows_the_latest():
    mean = timeouts.MeanTime()
    mean.add(1.0, 10)
    mean.add(9.0, 10)
    assert mean.seconds == pytest.approx(0.5)
    for _ in range(100):
        mean.add(20.0, 100)
    assert mean.seconds == pytest.approx(0.2)


NAN = float("nan")


@pytest.mark.parametrize(
    ("written", "counts"),
    [
        (105.0, 105.0),
        (100.0, 100.0),
        (110.0, 110.0),
        (99.0, 110.0),
        (111.0, 110.0),
        (0.0, 110.0),
        (1e300, 110.0),
        (NAN, 110.0),
    ],
)
def test_the_time_in_the_page_counts_where_it_lies_between_two_looks(written, counts):
    sighting = timeouts.Sighting(looked=90.0)
    sighting.look(Announcement(0, Phase.RUN, 95.0), 100.0)
    assert sighting.look(Announcement(1, Phase.RUN, written), 110.0) == Announcement(1, Phase.RUN, counts)
    # and it stays that, however often it is looked at
    again = written + 0.0  # another object, also for what is no number
    assert sighting.look(Announcement(1, Phase.RUN, again), 500.0).since == counts


def test_what_is_announced_after_a_new_order_is_new_though_the_clock_stands_still():
    sighting = timeouts.Sighting(looked=0.0)
    sighting.look(Announcement(1, Phase.RUN, 1.0), 1.0)
    sighting.start_again(50.0)
    assert sighting.look(Announcement(1, Phase.RUN, 1.0), 51.0).since == 51.0


@pytest.mark.parametrize(
    ("index", "phase", "sense"),
    [
        (4, Phase.RUN, True),
        (9, Phase.LOAD, True),
        (10, Phase.LOAD, False),
        (3, Phase.FLUSH, True),
        (2, Phase.FLUSH, False),
        (-1, Phase.IDLE, True),
        (4, 6, False),
        (4, 7, False),
        (1 << 59, Phase.RUN, False),
    ],
)
def test_an_announcement_outside_of_the_range_is_nonsense(index, phase, sense):
    assert timeouts.makes_sense(Announcement(index, phase, 0.0), 4, 10) is sense
