"""Calls that take long are told of once, and once more when they are over."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from daskpar.engine.message_events import long_calls_changed
from daskpar.processor.long_calls import LongCallWatch
from daskpar.processor.shared_page import Announcement, Phase

SETTINGS: Any = SimpleNamespace(node=3, init_timeout=3600.0, overhead_timeout=600.0, run_timeout=60.0)


def processor(phase: Phase, since: float, *, index: int = 7, killed: str = "") -> Any:
    return SimpleNamespace(
        number=1,
        killed_for=killed,
        finishing=False,
        order=SimpleNamespace(tries=2),
        longest=lambda: Announcement(index, phase, since),
    )


def test_a_message_for_each_change_and_none_between() -> None:
    watch = LongCallWatch(SETTINGS)
    assert watch.look([processor(Phase.RUN, 99.0)], 100.0) is None, "not long yet"
    assert watch.look([processor(Phase.RUN, 90.0)], 100.1) is None, "just looked"
    told = watch.look([processor(Phase.RUN, 90.0)], 101.0)
    assert told is not None and told.node == 3
    [call] = told.calls
    assert (call.index, call.doing, call.limit, call.tries) == (7, "run", 60.0, 2)
    assert told.time - call.since == pytest.approx(11.0)
    assert watch.look([processor(Phase.RUN, 90.0)], 102.0) is None
    following = watch.look([processor(Phase.RUN, 100.0, index=8)], 103.0)
    assert following is not None and [call.index for call in following.calls] == [8]
    over = watch.look([processor(Phase.IDLE, 103.0)], 104.0)
    assert over is not None and over.calls == ()


@pytest.mark.parametrize(
    ("one", "doing", "limit"),
    [
        (processor(Phase.INIT, 0.0, index=-1), "init", 3600.0),
        (processor(Phase.LOAD, 0.0), "loading", 600.0),
        (processor(Phase.FLUSH, 0.0), None, None),
        (processor(Phase.RUN, 0.0, killed="timeout"), None, None),
    ],
)
def test_what_is_told_of(one: Any, doing: str | None, limit: float | None) -> None:
    told = LongCallWatch(SETTINGS).look([one], 100.0)
    assert (told.calls[0].doing if told else None) == doing
    assert (told.calls[0].limit if told else None) == limit


def test_the_event_has_the_drivers_clock_and_names_the_oldest_first() -> None:
    watch = LongCallWatch(SETTINGS)
    told = watch.look([processor(Phase.RUN, 95.0), processor(Phase.RUN, 90.0, index=9)], 100.0)
    assert told is not None
    event = long_calls_changed("score", told, lambda index: f"{index}.csv")
    assert [(call.index, call.name) for call in event.calls] == [(9, "9.csv"), (7, "7.csv")]
    assert [event.time - call.since for call in event.calls] == pytest.approx([10.0, 5.0], abs=0.5)
