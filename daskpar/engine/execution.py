"""One plan run on the nodes of a cluster: the driver's loop between dispatcher, tracker and journal.

Everything that happens comes in through one inbox and is handled on one thread, so that what is committed, queued again or given up is
decided in one place and in one order.
"""

from __future__ import annotations

import logging
import pickle
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from time import monotonic, time
from typing import TYPE_CHECKING, Any

import numpy as np

from daskpar.batches.records import RECORD, Reason, Status, unpack
from daskpar.engine.clocks import Patience, Waiting
from daskpar.engine.cluster import Cluster, bounded, gpus_per_node, processors_per_node, threads_per_processor
from daskpar.engine.dispatch import Dispatcher
from daskpar.engine.suspects import LOSSES
from daskpar.engine.tally import Tally
from daskpar.errors import DaskparError, InfrastructureLost, JobFailed
from daskpar.events import Event, NodeEvent, ProcessorEvent, Progress, ResourceSample, TriesEnded, Warned
from daskpar.processor.protocol import (
    Broken,
    Ended,
    Failure,
    Flushed,
    InitFailed,
    Message,
    Notice,
    ProcessorChanged,
    ProcessorSettings,
    Released,
    Sampled,
)

if TYPE_CHECKING:
    from distributed import Future

logger = logging.getLogger(__name__)

PROGRESS_SECONDS = 0.2
"""How often watchers hear of progress at most."""
TICK_SECONDS = 0.25
"""How long the loop waits for a fact before it looks at its clocks."""
LEAVING_SECONDS = 15.0
"""What a node gets to end its processors, beside what `shutdown()` may take."""


_SCHEDULER_GONE = "the connection to the Dask scheduler is lost; `python -m daskpar resume` goes on, there or on another cluster"

Commit = Callable[[Flushed], np.ndarray]
"""Takes a flush for good, in the journal of a step or, for an internal pass, nowhere; returns the records that count. Raises
InfrastructureLost when it can't be kept, JobFailed when it must not."""


@dataclass(kw_only=True)
class Outcome:
    """How an execution ended."""

    status: str = "completed"
    """`completed` (every mini-batch has its final outcome), `failed`, `interrupted`, `lost`."""
    reason: str = ""
    first_failure: Failure | InitFailed | None = None
    error: DaskparError | None = None
    """What made the driver itself give up: the disk, the cluster."""


@dataclass(kw_only=True)
class _Node:
    address: str
    number: int
    processors: int


@dataclass(kw_only=True)
class Execution:
    """Runs the mini-batches that `dispatcher` holds, of the plan that `settings` names, on up to `instance_count` nodes (-1: all there are).

    `settings` is what all nodes share; each gets its own number, threads and devices. `tally` starts from what is committed already.
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
    outcome: Outcome = field(default_factory=Outcome)
    nodes: dict[str, _Node] = field(default_factory=dict)
    _futures: dict[int, Future[Any]] = field(default_factory=dict)
    _numbers: int = 0
    _stopped: bool = False
    _last_progress: float = 0.0
    _opening: set[str] = field(default_factory=set)
    _ready: dict[str, set[int]] = field(default_factory=dict)
    """Node -> its processors past `init()`; their word may come before that of the node."""
    _left_out: set[str] = field(default_factory=set)
    """Nodes whose processors can't go on."""

    def stop(self, reason: str, *, at_once: bool = False) -> None:
        """Ask for the end from any thread: no further call of `run()` is started, running ones are killed after two seconds."""
        self.inbox.put(("stop", reason, at_once))

    def run(self) -> Outcome:
        """Run to the end; the nodes' processors have ended when this returns, whatever happened."""
        from daskpar.engine.tracker import Tracker, tracker_name

        if self.dispatcher.finished:
            return self.outcome
        client, run_id, step = self.cluster.client, self.settings.run_id, self.settings.step
        topic = tracker_name(run_id, step)
        self._waiting = Waiting(progress_since=monotonic())
        client.subscribe_topic(topic, self._hear)
        tracker = Tracker(run_id=run_id, step=step, driver=client.id, thresholds=self.tally.thresholds, counts=self.tally.counts)
        client.register_plugin(tracker, name=topic)
        try:
            self._join(self.cluster.refresh())
            self._loop()
        except DaskparError as error:
            status = "failed" if isinstance(error, JobFailed) else "lost"
            self.outcome.status, self.outcome.reason, self.outcome.error = status, str(error), error
            self._ask_nodes_to_stop("driver")
        except Exception as error:
            if client.status == "running":
                raise
            self.outcome.status, self.outcome.reason = "lost", _SCHEDULER_GONE
            self.outcome.error = InfrastructureLost(f"{_SCHEDULER_GONE}: {error!r}")
        finally:
            self._leave(topic)
        return self.outcome

    # -- facts in ------------------------------------------------------------------------------------------------------------------

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
            self._join([fact[1]])
        elif kind == "opened":
            self._opened(*fact[1:])
        elif kind == "lost":
            self._lose(fact[1])
        elif kind == "task":
            self._task_ended(*fact[1:])
        elif kind == "stop":
            self._end("interrupted", fact[1])
            if fact[2]:
                self._waiting.stopping_since = float("-inf")

    def _take_message(self, address: str, message: Message) -> None:
        if isinstance(message, Flushed) or (isinstance(message, ProcessorChanged) and message.state == "ready"):
            self._waiting.progress_since = monotonic()
        if isinstance(message, Flushed):
            self._flushed(message)
        elif isinstance(message, Released):
            self._released(address, message)
        elif isinstance(message, Broken):
            self._broken(address, message)
        elif isinstance(message, Ended):
            owned = self.dispatcher.owns(message.block, message.token)
            self.dispatcher.end(message.block, message.token)
            if owned and (future := self._futures.pop(message.block, None)) is not None:
                future.release()
        elif isinstance(message, InitFailed):
            self._note_failure(message)
            self._processor_event(address, message.processor, 0, "init_failed", message.message, message.time)
            if message.fatal:
                self._end("failed", message.message)
        elif isinstance(message, Notice):
            if message.level != "debug":
                self.publish(Warned(time=time(), step=self.settings.step, text=message.text))
        elif isinstance(message, ProcessorChanged):
            self._note_ready(address, message)
            self._processor_event(address, message.processor, message.pid, message.state, message.detail, message.time)
        else:
            self._sampled(message)

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
            self.publish(TriesEnded(time=time(), step=self.settings.step, records=records, failures=flushed.failures))

    def _note_ready(self, address: str, changed: ProcessorChanged) -> None:
        ready = self._ready.setdefault(address, set())
        if changed.state == "ready":
            ready.add(changed.processor)
        else:
            ready.discard(changed.processor)
        self.dispatcher.ready = {node for node, processors in self._ready.items() if processors}

    def _released(self, address: str, released: Released) -> None:
        unwritten = released.reason == "unwritten"
        taken = self.dispatcher.release(released.block, released.token, released.start, released.stop, suspect=unwritten)
        if released.reason in ("unflushed", "unwritten"):
            self.tally.add_repeats(taken.requeued)
        for index in taken.failed:
            number = self.nodes[address].number if address in self.nodes else 0
            self._give_up(
                index, number, "its processor died each time while its rows were written", "their size, or the memory that is left"
            )

    def _broken(self, address: str, broken: Broken) -> None:
        if broken.disk:
            advice = "what is committed is kept: put that right, then `python -m daskpar resume` goes on from here"
            self._end("lost", f"{broken.message}; {advice}")
            return
        self.publish(Warned(time=time(), step=self.settings.step, text=f"{broken.message}; the node is left out"))
        self._left_out.add(address)
        self._lose(address)

    def _note_failure(self, failure: Failure | InitFailed) -> None:
        first = self.outcome.first_failure
        if first is None or failure.time < first.time:
            self.outcome.first_failure = failure

    def _task_ended(self, block: int, status: str, error: str) -> None:
        # The word of the block's end travels ahead of the task's: a block that is still open has lost its node, or never started.
        if block in self.dispatcher.blocks and status != "finished":
            logger.info("the task of block %d ended as %s: %s", block, status, error)
            self._futures.pop(block, None)
            self.dispatcher.lose_block(block)

    # -- nodes ---------------------------------------------------------------------------------------------------------------------

    def _join(self, addresses: list[str]) -> None:
        """Open the step on workers that may take part, each on a thread of its own: one that does not answer holds up no other."""
        wanted = len(addresses) + len(self.nodes) if self.instance_count == -1 else self.instance_count
        for address in addresses:
            if len(self.nodes) + len(self._opening) >= wanted or self._stopped:
                break
            if address in self.nodes or address in self._opening or address in self._left_out:
                continue
            self._opening.add(address)
        chosen = [a for a in addresses if a in self._opening]
        if not chosen:
            return
        if any(address not in self.cluster.facts for address in chosen):
            self.cluster.refresh()
        facts = [self.cluster.facts[a] for a in [*self.nodes, *chosen] if a in self.cluster.facts]
        processors = processors_per_node(facts, self.processors_wanted)
        gpus = gpus_per_node(facts, processors)
        for address in chosen:
            if address not in processors:
                self._opening.discard(address)
                continue
            mine = self.cluster.facts[address]
            settings = replace(
                self.settings,
                node=self._numbers,
                python=mine.python,
                processors=processors[address],
                gpus=gpus[address],
                threads=threads_per_processor(mine, facts, processors),
            )
            self._numbers += 1
            threading.Thread(target=self._open, args=(address, settings), daemon=True, name=f"daskpar-open-{address}").start()

    def _open(self, address: str, settings: ProcessorSettings) -> None:
        from daskpar.engine.node import open_step

        try:
            self.cluster.client.run(open_step, run_id=settings.run_id, settings=settings, workers=[address])
        except Exception as error:  # whatever it is, it is this node's trouble alone
            self.inbox.put(("opened", address, settings, f"{type(error).__name__}: {error}"))
        else:
            self.inbox.put(("opened", address, settings, ""))

    def _opened(self, address: str, settings: ProcessorSettings, trouble: str) -> None:
        self._opening.discard(address)
        if trouble:
            text = f"node {address} could not start its processors and is left out: {trouble}"
            self.publish(Warned(time=time(), step=self.settings.step, text=text))
            if not self.nodes and not self._opening:
                self._end("lost", text)
            return
        self.nodes[address] = _Node(address=address, number=settings.node, processors=settings.processors)
        self._waiting.nodes_since = None
        self._waiting.progress_since = monotonic()
        if not self._stopped:
            self.dispatcher.add_node(address, settings.processors)
        self.publish(NodeEvent(time=time(), step=self.settings.step, node=settings.node, address=address, state="joined"))

    def _lose(self, address: str) -> None:
        node = self.nodes.pop(address, None)
        self._opening.discard(address)
        self.cluster.facts.pop(address, None)
        if node is None:
            return
        loss = self.dispatcher.lose_node(address, len(self._ready.pop(address, ())))
        for block in [b for b in self._futures if b not in self.dispatcher.blocks]:
            self._futures.pop(block).release()
        detail = f"{loss.requeued} mini-batches go to other nodes"
        if loss.suspects:
            detail += f"; running: {', '.join(map(str, loss.suspects))}"
        self.publish(NodeEvent(time=time(), step=self.settings.step, node=node.number, address=address, state="lost", detail=detail))
        for index in loss.failed:
            self._give_up(index, node.number, f"it was running each time when {LOSSES} nodes were lost", "memory, a crash of the machine")
        if not self.nodes and not self._stopped:
            self._waiting.nodes_since = monotonic()
            self.publish(
                Warned(time=time(), step=self.settings.step, text="every node is lost; waiting for the cluster to bring a new one")
            )
        if not self._stopped:
            self._join(self.cluster.refresh())

    def _give_up(self, index: int, node: int, what: str, why: str) -> None:
        """A mini-batch that was running at its third loss has failed, though it never said a word."""
        items = self.charged_items(index)
        record = np.zeros(1, dtype=RECORD)
        record["index"], record["items"], record["failed_items"], record["node"] = index, items, items, node
        record["status"], record["reason"], record["final"], record["started"] = Status.FAILED, Reason.LOST, 1, time()
        failure = Failure(
            index=index,
            reason=Reason.LOST,
            message=f"mini-batch {index} is given up: {what}, so it probably is the cause ({why})",
            time=time(),
            final=True,
        )
        flushed = Flushed(block=-1, token="", part="", offset=0, length=0, crc=0, records=record.tobytes(), failures=(failure,))
        self.commit(flushed)
        self.tally.add(record)
        self._note_failure(failure)
        self.publish(TriesEnded(time=time(), step=self.settings.step, records=record, failures=(failure,)))

    # -- orders out ----------------------------------------------------------------------------------------------------------------

    def _send_orders(self) -> None:
        from daskpar.engine.node import run_block

        run_id, step = self.settings.run_id, self.settings.step
        for address, order in self.dispatcher.orders():
            # One positional value: submit would swallow keywords of its own names. The worker is fixed: what a lost node owed is
            # planned again by the dispatcher, under a new number.
            future = self.cluster.client.submit(
                run_block,
                run_id,
                step,
                order,
                key=f"daskpar-{step}-block-{order.block}-{run_id}",
                workers=[address],
                allow_other_workers=False,
                pure=False,
                retries=0,
            )
            self._futures[order.block] = future
            future.add_done_callback(lambda f, block=order.block: self._done(block, f))

    def _done(self, block: int, future: Future[Any]) -> None:
        error = ""
        if future.status == "error":
            error = repr(future.exception())
        self.inbox.put(("task", block, future.status, error))

    # -- the end -------------------------------------------------------------------------------------------------------------------

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
        from daskpar.engine.tracker import ask_tracker

        try:
            bounded(self.cluster.client.run_on_scheduler, ask_tracker, run_id=self.settings.run_id, step=self.settings.step, reason=reason)
        except Exception:
            logger.warning("could not ask the nodes to stop; they are closed instead", exc_info=True)

    def _look_at_clocks(self) -> None:
        if self.cluster.client.status != "running":
            # Dask would connect again, to a scheduler that has forgotten this run, or has told its nodes that the driver is gone.
            self._end("lost", _SCHEDULER_GONE, nodes_know=True)
            return
        overdue = self._waiting.overdue(monotonic(), self.patience)
        if overdue == "stopping":
            for block in list(self.dispatcher.blocks):
                self.dispatcher.lose_block(block)
            self.dispatcher.drop_waiting()
        elif overdue == "nodes":
            self._end("lost", f"every node is lost and none came back within {self.patience.nodes:g} s", nodes_know=True)
        elif overdue == "progress":
            self._end(
                "failed",
                f"no progress for {self.patience.progress:g} s (progress_update_timeout): no mini-batch ended and no processor got "
                "ready; look at the logs of the processors, or raise --progress_update_timeout",
            )

    def _show_progress(self, *, force: bool = False) -> None:
        now = monotonic()
        if not force and now - self._last_progress < PROGRESS_SECONDS:
            return
        self._last_progress = now
        running = min(len(self.dispatcher.blocks), self.dispatcher.processors)
        doing = self.doing
        if doing and self.tally.counts.planned:
            doing = f"{doing} {100 * self.tally.counts.done // self.tally.counts.planned} %"
        self.publish(Progress(time=time(), step=self.settings.step, counts=self.tally.counts, running=running, doing=doing))

    def _leave(self, topic: str) -> None:
        """End the processors (with `shutdown()` where all is well), take our plugin and topic away."""
        from daskpar.engine.guard import remove_tracker
        from daskpar.engine.node import close_step, finish_step

        client = self.cluster.client
        for future in self._futures.values():
            future.release()
        self._futures.clear()
        leave = finish_step if self.outcome.status == "completed" else close_step
        patience = LEAVING_SECONDS + (self.settings.run_timeout if leave is finish_step else 0.0)
        try:
            self._leave_nodes(leave, [*self.nodes, *self._opening], monotonic() + patience)
            if client.status == "running":
                bounded(client.run_on_scheduler, remove_tracker, name=topic)
                bounded(client.unsubscribe_topic, topic)
        except Exception:
            logger.warning("leaving the cluster: some of the clean-up failed", exc_info=True)
        self._show_progress(force=True)

    def _leave_nodes(self, leave: Callable[..., Any], addresses: list[str], deadline: float) -> None:
        """Have every node end its processors; one that is lost meanwhile, or does not answer, is not waited for.

        What processors say at their end is taken: warnings of `shutdown()`, their exits.
        """
        client, waiting = self.cluster.client, set(addresses)

        def ask(address: str) -> None:
            try:
                client.run(leave, run_id=self.settings.run_id, step=self.settings.step, workers=[address], on_error="ignore")
            except Exception as error:
                logger.info("node %s could not be left in order: %r", address, error)
            self.inbox.put(("left", address))

        if client.status == "running":
            for address in addresses:
                threading.Thread(target=ask, args=(address,), daemon=True, name=f"daskpar-leave-{address}").start()
        while waiting or not self.inbox.empty():
            if client.status != "running" or monotonic() > deadline:
                return
            try:
                fact = self.inbox.get(timeout=TICK_SECONDS)
            except queue.Empty:
                continue
            if fact[0] in ("left", "lost"):
                waiting.discard(fact[1])
            elif fact[0] == "stop" and fact[2]:
                deadline = monotonic()
            elif fact[0] == "messages":
                for message in pickle.loads(fact[2]):
                    if isinstance(message, Notice | ProcessorChanged | Sampled):
                        self._take_message(fact[1], message)

    def _processor_event(self, address: str, processor: int, pid: int, state: str, detail: str, when: float) -> None:
        number = self.nodes[address].number if address in self.nodes else -1
        self.publish(
            ProcessorEvent(
                time=when or time(),
                step=self.settings.step,
                node=number,
                address=address,
                processor=processor,
                pid=pid,
                state=state,
                detail=detail,
            )
        )

    def _sampled(self, sample: Sampled) -> None:
        self.publish(
            ResourceSample(
                time=sample.time,
                step=self.settings.step,
                node=sample.node,
                node_usage=sample.node_usage,
                disk_usage=sample.disk_usage,
                processes=sample.processes,
            )
        )
