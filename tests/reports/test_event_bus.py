"""The bus: every fact once, in order, whatever a watcher does."""

from __future__ import annotations

import logging
import threading

import numpy as np
import pytest

from daskpar.batches.records import RECORD
from daskpar.events import Event, Progress, StepEnded, TriesEnded, Warned, Watcher
from daskpar.reports.event_bus import EventBus, WatcherGroup
from daskpar.results import Counts, Status, StepResult


class Keeper(Watcher):
    """Keeps all events; waits at the gate before each."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.closed = 0
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def handle(self, event: Event) -> None:
        self.entered.set()
        assert self.gate.wait(60)
        self.events.append(event)

    def close(self) -> None:
        self.closed += 1


class Broken(Watcher):
    """Fails in the hook or method `at`."""

    def __init__(self, at: str) -> None:
        self.at = at
        self.calls: list[str] = []

    def warned(self, event: Warned) -> None:
        self._call("warned")

    def step_ended(self, event: StepEnded) -> None:
        self._call("step_ended")

    def close(self) -> None:
        self._call("close")

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.at == name:
            raise OSError("disk full")


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


def test_every_event_reaches_all_watchers_in_order_and_they_are_closed_once() -> None:
    keepers = [Keeper(), Keeper()]
    bus = EventBus(list(keepers))
    events = [warned(i) for i in range(500)]
    for event in events:
        bus.publish(event)
    bus.close()
    assert [keeper.events for keeper in keepers] == [events, events]
    assert [keeper.closed for keeper in keepers] == [1, 1]


@pytest.mark.parametrize("at", ["warned", "close"])
def test_a_failing_watcher_is_dropped_with_one_warning_and_the_others_go_on(
    at: str, caplog: pytest.LogCaptureFixture
) -> None:
    broken, keeper = Broken(at), Keeper()
    with caplog.at_level(logging.WARNING):
        bus = EventBus([broken, keeper])
        for i in range(3):
            bus.publish(warned(i))
        bus.close()
    assert len(keeper.events) == 3
    assert keeper.closed == 1
    assert broken.calls == (["warned"] if at == "warned" else ["warned", "warned", "warned", "close"])
    assert len(caplog.records) == 1
    assert "Broken failed and is switched off; the job goes on" in caplog.text


def test_while_a_watcher_lags_only_the_newest_progress_of_each_step_is_kept_and_tries_are_joined() -> None:
    keeper = Keeper()
    keeper.gate.clear()
    bus = EventBus([keeper])
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

    assert [type(event).__name__ for event in keeper.events] == [
        "Warned", "Progress", "Progress", "TriesEnded", "TriesEnded", "Warned", "TriesEnded",
    ]  # fmt: skip
    newest = {event.step: event.counts.succeeded for event in keeper.events if isinstance(event, Progress)}
    assert newest == {"a": 999, "b": 1998}
    bulks = [event for event in keeper.events if isinstance(event, TriesEnded)]
    assert [bulk.records["index"].tolist() for bulk in bulks] == [[0, 1, 2], [3], [4]]
    assert bulks[0].failures == ("failure 0", "failure 1", "failure 2")
    assert bulks[0].time == 2.0


def test_progress_comes_as_published_after_the_lag() -> None:
    keeper = Keeper()
    bus = EventBus([keeper])
    for i in range(5):
        keeper.entered.clear()
        bus.publish(progress("a", i))
        assert keeper.entered.wait(60)
    bus.close()
    assert [event.counts.succeeded for event in keeper.events if isinstance(event, Progress)] == [
        0,
        1,
        2,
        3,
        4,
    ]


def test_close_gives_up_on_a_watcher_that_hangs_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    keeper = Keeper()
    keeper.gate.clear()
    bus = EventBus([keeper])
    bus.publish(warned(0))
    assert keeper.entered.wait(60)
    bus.close(patience=0.01)
    assert "may be missing" in caplog.text
    keeper.gate.set()


def test_what_is_published_after_close_is_ignored() -> None:
    keeper = Keeper()
    bus = EventBus([keeper])
    bus.close()
    bus.publish(warned(1))
    assert keeper.events == []


def test_a_signal_handler_may_publish_in_the_middle_of_publish() -> None:
    keeper = Keeper()
    bus = EventBus([keeper])

    class Interrupting(dict[str, Progress]):
        def __contains__(self, key: object) -> bool:
            bus.publish(warned(7))
            return super().__contains__(key)

    bus._waiting_progress = Interrupting()
    bus.publish(progress("a", 1))
    bus.close()
    assert [type(event).__name__ for event in keeper.events] == ["Warned", "Progress"]


def test_a_group_drops_its_failing_member_only() -> None:
    broken, keeper = Broken("step_ended"), Keeper()
    group = WatcherGroup([broken, keeper])
    ended = StepEnded(time=1.0, result=StepResult(step="s", status=Status.COMPLETED, seconds=1.0))
    group.handle(ended)
    group.handle(ended)
    group.close()
    assert keeper.events == [ended, ended]
    assert broken.calls == ["step_ended"]
