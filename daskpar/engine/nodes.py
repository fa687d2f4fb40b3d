"""The nodes of one step: which workers take part, and what happens when one joins, fails or is lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from time import time
from typing import TYPE_CHECKING

from daskpar.engine.block_tasks import BlockTasks
from daskpar.engine.cluster import INSTALL, Cluster
from daskpar.engine.inbox import Inbox, LastStateKnown, StepOpened, WorkerUnheard
from daskpar.engine.rules.blame import LOSSES
from daskpar.engine.rules.dispatch import Dispatcher
from daskpar.engine.rules.init_failures import InitFailures
from daskpar.engine.rules.members import Members
from daskpar.engine.rules.node_losses import NodeLosses
from daskpar.engine.rules.node_versions import differences
from daskpar.engine.worker_calls import close_on_worker, find_last_state, open_on_worker
from daskpar.events import Event, NodeEvent, NodeState, Warned
from daskpar.processor import last_state
from daskpar.processor.last_state import LastState
from daskpar.processor.protocol import ProcessorChanged, ProcessorSettings
from daskpar.results import InitFailed
from daskpar.rundir.probe import NodeNeeds
from daskpar.value_classes import mutable

if TYPE_CHECKING:
    from daskpar.engine.far_nodes import FarNodes


@mutable(kw_only=True)
class StepNodes:
    """The nodes of a step, from the request to start their processors to their loss.

    A lost node keeps its blocks until its last state is known: only then is it certain which mini-batches may
    have taken it down.
    """

    cluster: Cluster
    settings: ProcessorSettings
    inbox: Inbox
    dispatcher: Dispatcher
    tasks: BlockTasks
    members: Members
    publish: Callable[[Event], None]
    give_up: Callable[[int, int, str, str], None]
    """Fails a mini-batch: its index, the number of the node, what happened and why that may be."""
    end: Callable[[str], None]
    """Ends the step as failed, for this reason."""
    closed: bool = False
    """Whether the step is ending: no worker is asked any more, and a node that opens now gets no blocks."""
    needs: Callable[[], NodeNeeds] | None = None
    """What a worker must see to take part; None where all is this machine."""
    far: FarNodes | None = None
    """Workers that do not see the run directory; None: they can't take part."""
    losses: NodeLosses = field(default_factory=NodeLosses)
    inits: InitFailures = field(default_factory=InitFailures)
    wanted: bool = True
    """Whether workers are to be looked for: some may have joined, or there are fewer than before."""
    trouble: str = ""
    """What was wrong with the node that was left out last."""
    _warned_of: set[str] = field(default_factory=set)
    """Workers of another version of daskpar, packages of another version."""
    _ready: dict[str, set[int]] = field(default_factory=dict)
    """Node -> its processors past `init()`. A processor may report before its node counts as open."""

    def fill_up(self) -> bool:
        """Open the step on as many more workers as may take part; whether any is there or opening."""
        self.wanted = False
        if self.closed:
            return True
        self.cluster.refresh()
        for address, version in self.cluster.strangers.items():
            if address not in self._warned_of:
                self._warned_of.add(address)
                what = f"another daskpar ({version})" if version else "no daskpar"
                self._warn(f"worker {address} has {what} and is left out; {INSTALL}")
        if not self.cluster.local:
            self._warn_of_packages()
        for member in self.members.fill_up(self.cluster.facts):
            open_on_worker(
                self.cluster.client, member, member.settings(self.settings), self.inbox, self.needs, self.far
            )
        return self.members.any

    def _warn_of_packages(self) -> None:
        from daskpar.engine.plugins.node import package_versions

        for difference, text in differences(self.cluster.facts.values(), package_versions()).items():
            if (key := " ".join(difference)) not in self._warned_of:
                self._warned_of.add(key)
                self._warn(text)

    @property
    def none_can(self) -> bool:
        """Whether workers are there, and each of them had to be left out."""
        return bool(self.cluster.facts) and self.members.left_out.issuperset(self.cluster.facts)

    def init_failed(self, address: str, failed: InitFailed) -> None:
        """A node's `init()` fails each time: the node is left out, or the step ends."""
        number = self.members.number(address)
        if number is None:
            return
        others = (self.members.open.keys() | self.members.opening.keys() | self.cluster.facts.keys()) - {
            address
        }
        if self.inits.ends(number, others=bool(others - self.members.left_out)):
            self.end(failed.message)
        else:
            self.leave_out(address, f"node {address}: {failed.message}; see {failed.log}")

    def opened(self, answer: StepOpened) -> bool:
        """A worker has started its processors, or could not; whether a new node takes part."""
        address, number = answer.address, answer.number
        if answer.trouble:
            opening = self.members.opening.get(address)
            if opening is not None and opening.number == number:
                self.leave_out(address, f"node {address} could not start its processors: {answer.trouble}")
            return False
        if self.members.is_one_too_many(address):
            self.leave_out(address, f"node {address} answers, and another one has taken its place")
            return False
        member = self.members.opened(address, number)
        if member is None:
            return False
        if (lost := self.losses.awaited.get(address)) is not None:
            # The new node has come under the address of a lost one, which can leave nothing more: its blocks
            # must not be taken for those of the new one.
            there = last_state.read(lost.node.settings(self.settings))
            self._requeue_lost(address, None, there)
        self.losses.node_joined(number, len(self.members.open))
        if not self.closed:
            self.dispatcher.add_node(address, member.processors)
        self._publish(number, address, NodeState.JOINED)
        return True

    def unheard(self, found: WorkerUnheard) -> None:
        """Nothing is heard of a worker that was to start its processors: it is waited for no longer."""
        if self.members.not_heard(found.address, found.number):
            self.wanted = True
            self.trouble = f"node {found.address}: {found.why}"
            self._warn(f"{self.trouble}; the step goes on without it, and takes it in when it answers")

    def processor_changed(self, address: str, changed: ProcessorChanged) -> None:
        """A processor is past `init()`, or has ended."""
        ready = self._ready.setdefault(address, set())
        if changed.state == "ready":
            ready.add(changed.processor)
            if (number := self.members.number(address)) is not None:
                self.inits.succeeded(number)
        else:
            ready.discard(changed.processor)
        self._count_ready()

    def is_another_good(self, address: str) -> bool:
        """Whether another node than this one has processors past `init()`."""
        return any(
            ready and node != address and node in self.members.open for node, ready in self._ready.items()
        )

    def _count_ready(self) -> None:
        self.dispatcher.ready = {node for node, processors in self._ready.items() if processors}

    def lost(self, address: str) -> None:
        """The cluster has lost a worker: its last state is looked for."""
        self.cluster.forget(address)
        node = self.members.lose(address)
        self.wanted = True
        if node is None:
            return
        ready = min(self.dispatcher.lose_node(address), len(self._ready.pop(address, ())))
        self._count_ready()
        # Should another worker come under this address, Dask would run these there again.
        for number in [number for number, block in self.dispatcher.blocks.items() if block.node == address]:
            self.tasks.drop(number)
        self.losses.node_lost(address, node, ready)
        find_last_state(node.settings(self.settings), address, self.inbox)

    def last_state_known(self, found: LastStateKnown) -> None:
        """The last state of a lost node has come, or will not."""
        self._requeue_lost(found.address, found.number, found.last_state)

    def _requeue_lost(self, address: str, number: int | None, state: LastState | None) -> None:
        """Give a lost node's mini-batches to others; those that took down too many nodes have failed."""
        if (lost := self.losses.last_state_known(address, number, state)) is None:
            return
        loss = self.dispatcher.requeue_lost_node(address, running=lost.ready, last_state=state)
        self.tasks.keep(self.dispatcher.under_way)
        detail = f"{loss.requeued} mini-batches go to other nodes"
        if loss.suspects:
            detail += f"; running: {', '.join(map(str, map(self.dispatcher.index_of, loss.suspects)))}"
        self._publish(lost.node.number, address, NodeState.LOST, detail)
        for index in loss.failed:
            self.give_up(
                index,
                lost.node.number,
                f"it was running each time when {LOSSES} nodes were lost",
                "memory, a crash of the machine",
            )
            self.losses.mini_batch_done()
        if verdict := self.losses.verdict():
            self.end(verdict)

    def leave_out(self, address: str, trouble: str) -> None:
        """A worker can't go on, though it is not lost: no mini-batch is to blame; it is not asked again."""
        self.trouble = trouble
        self._warn(f"{trouble}; the node is left out")
        node = self.members.leave_out(address)
        self.wanted = True
        close_on_worker(self.cluster.client, address, self.settings)
        if node is None:
            return
        self._ready.pop(address, None)
        detail = f"{self.dispatcher.leave_node(address)} mini-batches go to other nodes"
        self.tasks.keep(self.dispatcher.under_way)
        self._publish(node.number, address, NodeState.LOST, detail)

    def task_ended(self, number: int, status: str | None, error: str) -> None:
        """The Dask task of a block has ended before the block itself: the block is given out again."""
        block = self.dispatcher.blocks[number]
        self.tasks.drop(number)
        if block.node in self.losses.awaited:
            return  # what becomes of the block is decided when the last state of its node is known
        self.dispatcher.lose_block(number)
        if block.node in self.members.open and self.members.task_failed(block.node):
            self.leave_out(block.node, f"node {block.node}: its blocks can't be started: {error or status}")

    def _publish(self, number: int, address: str, state: NodeState, detail: str = "") -> None:
        self.publish(
            NodeEvent(
                time=time(),
                step=self.settings.step,
                node=number,
                address=address,
                state=state,
                detail=detail,
            )
        )

    def _warn(self, text: str) -> None:
        self.publish(Warned(time=time(), step=self.settings.step, text=text))
