"""Calls to workers that stand still: told by their heartbeats, on invented clocks."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from daskpar.engine import heartbeats
from daskpar.engine.heartbeats import WorkerFrozen, is_heard, watch, while_heard
from daskpar.engine.plugins.scheduler_calls import last_heartbeat


def scheduler(*found: Any) -> Any:
    """A client whose scheduler gives these answers, one for each look; an exception is raised."""
    left = iter(found)

    def answer(function: Any, address: str) -> Any:
        assert (function, address) == (last_heartbeat, "a")
        if isinstance(one := next(left), Exception):
            raise one
        return one

    return SimpleNamespace(run_on_scheduler=answer)


class Ends:
    """A call that ends after so many looks."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    def wait(self, timeout: float) -> bool:
        self.looks -= 1
        return self.looks < 0


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ([(0.3, 0.5)] * 3, 0),
        ([(12.0, 0.5), OSError("busy"), (14.0, 0.5), (15.0, 0.5)], 1),
        ([None, None], 0),  # the scheduler has lost it, which others notice
    ],
)
def test_it_is_told_once_while_the_call_lasts(found, told):
    heard: list[str] = []
    watch(scheduler(*found), "a", Ends(len(found)), heard.append)
    assert len(heard) == told
    assert all("no heartbeat of its Dask worker for 14 s" in why for why in heard)


def test_a_second_look_leaves_time_for_a_heartbeat():
    """All have stood still, such as a laptop: the one that is due now comes before a worker is given up."""
    waits: list[float] = []
    ends = Ends(2)
    watch(
        scheduler((90.0, 0.5), (90.0, 6.0)),
        "a",
        SimpleNamespace(wait=lambda seconds: (waits.append(seconds), ends.wait(seconds))[1]),
        lambda why: None,
    )
    assert waits == [heartbeats.FIRST_LOOK_SECONDS, heartbeats.LOOK_SECONDS]
    waits.clear()
    ends = Ends(2)
    watch(
        scheduler((90.0, 6.0), (0.1, 6.0)),
        "a",
        SimpleNamespace(wait=lambda seconds: (waits.append(seconds), ends.wait(seconds))[1]),
        pytest.fail,
    )
    assert waits == [heartbeats.FIRST_LOOK_SECONDS, 12.0, 12.0]


@pytest.mark.parametrize(
    ("found", "heard"), [((0.4, 0.5), True), ((12.0, 0.5), False), (None, False), (OSError(), False)]
)
def test_a_frozen_worker_is_heard_again(found, heard):
    assert is_heard(scheduler(found), "a") is heard


def test_a_call_to_a_frozen_worker_is_left_behind(monkeypatch):
    monkeypatch.setattr(heartbeats, "FIRST_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(heartbeats, "LOOK_SECONDS", 0.0)
    over = threading.Event()
    with pytest.raises(WorkerFrozen, match="no heartbeat"):
        while_heard(scheduler((11.0, 0.0), (12.0, 0.0)), "a", over.wait)
    over.set()


def test_what_others_give_and_raise_comes_through():
    assert while_heard(scheduler(), "a", lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        while_heard(scheduler(), "a", lambda: 1 // 0)


def test_the_scheduler_knows_when_it_has_heard_of_whom():
    known = SimpleNamespace(workers={"a": SimpleNamespace(last_seen=0.0)})
    since, interval = last_heartbeat(known, "a")  # type: ignore[misc, arg-type]
    assert since > 1e9 and interval == 0.5
    assert last_heartbeat(known, "b") is None  # type: ignore[arg-type]
