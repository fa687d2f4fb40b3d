"""Timeouts and slowness, decided from plain values."""

from __future__ import annotations

from pathlib import Path

import pytest

from daskpar.processor import timeouts
from daskpar.processor.protocol import ProcessorSettings
from daskpar.processor.shared_page import Phase
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
        (Phase.FLUSH, None),
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
