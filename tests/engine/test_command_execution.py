"""A command on an invented cluster: a node is waited for, a kill is never too early, and what was lost is told."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from daskpar.engine import command_execution, heartbeats
from daskpar.engine.command_execution import LOSSES, CommandExecution
from daskpar.engine.command_task import NodeUnfit
from daskpar.engine.plugins.node import NodePlugin
from daskpar.engine.sizing import Sizing
from daskpar.errors import InfrastructureLost
from daskpar.events import Warned
from daskpar.processor.command_process import CommandRunner
from daskpar.processor.command_settings import CommandSettings
from daskpar.rundir.probe import NodeNeeds, NodeView
from own_descriptors import opened_since, own_descriptors


class Invented:
    """A cluster whose workers are those of `rounds`, one list for each time that it is asked; the last one stays."""

    def __init__(self, *rounds: list[str], status: str = "cancelled") -> None:
        self.rounds = list(rounds)
        self.connected = True
        self.client = SimpleNamespace(submit=self.submit)
        self.brings_nodes, self.sizing, self.silent, self.far = False, Sizing(lambda nodes: None), set(), {}
        self.status = status
        self.asked: list[str] = []

    def submit(self, function: Any, settings: CommandSettings, *, workers: list[str], **_: Any) -> Any:
        self.asked += workers
        future = SimpleNamespace(status=self.status, result=lambda: 7, release=lambda: None)
        future.add_done_callback = lambda tell: tell(future)
        return future

    def refresh(self) -> list[str]:
        return self.rounds.pop(0) if len(self.rounds) > 1 else self.rounds[0]


def execution(cluster: Invented, *, node_timeout: float = 60.0) -> CommandExecution:
    settings = CommandSettings(run_id="r", step="s", command="true", cwd="/", stdout="", stderr="")
    return CommandExecution(
        cluster=cluster,  # type: ignore[arg-type]
        settings=settings,
        publish=lambda event: None,
        before_again=lambda: None,
        node_timeout=node_timeout,
    )


def test_a_node_is_waited_for():
    assert execution(Invented([], ["a"], status="finished")).run() == 7


def test_but_not_without_end():
    with pytest.raises(InfrastructureLost, match=r"none came within 0 s; .*resume"):
        execution(Invented([]), node_timeout=0.0).run()


def test_a_command_whose_nodes_are_lost_says_so():
    cluster = Invented(["a", "b"])
    with pytest.raises(InfrastructureLost, match=f"was lost {LOSSES} times; .*resume"):
        execution(cluster).run()
    assert cluster.asked == ["a", "b", "a"]


def test_the_loss_of_a_node_is_told(monkeypatch):
    monkeypatch.setattr(command_execution, "POLL_SECONDS", 0.0)
    cluster = Invented(["a"])
    never = SimpleNamespace(release=lambda: None, add_done_callback=lambda tell: None)
    cluster.submit, cluster.workers, cluster.forget = lambda *_, **__: never, list, cluster.asked.append  # type: ignore[method-assign, attr-defined]
    cluster.client = SimpleNamespace(submit=cluster.submit)
    made = execution(cluster)
    said: list[Any] = []
    made.publish = said.append
    with pytest.raises(InfrastructureLost, match="was lost"):
        made.run()
    told = [event.text for event in said if isinstance(event, Warned)]
    assert told == ["node a was lost while it was running the command"] * LOSSES
    assert cluster.asked == ["a"] * LOSSES, "who comes under its address is asked anew"


def test_a_connection_that_is_lost_says_how_to_go_on():
    cluster = Invented(["a"])
    cluster.connected = False
    with pytest.raises(InfrastructureLost, match="resume"):
        execution(cluster).run()


def test_a_node_that_can_not_be_sent_what_it_needs_is_left_out_and_counts_as_no_loss(monkeypatch):
    views = {"near": NodeView(), "far": NodeView(far="no such folder"), "blind": NodeView("it sees nothing")}
    monkeypatch.setattr(command_execution, "view_of", lambda client, needs, worker, far: views[worker])
    monkeypatch.setattr(heartbeats, "watch", lambda *_: None)

    class Far:
        uploads = None

        def on(self, worker: str, view: NodeView, attempt: int) -> Any:
            raise NodeUnfit("its disk is full")

    made = execution(Invented(["blind", "far"], status="finished"), node_timeout=0.0)
    said: list[Any] = []
    made.needs, made.far, made.publish = lambda: NodeNeeds(run_directory=""), Far(), said.append  # type: ignore[assignment]
    with pytest.raises(InfrastructureLost, match=r"no node is left .*the last one: its disk is full"):
        made.run()
    told = [event.text for event in said if isinstance(event, Warned)]
    assert ["it sees nothing" in told[0], "its disk is full" in told[1], len(told)] == [True, True, 2]
    cluster = Invented(["far", "near"], status="finished")
    cluster.far["far"] = "no such folder"  # who sees the run directory comes first
    made = execution(cluster)
    made.needs, made.far = lambda: NodeNeeds(run_directory=""), Far()  # type: ignore[assignment]
    assert made.run() == 7 and cluster.asked == ["near"]


def test_a_frozen_node_takes_the_command_when_it_is_heard_again(monkeypatch):
    """A laptop that slept, a debugger, a machine that swaps: they are no reason to leave a node out for good."""
    heard = iter([False, False, True])

    def view_of(client: Any, needs: NodeNeeds, worker: str, far: str) -> NodeView:
        return NodeView()

    def frozen_once(client: Any, worker: str, call: Any) -> NodeView:
        monkeypatch.setattr(command_execution, "while_heard", lambda client, worker, call: call())
        raise heartbeats.WorkerFrozen("no heartbeat for 12 s")

    monkeypatch.setattr(command_execution, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(command_execution, "view_of", view_of)
    monkeypatch.setattr(command_execution, "while_heard", frozen_once)
    monkeypatch.setattr(command_execution, "is_heard", lambda client, address: next(heard))
    cluster = Invented(["a"], status="finished")
    made = execution(cluster)
    said: list[Any] = []
    made.needs, made.publish = lambda: NodeNeeds(run_directory=""), said.append
    assert made.run() == 7 and cluster.asked == ["a"]
    told = [event.text for event in said if isinstance(event, Warned)]
    assert len(told) == 1 and "a: no heartbeat for 12 s" in told[0] and "when it answers" in told[0]


def test_who_comes_under_the_address_of_a_node_that_was_left_out_is_another_one(monkeypatch):
    views = iter([NodeView("its disk is full"), NodeView()])
    monkeypatch.setattr(command_execution, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(command_execution, "view_of", lambda *_: next(views))
    monkeypatch.setattr(heartbeats, "watch", lambda *_: None)
    cluster = Invented(["a"], ["a"], [], ["a"], status="finished")
    made = execution(cluster)
    made.needs = lambda: NodeNeeds(run_directory="")
    assert made.run() == 7 and cluster.asked == ["a"] and len(cluster.rounds) == 1


def test_a_stop_ends_the_waiting():
    made = execution(Invented([]))
    made.stop("enough")
    assert made.run() is None


def test_a_kill_before_the_command_has_begun_counts_for_that_attempt():
    plugin = NodePlugin("r")
    plugin.setup(SimpleNamespace(stream_handlers={}, address="a", loop=Mock()))  # type: ignore[arg-type]
    plugin.kill_command("s", 0)
    assert not plugin.begin_command("s", 0, None)
    assert plugin.begin_command("s", 1, None)
    assert plugin.begin_command("other", 0, None)


def test_a_node_that_has_ended_begins_nothing():
    plugin = NodePlugin("r")
    worker = SimpleNamespace(stream_handlers={}, address="a", loop=Mock())
    plugin.setup(worker)  # type: ignore[arg-type]
    plugin.teardown(worker)  # type: ignore[arg-type]
    assert not plugin.begin_command("s", 0, None)
    with pytest.raises(RuntimeError, match="has ended"):
        plugin.open(SimpleNamespace(step="s", opened_as="s"))  # type: ignore[arg-type]


def test_a_request_to_open_a_step_that_its_end_has_overtaken_starts_nothing():
    plugin = NodePlugin("r")
    plugin.setup(SimpleNamespace(stream_handlers={}, address="a", loop=Mock()))  # type: ignore[arg-type]
    plugin.close("s")
    with pytest.raises(RuntimeError, match="step s has ended on worker a"):
        plugin.open(SimpleNamespace(step="s", opened_as="s"))  # type: ignore[arg-type]
    assert plugin.steps == {}


@pytest.mark.fresh_servers  # templates of servers, started by whichever test is first, stay open
@pytest.mark.parametrize("killed", [True, False])
def test_a_runner_leaves_no_descriptor_open_and_may_be_killed_before_it_runs(tmp_path, killed):
    before = own_descriptors()
    runner = CommandRunner(
        command="exit 5",
        cwd=str(tmp_path),
        environment={},
        stdout_path=str(tmp_path / "out"),
        stderr_path=str(tmp_path / "err"),
    )
    if killed:
        runner.kill()
    assert runner.run() == (137 if killed else 5)
    runner.kill()
    assert not opened_since(before)
