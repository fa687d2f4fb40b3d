"""The driver's loop on an invented cluster: what fails to open, breaks or goes is replaced or ends the step, and nothing spins."""

from __future__ import annotations

import pickle
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from daskpar.batches.records import RECORD, unpack
from daskpar.engine import heartbeats
from daskpar.engine.cluster import SCHEDULER_GONE
from daskpar.engine.execution import Execution
from daskpar.engine.plugins.node import close_step, finish_step, open_step, run_block
from daskpar.engine.plugins.scheduler_calls import last_heartbeat
from daskpar.engine.plugins.tracker_messages import MessagesArrived, TrackerMessage, WorkerJoined, to_wire
from daskpar.engine.rules.allocation import NodeFacts
from daskpar.engine.rules.block_size import BlockSizer
from daskpar.engine.rules.clocks import Timeouts
from daskpar.engine.rules.counter import ThresholdCounter, Thresholds
from daskpar.engine.rules.dispatch import Dispatcher
from daskpar.engine.sizing import Sizing
from daskpar.errors import InfrastructureLost
from daskpar.events import TriesEnded, Warned
from daskpar.processor.protocol import (
    BlockEnded,
    Flushed,
    LogMessage,
    NodeClosed,
    NodeFailed,
    ProcessorSettings,
    Released,
)
from daskpar.results import Counts, TryStatus
from daskpar.rows.shared_folder import SharedFolder
from daskpar.rundir.probe import NodeNeeds, NodeView

SETTINGS = ProcessorSettings(
    run_id="r", step="s", node=0, python="p", processors=1, entry_script="e", code=None, plan="", store=SharedFolder(Path("parts")), shared="", logs="", work="",
    working_dir="", output_dir="",
)  # fmt: skip


class Invented:
    """Cluster and client in one. Each worker's habit: `fine`, `closed` (can't open), `broken`, `erring` (its tasks), `deaf`, `deadly`."""

    id, status = "me", "running"

    def __init__(self, in_process: bool = False, **habits: str) -> None:
        self.client, self.in_process, self.habits = self, in_process, habits
        self.connected, self.strangers, self.local = True, {}, in_process
        self.hanging, self.brings_nodes = set(), False
        self.silent, self.on_answer = set(), set()
        self.sizing = Sizing(lambda nodes: None)
        self._event_handlers: dict[str, Any] = {}
        self.opened: list[str] = []
        self.tasks = 0
        self.thawed = threading.Event()

    @property
    def facts(self) -> dict[str, NodeFacts]:
        return {
            a: NodeFacts(address=a, host=a, cores=1, gpus=(), version="1", python="p", pid=1)
            for a in self.habits
        }

    def refresh(self) -> list[str]:
        return list(self.facts)

    def forget(self, address: str) -> None:
        self.habits.pop(address, None)

    def register_plugin(self, plugin: object, name: str) -> None:
        pass

    def run_on_scheduler(self, function: Any, address: str = "", **_: Any) -> Any:
        frozen = self.habits.get(address) == "frozen"
        return (30.0 if frozen else 0.1, 0.5) if function is last_heartbeat else None

    def run(self, function: Any, *, workers: list[str], **_: Any) -> None:
        if function is open_step:
            self.opened += workers
            if self.habits[workers[0]] == "closed":
                raise RuntimeError("no room")
            if self.habits[workers[0]] == "frozen":
                self.thawed.wait()
        elif function in (close_step, finish_step):
            self.say(workers[0], LogMessage(level="warning", text="said on the way out"), NodeClosed(node=0))

    def submit(
        self, function: Any, run_id: str, step: str, order: Any, *, workers: list[str], **_: Any
    ) -> Any:
        assert function is run_block
        self.tasks += 1
        [address], token = workers, f"t{order.block}"
        habit = self.habits[address]
        future = SimpleNamespace(status="pending", release=lambda: None, add_done_callback=lambda _: None)
        if habit == "erring":
            future = SimpleNamespace(
                status="error", exception=lambda: RuntimeError("not here"), release=lambda: None
            )
            future.add_done_callback = lambda told: told(future)
        elif habit == "broken":
            self.say(address, NodeFailed(node=0, message="can't go on", disk=False))
        elif habit == "deadly":
            self.say(
                address,
                Released(
                    block=order.block, token=token, start=order.start, stop=order.stop, reason="unbegun"
                ),
                BlockEnded(block=order.block, token=token),
            )
        elif habit == "fine":
            records = np.zeros(order.stop - order.start, dtype=RECORD)
            records["index"], records["status"], records["final"] = (
                range(order.start, order.stop),
                TryStatus.SUCCEEDED,
                1,
            )
            flushed = Flushed(
                block=order.block, token=token, part="", offset=0, length=0, crc=0, records=records.tobytes()
            )
            self.say(address, flushed, BlockEnded(block=order.block, token=token))
        return future

    def send(self, message: TrackerMessage) -> None:
        [hear] = self._event_handlers.values()
        hear((0.0, to_wire(message)))

    def say(self, address: str, *messages: object) -> None:
        self.send(MessagesArrived(address, pickle.dumps(list(messages))))


def execution(
    cluster: Invented, *, count: int = 5, nodes: int = 1, patience: float = 60.0
) -> tuple[Execution, list[Any]]:
    said: list[Any] = []
    made = Execution(
        cluster=cluster,  # type: ignore[arg-type]
        settings=SETTINGS,
        dispatcher=Dispatcher([(0, count)], BlockSizer()),
        counter=ThresholdCounter(Thresholds(), Counts(planned=count)),
        timeouts=Timeouts(progress=60.0, nodes=patience, stopping=60.0),
        commit=lambda flushed: unpack(flushed.records),
        publish=said.append,
        instance_count=nodes,
    )
    return made, said


def warnings(said: list[Any]) -> str:
    return "\n".join(event.text for event in said if isinstance(event, Warned))


@pytest.mark.parametrize(
    ("habit", "word"),
    [
        ("closed", "could not start its processors: RuntimeError: no room"),
        ("broken", "can't go on"),
        ("erring", "not here"),
    ],
)
def test_a_node_that_can_not_is_left_out_and_replaced(habit, word):
    cluster = Invented(a=habit, b="fine", c="fine")
    made, said = execution(cluster)
    assert made.run().status == "completed"
    assert made.counter.counts.succeeded == 5
    assert made.counter.counts.failed == 0
    assert cluster.opened == ["a", "b"]
    assert word in warnings(said)
    assert "left out" in warnings(said)


@pytest.mark.parametrize("habit", ["closed", "broken", "erring"])
def test_where_no_node_can_come_the_step_ends_with_the_reason(habit):
    cluster = Invented(in_process=True, a=habit)
    ended = execution(cluster)[0].run()
    assert ended.status == "lost"
    assert ended.reason
    assert cluster.opened == ["a"]
    assert cluster.tasks < 20


def test_elsewhere_a_new_node_is_waited_for():
    cluster = Invented(a="closed")
    made, said = execution(cluster)
    publish = made.publish

    def join(event: Any) -> None:
        publish(event)
        if isinstance(event, Warned) and "waiting for the cluster" in event.text:
            cluster.habits["b"] = "fine"
            cluster.send(WorkerJoined("b"))

    made.publish = join
    assert made.run().status == "completed"
    assert cluster.opened == ["a", "b"]
    assert "waiting for the cluster" in warnings(said)


def test_nobody_is_waited_for_without_end():
    ended = execution(Invented(a="closed"), patience=0.0)[0].run()
    assert ended.status == "lost"
    assert "no room" in ended.reason
    assert "resume" in ended.reason


def test_a_node_that_freezes_while_it_opens_is_given_up_and_taken_in_when_it_answers(monkeypatch):
    monkeypatch.setattr(heartbeats, "FIRST_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(heartbeats, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr("daskpar.engine.node_probe.view_of", lambda *_: NodeView())
    cluster = Invented(a="frozen", b="fine")
    made, said = execution(cluster)
    made.needs = lambda: NodeNeeds(run_directory="")
    assert made.run().status == "completed"
    assert cluster.opened == ["a", "b"]
    assert "node a: no heartbeat of its Dask worker for 30 s" in warnings(said)
    cluster.thawed.set()

    alone = Invented(a="frozen")
    made, said = execution(alone)
    made.needs, publish = lambda: NodeNeeds(run_directory=""), made.publish

    def thaw(event: Any) -> None:
        publish(event)
        if isinstance(event, Warned) and "waiting for the cluster" in event.text:
            alone.habits["a"] = "fine"
            alone.thawed.set()

    made.publish = thaw
    assert made.run().status == "completed"
    assert alone.opened == ["a"] and "takes it in when it answers" in warnings(said)


def test_all_nodes_are_opened_once_though_they_join_while_others_open():
    cluster = Invented(a="deaf", b="deaf")
    made, _ = execution(cluster, nodes=-1)
    publish = made.publish

    def more(event: Any) -> None:
        publish(event)
        if getattr(event, "state", "") == "joined" and "c" not in cluster.habits:
            cluster.habits["c"] = "deaf"
            cluster.send(WorkerJoined("c"))
        if len(made.nodes.members.open) == 3:
            made.stop("enough", at_once=True)

    made.publish = more
    assert made.run().status == "interrupted"
    assert sorted(cluster.opened) == ["a", "b", "c"]


@pytest.mark.parametrize("stopped", [True, False])
def test_a_scheduler_that_is_gone_ends_the_loop(stopped):
    cluster = Invented(a="deaf")
    made, _ = execution(cluster)
    publish = made.publish

    def go(event: Any) -> None:
        publish(event)
        if getattr(event, "state", "") == "joined":
            if stopped:
                made.stop("enough")
            cluster.connected = False

    made.publish = go
    ended = made.run()
    assert (ended.status, ended.reason) == (
        ("interrupted", "enough") if stopped else ("lost", SCHEDULER_GONE)
    )
    assert not made.dispatcher.blocks


def test_a_scheduler_that_does_not_answer_at_the_start_is_lost():
    cluster = Invented(a="fine")

    def silent(plugin: object, name: str) -> None:
        raise TimeoutError("no answer")

    cluster.register_plugin = silent  # type: ignore[method-assign]
    ended = execution(cluster)[0].run()
    assert ended.status == "lost"
    assert isinstance(ended.error, InfrastructureLost)
    assert "resume" in ended.reason


def test_a_worker_of_another_version_is_warned_of_once():
    cluster = Invented(a="closed", b="fine")
    cluster.strangers = {"x": "0.0.7"}
    made, said = execution(cluster)
    assert made.run().status == "completed"
    assert warnings(said).count("another daskpar (0.0.7)") == 1


def test_what_dies_before_it_begins_has_failed_in_the_end():
    made, said = execution(Invented(a="deadly"), count=3)
    assert made.run().status == "completed"
    assert (made.counter.counts.failed, made.counter.counts.repeats) == (3, 0)
    [first, *_] = [event.failures[0] for event in said if isinstance(event, TriesEnded)]
    assert "died each time before it began" in first.message
