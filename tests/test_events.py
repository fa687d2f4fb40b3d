"""The bus: every fact once, in order, whatever a watcher does."""

from __future__ import annotations

import logging
import threading

import numpy as np
import pytest

from daskpar.batches.records import RECORD
from daskpar.events import Bus, Event, Group, Progress, StepEnded, TriesEnded, Warned, Watcher
from daskpar.results import Counts, Status, StepResult


class Keeper(Watcher):
    """Keeps what it hears; waits at the gate before each event."""

    def __init__(self) -> None:
        self.heard: list[Event] = []
        self.closed = 0
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def hear(self, event: Event) -> None:
        self.entered.set()
        assert self.gate.wait(60)
        self.heard.append(event)

    def close(self) -> None:
        self.closed += 1


class Broken(Watcher):
    """Fails at every event, or only at its end."""

    def __init__(self, at: str) -> None:
        self.at = at
        self.calls: list[str] = []

    def hear(self, event: Event) -> None:
        self.calls.append("hear")
        if self.at == "hear":
            raise OSError("disk full")

    def close(self) -> None:
        self.calls.append("close")
        if self.at == "close":
            raise ValueError("late")


def warned(number: int) -> Warned:
    return Warned(time=float(number), step="s", text=str(number))


def progress(step: str, succeeded: int) -> Progress:
    return Progress(time=0.0, step=step, counts=Counts(planned=9, succeeded=succeeded), running=1)


def tries(step: str, *indices: int) -> TriesEnded:
    records = np.zeros(len(indices), RECORD)
    records["index"] = indices
    return TriesEnded(
        time=float(indices[-1]), step=step, records=records, failures=tuple(f"failure {i}" for i in indices)
    )


def test_every_event_is_heard_in_order_by_all_watchers_which_are_then_closed_once() -> None:
    keepers = [Keeper(), Keeper()]
    bus = Bus(list(keepers))
    events = [warned(i) for i in range(500)]
    for event in events:
        bus.publish(event)
    bus.close()
    assert [keeper.heard for keeper in keepers] == [events, events]
    assert [keeper.closed for keeper in keepers] == [1, 1]


@pytest.mark.parametrize("at", ["hear", "close"])
def test_a_failing_watcher_is_dropped_with_one_warning_and_the_others_go_on(
    at: str, caplog: pytest.LogCaptureFixture
) -> None:
    broken, keeper = Broken(at), Keeper()
    with caplog.at_level(logging.WARNING):
        bus = Bus([broken, keeper])
        for i in range(3):
            bus.publish(warned(i))
        bus.close()
    assert len(keeper.heard) == 3
    assert keeper.closed == 1
    assert broken.calls == (["hear"] if at == "hear" else ["hear", "hear", "hear", "close"])
    assert len(caplog.records) == 1
    assert "Broken failed and is switched off; the job goes on" in caplog.text


def test_while_a_watcher_lags_only_the_newest_progress_of_each_step_is_kept_and_tries_are_joined() -> None:
    keeper = Keeper()
    keeper.gate.clear()
    bus = Bus([keeper])
    bus.publish(warned(0))
    assert keeper.entered.wait(60)
    for i in range(1000):
        bus.publish(progress("a", i))
        bus.publish(progress("b", 2 * i))
    bus.publish(tries("a", 0, 1))
    bus.publish(tries("a", 2))
    bus.publish(tries("b", 3))
    bus.publish(warned(1))
    bus.publish(tries("b", 4))
    keeper.gate.set()
    bus.close()

    assert [type(event).__name__ for event in keeper.heard] == [
        "Warned", "Progress", "Progress", "TriesEnded", "TriesEnded", "Warned", "TriesEnded",
    ]  # fmt: skip
    heard = {event.step: event.counts.succeeded for event in keeper.heard if isinstance(event, Progress)}
    assert heard == {"a": 999, "b": 1998}
    bulks = [event for event in keeper.heard if isinstance(event, TriesEnded)]
    assert [bulk.records["index"].tolist() for bulk in bulks] == [[0, 1, 2], [3], [4]]
    assert bulks[0].failures == ("failure 0", "failure 1", "failure 2")
    assert bulks[0].time == 2.0


def test_progress_is_heard_again_after_the_lag() -> None:
    keeper = Keeper()
    bus = Bus([keeper])
    for i in range(5):
        keeper.entered.clear()
        bus.publish(progress("a", i))
        assert keeper.entered.wait(60)
    bus.close()
    assert [event.counts.succeeded for event in keeper.heard if isinstance(event, Progress)] == [
        0,
        1,
        2,
        3,
        4,
    ]


def test_close_gives_up_on_a_watcher_that_hangs_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    keeper = Keeper()
    keeper.gate.clear()
    bus = Bus([keeper])
    bus.publish(warned(0))
    assert keeper.entered.wait(60)
    bus.close(patience=0.01)
    assert "may be missing" in caplog.text
    keeper.gate.set()


def test_what_is_published_after_close_is_ignored() -> None:
    keeper = Keeper()
    bus = Bus([keeper])
    bus.close()
    bus.publish(warned(1))
    assert keeper.heard == []


def test_a_signal_handler_may_publish_in_the_middle_of_publish() -> None:
    keeper = Keeper()
    bus = Bus([keeper])

    class Interrupting(dict[str, Progress]):
        def __contains__(self, key: object) -> bool:
            bus.publish(warned(7))
            return super().__contains__(key)

    bus._waiting_progress = Interrupting()
    bus.publish(progress("a", 1))
    bus.close()
    assert [type(event).__name__ for event in keeper.heard] == ["Warned", "Progress"]


def test_a_group_drops_its_failing_member_only() -> None:
    broken, keeper = Broken("hear"), Keeper()
    group = Group([broken, keeper])
    ended = StepEnded(time=1.0, result=StepResult(step="s", status=Status.COMPLETED, seconds=1.0))
    group.hear(ended)
    group.hear(ended)
    group.close()
    assert keeper.heard == [ended, ended]
    assert broken.calls == ["hear"]
