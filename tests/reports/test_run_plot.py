"""The plot of a step: lanes of processors, and the slowest mini-batches by name."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from daskpar.reports import run_plot
from daskpar.reports.run_plot import lanes_of


def tries(count: int, failed: int = -1) -> pd.DataFrame:
    """Tries of a second, one after the other, on two processors."""
    at = np.arange(count)
    return pd.DataFrame(
        {
            "index": at,
            "outcome": pd.Categorical(["failed" if i == failed else "succeeded" for i in at]),
            "reason": pd.Categorical(["EXCEPTION" if i == failed else None for i in at], ["EXCEPTION"]),
            "seconds_loading": 0.25,
            "seconds_running": 0.5,
            "started": pd.to_datetime(1_795_440_000 + at // 2, unit="s", utc=True).as_unit("us"),
            "node": pd.array([0] * count, "Int64"),
            "processor": pd.array(at % 2, "Int64"),
        }
    )


def test_each_try_is_a_bar_in_the_lane_of_its_processor() -> None:
    bars = lanes_of(tries(4, failed=2))
    assert bars["lane"] == ["0/process000"] * 2 + ["0/process001"] * 2
    assert bars["left"] == [0, 1, 0, 1] and bars["right"] == [0.75, 1.75, 0.75, 1.75]
    assert (bars["index"], bars["outcome"][1], bars["reason"][1]) == ([0, 2, 1, 3], "failed", "EXCEPTION")


def test_many_tries_become_few_bars_and_failures_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_plot, "MOST_BARS", 400)
    bars = lanes_of(tries(20_000, failed=5001))
    assert len(bars["lane"]) < 300 and sum(bars["number"]) == 20_000
    place = bars["outcome"].index("failed")
    assert (bars["index"][place], bars["number"][place]) == (5001, 1)


def test_tries_that_nobody_can_place_are_left_out() -> None:
    frame = tries(3)
    frame.loc[0, "started"], frame.loc[1, "processor"] = pd.NaT, pd.NA
    assert lanes_of(frame)["index"] == [2]
    assert lanes_of(frame[:0])["lane"] == []
