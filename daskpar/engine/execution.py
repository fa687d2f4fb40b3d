"""One plan run on the nodes of a cluster: the driver's loop between dispatcher, tracker and journal.

Everything that happens comes in through one inbox and is handled on one thread, so that what is committed,
queued again or given up is decided in one place and in one order.
"""

from __future__ import annotations

import logging
import pickle
import queue
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from time import monotonic, time
from typing import Any

from daskpar.batches.records import unpack
from daskpar.engine.block_tasks import BlockTasks
from daskpar.engine.cluster import RESUME, SCHEDULER_GONE, Cluster, bounded
from daskpar.engine.conversion_to_events import given_up, processor_event, resource_sample
from daskpar.engine.execution_result import Commit, ExecutionResult
from daskpar.engine.rules.blame import LOSSES
from daskpar.engine.rules.clocks import Patience, Waiting
from daskpar.engine.rules.counter import Tally
from daskpar.engine.rules.dispatch import Dispatcher
from daskpar.engine.rules.members import Members
from daskpar.engine.rules.node_losses import Losses
from daskpar.engine.worker_calls import await_last_words, close_on_worker, leave_on_workers, open_on_worker
from daskpar.errors import DaskparError, InfrastructureLost, JobFailed
from daskpar.events import Event, NodeEvent, NodeState, Progress, TriesEnded, Warned
from daskpar.processor import last_state
from daskpar.processor.last_state import LastState
from daskpar.processor.protocol import (
    BlockEnded,
    Flushed,
    LogMessage,
    Message,
    NodeClosed,
    NodeFailed,
    ProcessorChanged,
    ProcessorSettings,
    Released,
    Sampled,
)
from daskpar.results import Failure, InitFailed

logger = logging.getLogger(__name__)

PROGRESS_SECONDS = 0.2
"""How often watchers hear of progress at most."""
TICK_SECONDS = 0.25
"""How long the loop waits for a fact before it looks at its clocks."""
LOOK_SECONDS = 5.0
"""How often the cluster is asked for nodes while there is none."""
LEAVING_SECONDS = 15.0
"""What a node gets to end its processors, beside what `shutdown()` may take."""


@dataclass(kw_only=True)
class Execution:
    """Runs the mini-batches that `dispatcher` holds, of the plan that `settings` names, on up to
    `instance_count` nodes (-1: all).

    `settings` is what all nodes share; each gets its own number, threads and devices. `tally` starts from
    what is committed already.
    """

    cluster: Cluster
    settings: ProcessorSettings
    dispatcher: Dispatcher
    tally: Tally
    patience: Patience
    commit: Commit
    publish: Callable[[Event], None]
    instance_count: int = 1
    processors_wanted: int | None = None
    doing: str = ""
    """Name of the phase for progress displays; empty for the step's own mini-batches."""
    charged_items: Callable[[int], int] = lambda _: 1
    """Items of a mini-batch that was lost for good."""

    inbox: queue.SimpleQueue[tuple[Any, ...]] = field(default_factory=queue.SimpleQueue)
    outcome: ExecutionResult = field(default_factory=ExecutionResult)
    _stopped: bool = False
    _last_progress: float = 0.0
    _flushed_any: bool = False
    _look_for_nodes: bool = True
    _looked: float = 0.0
    _trouble: str = ""
    """What the last node to leave had."""
    _told: set[str] = field(default_factory=set)
    """Workers of another version that were warned of."""
    _ready: dict[str, set[int]] = field(default_factory=dict)
    """Node -> its processors past `init()`; their word may come before that of the node."""
    _losses: Losses = field(default_factory=Losses)

    def stop(self, reason: str, *, at_once: bool = False) -> None:
        """Ask for the end from any thread: no further call of `run()` is started, running ones are killed
        after two seconds.
        """
        self.inbox.put(("stop", reason, at_once))

    def run(self) -> ExecutionResult:
        """Run to the end; the nodes' processors have ended when this returns, whatever happened."""
        from daskpar.engine.plugins.tracker import tracker_name

        if self.dispatcher.finished:
            return self.outcome
        topic = tracker_name(self.settings.run_id, self.settings.step)
        self._waiting = Waiting(progress_since=monotonic())
        self.members = Members(instance_count=self.instance_count, processors_wanted=self.processors_wanted)
        self._tasks = BlockTasks(self.cluster.client, self.settings.run_id, self.settings.step, self.inbox)
        try:
            self._listen(topic)
            self._fill_up()
            self._loop()
        except DaskparError as error:
            status = "failed" if isinstance(error, JobFailed) else "lost"
            self.outcome.status, self.outcome.reason, self.outcome.error = status, str(error), error
            self._ask_nodes_to_stop("driver")
        except Exception as error:
            if self.cluster.connected:
                raise
            self.outcome.status, self.outcome.reason = "lost", SCHEDULER_GONE
            self.outcome.error = InfrastructureLost(f"{SCHEDULER_GONE}: {error!r}")
        finally:
            self._leave(topic)
        return self.outcome

    # -- facts in
    # ------------------------------------------------------------------------------------------------------------------

    def _listen(self, topic: str) -> None:
        from daskpar.engine.plugins.tracker import Tracker

        client, step = self.cluster.client, self.settings.step
        counts, thresholds = self.tally.counts, self.tally.thresholds
        tracker = Tracker(
            run_id=self.settings.run_id, step=step, driver=client.id, thresholds=thresholds, counts=counts
        )
        try:
            bounded(client.subscribe_topic, topic, self._hear)
            bounded(client.register_plugin, tracker, name=topic)
        except (TimeoutError, OSError) as error:
            raise InfrastructureLost(f"the Dask scheduler does not answer ({error}); {RESUME}") from error

    def _hear(self, event: tuple[float, tuple[Any, ...]]) -> None:
        self.inbox.put(event[1])

    def _loop(self) -> None:
        while True:
            try:
                fact: tuple[Any, ...] | None = self.inbox.get(timeout=TICK_SECONDS)
            except queue.Empty:
                fact = None
            while fact is not None:
                self._take(fact)
                try:
                    fact = self.inbox.get_nowait()
                except queue.Empty:
                    fact = None
            if self._stopped and not self.dispatcher.blocks:
                return
            if not self._stopped:
                if self.dispatcher.finished:
                    return
                if verdict := self.tally.verdict():
                    self._end("failed", verdict)
                if self._look_for_nodes:
                    self._fill_up()
                self._send_orders()
            self._look_at_clocks()
            self._show_progress()
            if self._stopped and self.outcome.status == "lost":
                return

    def _take(self, fact: tuple[Any, ...]) -> None:
        kind = fact[0]
        if kind == "messages":
            for message in pickle.loads(fact[2]):
                self._take_message(fact[1], message)
        elif kind == "verdict":
            self._end("failed", fact[1], nodes_know=True)
        elif kind == "joined":
            self._look_for_nodes = True
        elif kind == "opened":
            self._opened(*fact[1:])
        elif kind == "lost":
            self._lose(fact[1])
        elif kind == "words":
            self._bury(*fact[1:])
        elif kind == "task":
            self._task_ended(*fact[1:])
        elif kind == "stop":
            self._end("interrupted", fact[1])
            if fact[2]:
                self._waiting.stopping_since = float("-inf")

    def _take_message(self, address: str, message: Message) -> None:
        if isinstance(message, Flushed) or (
            not self._flushed_any and isinstance(message, ProcessorChanged) and message.state == "ready"
        ):
            # Once mini-batches have run, processors that come and go without one are no progress.
            self._waiting.progress_since = monotonic()
            self._flushed_any = self._flushed_any or isinstance(message, Flushed)
        if isinstance(message, Flushed):
            self._losses.done()
            self._flushed(message)
        elif isinstance(message, Released):
            self._released(address, message)
        elif isinstance(message, NodeFailed):
            self._broken(address, message)
        elif isinstance(message, BlockEnded):
            self.members.task_ended_well(address)
            owned = self.dispatcher.owns(message.block, message.token)
            self.dispatcher.end(message.block, message.token)
            if owned:
                self._tasks.drop(message.block)
        elif isinstance(message, InitFailed):
            self._note_failure(message)
            self._tell_of(address, message)
            if message.fatal:
                self._end("failed", message.message)
        elif isinstance(message, LogMessage):
            if message.level != "debug":
                self._warn(message.text)
        elif isinstance(message, ProcessorChanged):
            self._note_ready(address, message)
            self._tell_of(address, message)
        elif isinstance(message, Sampled):
            self.publish(resource_sample(self.settings.step, message))

    def _flushed(self, flushed: Flushed) -> None:
        records = unpack(flushed.records)
        accepted = self.dispatcher.settle(flushed.block, flushed.token, records["index"])
        if not accepted.any():
            logger.info("refused %d results of block %d: given to another since", len(records), flushed.block)
            return
        if not accepted.all():
            flushed = replace(flushed, records=records[accepted].tobytes())
        records = self.commit(flushed)
        for record in records[records["final"] == 0]:
            self.dispatcher.retry(int(record["index"]), int(record["tries"]) + 1)
        self.tally.add(records)
        self.dispatcher.sizer.measure(len(records), float(records["elapsed"].sum()))
        for failure in flushed.failures:
            self._note_failure(failure)
        if not self.doing:
            self.publish(
                TriesEnded(time=time(), step=self.settings.step, records=records, failures=flushed.failures)
            )

    def _note_ready(self, address: str, changed: ProcessorChanged) -> None:
        ready = self._ready.setdefault(address, set())
        if changed.state == "ready":
            ready.add(changed.processor)
        else:
            ready.discard(changed.processor)
        self._count_ready()

    def _count_ready(self) -> None:
        self.dispatcher.ready = {node for node, processors in self._ready.items() if processors}

    def _released(self, address: str, released: Released) -> None:
        suspect = released.reason in ("unwritten", "unbegun")
        taken = self.dispatcher.release(
            released.block, released.token, released.start, released.stop, suspect=suspect
        )
        if released.reason in ("unflushed", "unwritten"):
            self.tally.add_repeats(taken.requeued)
        for index in taken.failed:
            what = "before it began" if released.reason == "unbegun" else "while its rows were written"
            number = self.members.number(address) or 0
            self._give_up(
                index,
                number,
                f"its processor died each time {what}",
                "their size, or the memory that is left",
            )

    def _broken(self, address: str, broken: NodeFailed) -> None:
        if broken.disk:
            advice = (
                "what is committed is kept: put that right, then `python -m daskpar resume` goes on from here"
            )
            self._end("lost", f"{broken.message}; {advice}")
        else:
            self._leave_out(address, broken.message)

    def _note_failure(self, failure: Failure | InitFailed) -> None:
        first = self.outcome.first_failure
        if first is None or failure.time < first.time:
            self.outcome.first_failure = failure

    def _task_ended(self, number: int, status: str, error: str) -> None:
        # The word of the block's end travels ahead of the task's: a block that is still open has lost its
        # node, or never started.
        block = self.dispatcher.blocks.get(number)
        if block is None or status == "finished":
            return
        logger.info("the task of block %d ended as %s: %s", number, status, error)
        self._tasks.drop(number)
        if block.node in self._losses.dying:
            return  # what that means is told by the loss of its node
        self.dispatcher.lose_block(number)
        if block.node in self.members.open and self.members.task_failed(block.node):
            self._leave_out(block.node, f"node {block.node}: its blocks can't be started: {error or status}")

    # -- nodes
    # ---------------------------------------------------------------------------------------------------------------------

    def _fill_up(self) -> None:
        """Open the step on as many more workers as may take part; where nobody is left, wait for one or,
        where none can come, end.
        """
        self._look_for_nodes, self._looked = False, monotonic()
        if self._stopped:
            return
        self.cluster.refresh()
        for address, version in self.cluster.strangers.items():
            if address not in self._told:
                self._told.add(address)
                self._warn(
                    f"worker {address} has another daskpar ({version}) and is left out; install the same version everywhere"
                )
        for member in self.members.fill_up(self.cluster.facts):
            open_on_worker(self.cluster.client, member, member.settings(self.settings), self.inbox)
        if self.members.any:
            return
        if self.cluster.in_process:
            self._end("lost", self._trouble or "there is no node")
        elif self._waiting.nodes_since is None:
            self._waiting.nodes_since = monotonic()
            patience = f"up to {self.patience.nodes:g} s; a worker may be started by hand"
            self._warn(f"no node is left; waiting for the cluster to bring a new one ({patience})")

    def _opened(self, address: str, number: int, trouble: str) -> None:
        if trouble:
            if address in self.members.opening and self.members.opening[address].number == number:
                self._leave_out(address, f"node {address} could not start its processors: {trouble}")
            return
        member = self.members.opened(address, number)
        if member is None:
            return
        now = monotonic()
        if not self._flushed_any:
            self._waiting.progress_since = now
        elif self._waiting.nodes_since is not None:
            self._waiting.progress_since += (
                now - self._waiting.nodes_since
            )  # that was no time without progress of anybody
        self._waiting.nodes_since = None
        if (lost := self._losses.dying.get(address)) is not None:  # this is another one, come in its place
            self._bury(address, words=last_state.read(lost.node.settings(self.settings)))
        self._losses.joined(number, len(self.members.open))
        if not self._stopped:
            self.dispatcher.add_node(address, member.processors)
        self.publish(
            NodeEvent(
                time=time(), step=self.settings.step, node=number, address=address, state=NodeState.JOINED
            )
        )

    def _lose(self, address: str) -> None:
        """The cluster has lost a worker."""
        self.cluster.forget(address)
        node = self.members.lose(address)
        self._look_for_nodes = True
        if node is None:
            return
        running = min(self.dispatcher.lose_node(address), len(self._ready.pop(address, ())))
        self._count_ready()
        # Should another worker come under this address, Dask would run these there again.
        for number in [number for number, block in self.dispatcher.blocks.items() if block.node == address]:
            self._tasks.drop(number)
        self._losses.lost(address, node, running)
        await_last_words(node.settings(self.settings), address, self.inbox)

    def _bury(self, address: str, number: int | None = None, words: LastState | None = None) -> None:
        """What a lost node owed goes to others, now that its last words have come, or will not."""
        if (lost := self._losses.known(address, number, words)) is None:
            return
        node = lost.node
        loss = self.dispatcher.bury_node(address, running=lost.running, words=words)
        self._tasks.keep(self.dispatcher.blocks)
        detail = f"{loss.requeued} mini-batches go to other nodes"
        if loss.suspects:
            detail += f"; running: {', '.join(map(str, loss.suspects))}"
        self.publish(
            NodeEvent(
                time=time(),
                step=self.settings.step,
                node=node.number,
                address=address,
                state=NodeState.LOST,
                detail=detail,
            )
        )
        for index in loss.failed:
            self._give_up(
                index,
                node.number,
                f"it was running each time when {LOSSES} nodes were lost",
                "memory, a crash of the machine",
            )
        if verdict := self._losses.verdict():
            self._end("failed", verdict)

    def _leave_out(self, address: str, trouble: str) -> None:
        """A worker that is there can't go on: no fault of any mini-batch, and no reason to ask it again."""
        self._trouble = trouble
        self._warn(f"{trouble}; the node is left out")
        node = self.members.leave_out(address)
        self._look_for_nodes = True
        close_on_worker(self.cluster.client, address, self.settings)
        if node is None:
            return
        self._ready.pop(address, None)
        detail = f"{self.dispatcher.leave_node(address)} mini-batches go to other nodes"
        self._tasks.keep(self.dispatcher.blocks)
        self.publish(
            NodeEvent(
                time=time(),
                step=self.settings.step,
                node=node.number,
                address=address,
                state=NodeState.LOST,
                detail=detail,
            )
        )

    def _warn(self, text: str) -> None:
        self.publish(Warned(time=time(), step=self.settings.step, text=text))

    def _give_up(self, index: int, node: int, what: str, why: str) -> None:
        """A mini-batch that was running at its third loss has failed, though it never said a word."""
        record, failure = given_up(index, items=self.charged_items(index), node=node, what=what, why=why)
        flushed = Flushed(
            block=-1,
            token="",
            part="",
            offset=0,
            length=0,
            crc=0,
            records=record.tobytes(),
            failures=(failure,),
        )
        self.commit(flushed)
        self._losses.done()
        self.tally.add(record)
        self._note_failure(failure)
        self.publish(TriesEnded(time=time(), step=self.settings.step, records=record, failures=(failure,)))

    # -- orders out
    # ----------------------------------------------------------------------------------------------------------------

    def _send_orders(self) -> None:
        for address, order in self.dispatcher.orders():
            self._tasks.send(address, order)

    # -- the end
    # -------------------------------------------------------------------------------------------------------------------

    def _end(self, status: str, reason: str, *, nodes_know: bool = False) -> None:
        if self._stopped:
            return
        self._stopped = True
        self.outcome.status, self.outcome.reason = status, reason
        self._waiting.stopping_since = monotonic()
        self.dispatcher.drop_waiting()
        if not nodes_know:
            self._ask_nodes_to_stop(status)

    def _ask_nodes_to_stop(self, reason: str) -> None:
        from daskpar.engine.plugins.tracker import ask_tracker

        try:
            bounded(
                self.cluster.client.run_on_scheduler,
                ask_tracker,
                run_id=self.settings.run_id,
                step=self.settings.step,
                reason=reason,
            )
        except Exception:
            logger.warning("could not ask the nodes to stop; they are closed instead", exc_info=True)

    def _look_at_clocks(self) -> None:
        if not self.cluster.connected:
            # Dask connects again, but to a scheduler that has forgotten this run, or has told its nodes that
            # the driver is gone.
            self._end("lost", SCHEDULER_GONE, nodes_know=True)
            self._drop_blocks()
            return
        now = monotonic()
        if self._waiting.nodes_since is not None and now - self._looked > LOOK_SECONDS:
            self._look_for_nodes = True  # one that did not answer may do so now
        overdue = self._waiting.overdue(now, self.patience)
        if overdue == "stopping":
            self._drop_blocks()
        elif overdue == "nodes":
            last = f" (the last one: {self._trouble})" if self._trouble else ""
            self._end(
                "lost",
                f"no node is left{last} and none came within {self.patience.nodes:g} s; {RESUME}",
                nodes_know=True,
            )
        elif overdue == "progress":
            self._end(
                "failed",
                f"no progress for {self.patience.progress:g} s (progress_update_timeout): no mini-batch ended and no processor got "
                f"ready{self._under_way()}; look at the logs of the processors, or raise --progress_update_timeout",
            )

    def _under_way(self) -> str:
        first = sorted(min(block.due)[0] for block in self.dispatcher.blocks.values() if block.due)
        shown = ", ".join(map(str, first[:5])) + (", ..." if len(first) > 5 else "")
        return f" (under way or about to be: mini-batch {shown})" if first else ""

    def _drop_blocks(self) -> None:
        """Nobody will say any more what became of them: they stay uncommitted."""
        for block in list(self.dispatcher.blocks):
            self.dispatcher.lose_block(block)
        self.dispatcher.drop_waiting()

    def _show_progress(self, *, force: bool = False) -> None:
        now = monotonic()
        if not force and now - self._last_progress < PROGRESS_SECONDS:
            return
        self._last_progress = now
        running = min(len(self.dispatcher.blocks), self.dispatcher.processors)
        doing = self.doing
        if doing and self.tally.counts.planned:
            doing = f"{doing} {100 * self.tally.counts.done // self.tally.counts.planned} %"
        self.publish(
            Progress(
                time=time(), step=self.settings.step, counts=self.tally.counts, running=running, doing=doing
            )
        )

    def _leave(self, topic: str) -> None:
        """End the processors (with `shutdown()` where all is well), take our plugin and topic away."""
        from daskpar.engine.plugins.guard import remove_tracker
        from daskpar.engine.plugins.node import close_step, finish_step

        client = self.cluster.client
        self._tasks.keep(())
        leave = finish_step if self.outcome.status == "completed" else close_step
        patience = LEAVING_SECONDS + (self.settings.run_timeout if leave is finish_step else 0.0)
        taking_part = [*self.members.open, *self.members.opening]
        try:
            talking = list(self.members.open)
            leave_on_workers(
                client,
                taking_part,
                leave,
                self.settings,
                self.inbox,
                seconds=patience,
                talking=talking,
                hear=self._hear_last,
            )
            if client.status == "running":
                bounded(client.run_on_scheduler, remove_tracker, name=topic)
                bounded(client.unsubscribe_topic, topic)
        except Exception:
            logger.warning("leaving the cluster: some of the clean-up failed", exc_info=True)
        self._show_progress(force=True)

    def _hear_last(self, fact: tuple[Any, ...]) -> bool:
        """What processors say at their end: warnings of `shutdown()`, their exits; whether that was all."""
        messages = pickle.loads(fact[2]) if fact[0] == "messages" else ()
        for message in messages:
            if isinstance(message, LogMessage | ProcessorChanged | Sampled):
                self._take_message(fact[1], message)
        return any(isinstance(message, NodeClosed) for message in messages)

    def _tell_of(self, address: str, message: InitFailed | ProcessorChanged) -> None:
        self.publish(processor_event(self.settings.step, self.members.number(address), address, message))
