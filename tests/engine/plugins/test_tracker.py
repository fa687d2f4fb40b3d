"""The tracker on a scheduler that only writes down what is asked of it."""

from __future__ import annotations

import asyncio
import pickle
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from daskpar.batches.records import RECORD
from daskpar.engine.plugins.guard import remove_tracker
from daskpar.engine.plugins.step_metrics import metrics_of
from daskpar.engine.plugins.tracker import Tracker, ask_tracker, stop_name, tracker_name
from daskpar.engine.plugins.tracker_messages import (
    MessagesArrived,
    TrackerClosed,
    VerdictReached,
    WorkerJoined,
    WorkerLost,
    from_wire,
)
from daskpar.engine.rules.counter import Thresholds
from daskpar.processor.protocol import FIRST_COPY, BlockEnded, Flushed, LogMessage, NodeClosed
from daskpar.results import Counts, TryStatus


class Loop:
    """An event loop in which time passes when a test calls what is due."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def call_later(self, seconds: float, call: Any) -> None:
        self.calls.append(call)


class Scheduler(SimpleNamespace):
    """What a tracker needs of Dask's scheduler."""

    def __init__(self) -> None:
        super().__init__(stream_handlers={}, workers={"a", "b"}, plugins={}, told=[], stopped=[], loop=Loop())

    def client_send(self, client, message) -> None:
        self.told.append((client, from_wire(message["event"][1])))

    def worker_send(self, worker, message) -> None:
        self.stopped.append((worker, message["op"], message["step"], message["reason"]))


@pytest.fixture
def scheduler() -> Scheduler:
    return Scheduler()


@pytest.fixture
def tracker(scheduler) -> Tracker:
    made = Tracker(
        run_id="R",
        step="s",
        driver="client",
        thresholds=Thresholds(mini_batch_error_threshold=1),
        counts=Counts(planned=10),
    )
    scheduler.plugins[made.name] = made
    asyncio.run(made.start(scheduler))
    return made


def flushed(*indices: int, block: int = 1, token: str = "t", failed: bool = True) -> Flushed:
    records = np.zeros(len(indices), dtype=RECORD)
    records["index"], records["final"], records["items"] = indices, 1, 1
    records["status"] = TryStatus.FAILED if failed else TryStatus.SUCCEEDED
    return Flushed(
        block=block, token=token, part="", offset=0, length=0, crc=0, records=records.tobytes(), failures=()
    )


def say(tracker: Tracker, worker: str, *messages) -> None:
    tracker.report(worker=worker, messages=pickle.dumps(list(messages)))


def test_reports_are_counted_and_passed_on_as_they_came(tracker, scheduler):
    say(tracker, "a", flushed(0, 1, failed=False), flushed(2))
    assert (tracker.counter.counts.succeeded, tracker.counter.counts.failed) == (2, 1)
    [(client, message)] = scheduler.told
    assert isinstance(message, MessagesArrived)
    assert (client, message.address, len(pickle.loads(message.pickled))) == ("client", "a", 2)
    assert scheduler.stopped == []


def test_a_count_above_its_threshold_stops_the_nodes_that_have_spoken_once(tracker, scheduler):
    say(tracker, "a", flushed(0))
    say(tracker, "a", flushed(1))
    assert scheduler.stopped == [("a", stop_name("R"), "s", "threshold")]
    kinds = [type(message) for _, message in scheduler.told]
    assert kinds == [MessagesArrived, MessagesArrived, VerdictReached]
    say(tracker, "a", flushed(2))
    assert len(scheduler.stopped) == 1


def test_a_second_start_of_a_block_is_not_counted(tracker):
    say(tracker, "a", flushed(0, token="first"))
    say(tracker, "b", flushed(0, token="second"))
    assert tracker.counter.counts.failed == 1
    say(tracker, "a", BlockEnded(block=1, token="first"))
    say(tracker, "b", flushed(1, token="third", failed=False))
    assert (tracker.counter.counts.failed, tracker.counter.counts.succeeded) == (1, 1)


def test_second_copies_are_counted_by_the_driver_alone_and_who_comes_after_one_not_at_all(tracker, scheduler):
    say(tracker, "b", flushed(4, block=FIRST_COPY, failed=True))
    say(tracker, "b", flushed(5, block=FIRST_COPY + 1, failed=False))
    assert tracker.counter.counts == Counts(planned=10)
    say(tracker, "a", flushed(5))  # overtaken: its timeout came an instant before it was stopped
    assert tracker.counter.counts.failed == 0
    say(tracker, "a", flushed(4, block=2), flushed(6, block=3))
    assert tracker.counter.counts.failed == 2 and tracker.verdict
    assert sum(isinstance(message, MessagesArrived) for _, message in scheduler.told) == 4


def test_a_lost_node_is_told_and_not_listened_to_until_it_comes_back(tracker, scheduler):
    tracker.remove_worker(scheduler, "a")
    say(tracker, "a", flushed(0))
    assert tracker.counter.counts.failed == 0
    tracker.add_worker(scheduler, "a")
    say(tracker, "a", flushed(0, failed=False))
    assert tracker.counter.counts.succeeded == 1
    assert [message for _, message in scheduler.told][:2] == [WorkerLost("a"), WorkerJoined("a")]


def test_the_nodes_stop_when_they_are_asked_to(tracker, scheduler):
    say(tracker, "b", LogMessage(level="debug", text="open"))
    assert ask_tracker(scheduler, "R", "s", "interrupted")
    assert [(worker, reason) for worker, _, _, reason in scheduler.stopped] == [("b", "interrupted")]
    assert not ask_tracker(scheduler, "R", "another", "interrupted")


def test_what_comes_after_the_end_is_ignored(tracker, scheduler):
    assert scheduler.stream_handlers[tracker_name("R", "s")] == tracker.report
    asyncio.run(tracker.close())
    scheduler.stream_handlers[tracker_name("R", "s")](worker="a", messages=pickle.dumps([flushed(0)]))
    assert tracker.counter.counts.failed == 0
    tracker.stop_nodes("late")
    assert scheduler.stopped == []


def late_handler(tracker, scheduler, **close) -> Any:
    asyncio.run(tracker.close(**close))
    return scheduler.stream_handlers.get(tracker_name("R", "s"))


def say_late(handler, worker: str, *messages) -> None:
    handler(worker=worker, messages=pickle.dumps(list(messages)))


def test_nothing_is_left_on_the_scheduler_once_all_nodes_have_said_their_last(tracker, scheduler):
    say(tracker, "a", LogMessage(level="debug", text="open"))
    say(tracker, "b", LogMessage(level="debug", text="open"))
    say(tracker, "a", BlockEnded(block=1, token="t"), NodeClosed(node=0))
    say(tracker, "b", NodeClosed(node=1))
    assert late_handler(tracker, scheduler, asked=["a", "b"]) is None
    assert scheduler.told[-1] == ("client", TrackerClosed())
    assert scheduler.loop.calls == []


@pytest.mark.parametrize("spoken", [True, False])
def test_a_node_that_has_not_said_its_last_is_listened_to_until_it_has(tracker, scheduler, spoken):
    if spoken:
        say(tracker, "a", LogMessage(level="debug", text="open"))
    handler = late_handler(tracker, scheduler, asked=["a"])
    say_late(handler, "a", flushed(0))
    assert scheduler.stream_handlers
    say_late(handler, "a", flushed(1), NodeClosed(node=0))
    assert scheduler.stream_handlers == {}


def test_nobody_listens_to_a_node_that_has_left(tracker, scheduler):
    assert late_handler(tracker, scheduler, asked=["a"]) is not None
    [look] = scheduler.loop.calls
    look()
    assert scheduler.stream_handlers
    scheduler.workers.discard("a")
    scheduler.loop.calls[-1]()
    assert scheduler.stream_handlers == {}


def test_without_a_driver_late_reports_are_waited_for_for_a_while(tracker, scheduler):
    handler = late_handler(tracker, scheduler)
    say_late(handler, "a", NodeClosed(node=0))
    assert scheduler.stream_handlers
    [look] = scheduler.loop.calls
    look()
    assert scheduler.stream_handlers == {}


def test_a_tracker_of_the_same_name_that_came_meanwhile_stays(tracker, scheduler):
    handler = late_handler(tracker, scheduler, asked=["a"])
    scheduler.stream_handlers[tracker.name] = "another"
    say_late(handler, "a", NodeClosed(node=0))
    scheduler.loop.calls[0]()
    assert scheduler.stream_handlers == {tracker.name: "another"}


def test_what_is_divided_is_counted_by_the_driver_alone(scheduler):
    divides = Tracker(
        run_id="r",
        step="s",
        driver="client",
        thresholds=Thresholds(mini_batch_error_threshold=0),
        counts=Counts(planned=10),
        divides=True,
    )
    asyncio.run(divides.start(scheduler))
    records = np.zeros(3, RECORD)
    records["index"], records["final"], records["status"] = range(3), 1, TryStatus.SUCCEEDED
    records["items"] = 5
    records["status"][1] = TryStatus.FAILED
    whole = Flushed(block=1, token="t", part="", offset=0, length=0, crc=0, records=records.tobytes())
    piece = Flushed(
        block=2, token="t", part="", offset=0, length=0, crc=0, records=records[1:2].tobytes(), piece=(0, 1)
    )
    divides.report("tcp://a", pickle.dumps([whole, piece]))
    assert (divides.counter.counts.succeeded, divides.counter.counts.failed, divides.verdict) == (2, 0, "")
    records["items"] = 1  # nothing to divide
    divides.report(
        "tcp://a",
        pickle.dumps(
            [Flushed(block=3, token="t", part="", offset=0, length=0, crc=0, records=records[1:2].tobytes())]
        ),
    )
    assert "1 mini-batch failed" in divides.verdict


def test_metrics_show_every_try_and_at_the_end_the_drivers_counts(scheduler):
    pytest.importorskip("prometheus_client")
    scheduler.http_application = object()
    divides = Tracker(
        run_id="r",
        step="s",
        driver="client",
        thresholds=Thresholds(),
        counts=Counts(planned=1),
        label="s",
        divides=True,
    )
    asyncio.run(divides.start(scheduler))
    scheduler.plugins = {divides.name: divides}
    scheduler.remove_plugin = scheduler.plugins.pop
    records = np.zeros(1, RECORD)
    records["final"], records["status"], records["items"], records["run"] = 1, TryStatus.FAILED, 2, 0.5
    whole = Flushed(block=1, token="t", part="", offset=0, length=0, crc=0, records=records.tobytes())
    divides.report("tcp://a", pickle.dumps([whole, replace(whole, block=2, piece=(0, 1))]))
    last = Counts(planned=1, succeeded=1, items=2, failed_items=1, tries_failed=2, retried=1)
    asyncio.run(remove_tracker(scheduler, divides.name, [], last))
    metrics = metrics_of(scheduler)["r", "s"]
    assert (metrics.durations[1], metrics.counter.counts, metrics.over) == (1.0, last, True)
