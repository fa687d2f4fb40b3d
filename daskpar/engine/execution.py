"""One plan run on the nodes of a cluster: the driver's loop between dispatcher, tracker and journal.

Everything that happens comes in through one inbox and is handled on one thread, so that what is committed,
queued again or given up is decided in one place and in one order.
"""

from __future__ import annotations

import logging
import pickle
import queue
from collections.abc import Callable, Iterator
from dataclasses import field
from time import monotonic, time
from typing import TYPE_CHECKING

from daskpar.engine.backups import backups_of
from daskpar.engine.block_tasks import BlockTasks
from daskpar.engine.cluster import RESUME, SCHEDULER_GONE, Cluster
from daskpar.engine.dividing import Dividing
from daskpar.engine.execution_result import Commit, ExecutionResult
from daskpar.engine.inbox import (
    DriverMessage,
    Inbox,
    LastStateKnown,
    StepOpened,
    StopRequested,
    TaskEnded,
    WorkerUnheard,
)
from daskpar.engine.leaving import Leaving
from daskpar.engine.message_events import long_calls_changed, processor_event, resource_sample
from daskpar.engine.node_use import NodeUse
from daskpar.engine.nodes import StepNodes
from daskpar.engine.plugins.tracker_messages import MessagesArrived, VerdictReached, WorkerJoined, WorkerLost
from daskpar.engine.rules.clocks import StepClocks, Timeouts
from daskpar.engine.rules.counter import ThresholdCounter
from daskpar.engine.rules.dispatch import Dispatcher
from daskpar.engine.rules.gathering import where_failures_gather
from daskpar.engine.rules.gpu_shares import shares_of
from daskpar.engine.rules.members import Members
from daskpar.engine.tracker_link import TrackerLink
from daskpar.engine.try_results import TryResults
from daskpar.engine.unreached import UnreachedData
from daskpar.errors import DaskparError, InfrastructureLost, RunDirectoryError
from daskpar.events import Event, Progress, Warned
from daskpar.printable import in_brackets
from daskpar.processor.protocol import (
    BlockEnded,
    CarriedRows,
    Flushed,
    LogMessage,
    LongCalls,
    Message,
    NodeClosed,
    NodeFailed,
    NotUploaded,
    ProcessorChanged,
    ProcessorSettings,
    Released,
    ReleaseReason,
    ReturnedFile,
    Sampled,
)
from daskpar.results import InitFailed, Status, status_of
from daskpar.rundir.probe import NodeNeeds
from daskpar.value_classes import mutable

if TYPE_CHECKING:
    from daskpar.engine.far_nodes import FarNodes

logger = logging.getLogger(__name__)

PROGRESS_SECONDS = 0.2
"""How often progress is published at most."""
TICK_SECONDS = 0.25
"""How long the loop waits for a message before it looks at its clocks."""
LOOK_SECONDS = 5.0
"""How often the cluster is asked for nodes while there is none."""
RESUME_LATER = "what is committed is kept: put that right, then `python -m daskpar resume` goes on from here"
LEAVING_SECONDS = 15.0
"""What a node gets to end its processors; what `shutdown()` may take comes on top."""


@mutable(kw_only=True)
class Execution:
    """Runs the mini-batches that `dispatcher` holds on up to `instance_count` nodes (-1: all).

    `settings` names the plan and holds what all nodes share; each gets its own number, threads and devices.
    `counter` starts from what is committed already.
    """

    cluster: Cluster
    settings: ProcessorSettings
    dispatcher: Dispatcher
    counter: ThresholdCounter
    timeouts: Timeouts
    commit: Commit
    publish: Callable[[Event], None]
    instance_count: int = 1
    processors_wanted: int | None = None
    doing: str = ""
    """Name of the phase for progress displays; empty for the step's own mini-batches."""
    needs: Callable[[], NodeNeeds] | None = None
    """What a node must see to take part; None where all is this machine."""
    far: FarNodes | None = None
    """Nodes that do not see the run directory; None: they can't take part."""
    charged_items: Callable[[int], int] = lambda _: 1
    """Items of a mini-batch that was lost for good."""
    describe: Callable[[int], str] = lambda _: ""
    """Items of such a mini-batch, in words."""
    dividing: Dividing | None = None
    """Tells the items of failed mini-batches apart; None where these fail as a whole."""
    origin: Callable[[], str] = lambda: ""
    """The MLTable that the mini-batches are read from, for messages."""
    inbox: Inbox = field(default_factory=queue.SimpleQueue)
    _status: Status = Status.COMPLETED
    _reason: str = ""
    _error: DaskparError | None = None
    _notes: list[str] = field(default_factory=list)
    """What nodes want said at the end."""
    _stopped: bool = False
    _last_progress: float = 0.0
    _looked: float = 0.0
    """When workers were looked for last."""

    def __post_init__(self) -> None:
        self.results = TryResults(
            step=self.settings.step,
            dispatcher=self.dispatcher,
            counter=self.counter,
            commit=self.commit,
            publish=self._publish,
            charged_items=self.charged_items,
            describe=self.describe,
            log=str(self.settings.log_paths.user_error),
            internal=bool(self.doing),
            dividing=self.dividing,
        )
        if self.dividing is not None:
            self.dividing.dispatcher = self.dispatcher
        self.unreached = UnreachedData(dispatcher=self.dispatcher, results=self.results, warn=self._warn)

    def _publish(self, event: Event) -> None:
        self.publish(event)

    def stop(self, reason: str, *, at_once: bool = False) -> None:
        """Ask for the end, from any thread: nothing is started any more.

        Calls of `run()` under way are killed after two seconds.
        """
        self.inbox.put(StopRequested(reason, at_once))

    def run(self) -> ExecutionResult:
        """Run to the end; the nodes' processors have ended when this returns, whatever happened."""
        self.results.go_on()
        if self.dispatcher.finished:
            return ExecutionResult()
        client, settings = self.cluster.client, self.settings
        self._clocks = StepClocks(progress_since=monotonic())
        self._tracker = TrackerLink(
            client=client,
            run_id=settings.run_id,
            step=settings.opened_as,
            inbox=self.inbox,
            label="" if self.doing else settings.step,
            divides=self.dividing is not None,
            files=self.dividing is not None and self.dividing.files,
            rate_limit=settings.rate_limit,
        )
        self._tasks = BlockTasks(client, settings.run_id, settings.opened_as, self.inbox)
        self.nodes = StepNodes(
            cluster=self.cluster,
            settings=settings,
            inbox=self.inbox,
            dispatcher=self.dispatcher,
            tasks=self._tasks,
            members=Members(
                instance_count=self.instance_count,
                processors_wanted=self.processors_wanted,
                shares=shares_of(settings),
            ),
            publish=self._publish,
            give_up=self.results.give_up,
            end=lambda reason: self._end(Status.FAILED, reason),
            needs=self.needs,
            far=self.far,
        )
        self._backups = backups_of(
            self.dispatcher,
            client=client,
            settings=settings,
            counter=self.counter,
            tasks=self._tasks,
            described=self.results.described,
            number=self.nodes.members.number,
            warn=self._warn,
        )
        self._node_use = NodeUse(
            self.cluster,
            step=settings.opened_as,
            dispatcher=self.dispatcher,
            members=self.nodes.members,
            say=self._warn,
        )
        if self.far is not None:
            self.far.acknowledge = self._tracker.taken
        self.cluster.on_answer.add(self._look_for_nodes)
        try:
            self._node_use.look(monotonic())
            self._tracker.open(self.counter)
            self._fill_up()
            self._loop()
        except DaskparError as error:
            # A run directory that can't be written any more, in the middle of the run, is lost like a disk.
            status = Status.LOST if isinstance(error, RunDirectoryError) else status_of(error)
            self._status, self._reason, self._error = status, str(error), error
            self._tracker.stop_nodes("driver")
        except Exception as error:
            if self.cluster.connected:
                raise
            self._status, self._reason = Status.LOST, SCHEDULER_GONE
            self._error = InfrastructureLost(f"{SCHEDULER_GONE}: {error!r}")
        finally:
            self.cluster.on_answer.discard(self._look_for_nodes)
            self._leave()
            self._tell_losses()
        return ExecutionResult(
            status=self._status,
            reason=self._reason,
            first_failure=self.results.first_failure,
            error=self._error,
            input_changed=self.results.input_changed,
            gathered=where_failures_gather(self.results.tallies),
            notes=tuple(self._notes),
        )

    def _look_for_nodes(self) -> None:
        self.inbox.put(WorkerJoined(""))

    # -- messages in -----------------------------------------------------------------------------------------

    def _loop(self) -> None:
        while True:
            # All that waits is handled before anything is sent out: a node that was lost gets no block.
            for message in self._arrived():
                self._take(message)
            if self._stopped and not self.dispatcher.blocks:
                return
            if not self._stopped:
                if self._backups is not None:
                    self._backups.look(monotonic())
                if self.dispatcher.finished:
                    return
                if verdict := self.counter.verdict():
                    self._end(Status.FAILED, verdict)
                if self.nodes.wanted:
                    self._fill_up()
                self.unreached.let_go(monotonic())
                self.dispatcher.more_come = bool(self.nodes.members.coming)
                for address, order in self.dispatcher.orders():
                    self._tasks.send(address, order)
            self._look_at_clocks()
            self._node_use.look(monotonic())
            self._show_progress()
            if self._stopped and self._status == Status.LOST:
                return

    def _arrived(self) -> Iterator[DriverMessage]:
        """What is in the inbox; the first message is waited for, up to a tick."""
        try:
            yield self.inbox.get(timeout=TICK_SECONDS)
            while True:
                yield self.inbox.get_nowait()
        except queue.Empty:
            return

    def _take(self, message: DriverMessage) -> None:
        match message:
            case MessagesArrived(address, pickled):
                self._take_reports(address, pickle.loads(pickled))
            case VerdictReached(reason):
                self._end(Status.FAILED, reason, nodes_know=True)
            case WorkerJoined():
                self.nodes.wanted = True
            case StepOpened():
                if self.nodes.opened(message):
                    self._clocks.node_came(monotonic())
            case WorkerLost(address):
                self.nodes.lost(address)
            case WorkerUnheard():
                self.nodes.unheard(message)
            case LastStateKnown():
                self.nodes.last_state_known(message)
            case TaskEnded(block, status, error):
                # A block reports its end ahead of its task: one that is still open has lost its node, or
                # never started.
                if status != "finished" and block in self.dispatcher.blocks:
                    logger.info("the task of block %d ended as %s: %s", block, status, error)
                    self.nodes.task_ended(block, status, error)
                elif status != "finished":
                    self.dispatcher.lose_block(block)  # a second copy, which nobody needs
            case StopRequested(reason, at_once):
                self._end(Status.INTERRUPTED, reason)
                if at_once:
                    self._clocks.stopping_since = float("-inf")

    def _take_reports(self, address: str, reports: list[Message]) -> None:
        for one in reports:
            if not self._take_sent(address, one):
                self._take_report(address, one)
        if self.far is not None:
            self.far.taken(address, reports)

    def _take_text(self, message: LogMessage) -> None:
        if message.at_the_end:
            self._notes.append(message.text)
        if message.level != "debug":
            self._warn(message.text)

    def _take_report(self, address: str, message: Message) -> None:
        """What the processors of the node at `address` report."""
        match message:
            case Flushed():
                self._take_results(address, message)
            case Released():
                self._take_released(address, message)
            case NodeFailed() | NotUploaded():
                self._take_broken(address, message)
            case BlockEnded(block=block, token=token):
                self.nodes.members.task_ended_well(address)
                owned = self.dispatcher.owns(block, token)
                self.dispatcher.end(block, token)
                if owned:
                    self._tasks.drop(block)
            case InitFailed():
                self.results.note_failure(message)
                self._publish_processor(address, message)
                if message.fatal:
                    self.nodes.init_failed(address, message)
            case LogMessage():
                self._take_text(message)
            case ProcessorChanged():
                if message.state == "ready":
                    self._clocks.processor_ready(monotonic())
                self.nodes.processor_changed(address, message)
                self._publish_processor(address, message)
            case LongCalls() if not self.doing:
                self._take_long_calls(address, message)
            case Sampled():
                self.publish(resource_sample(self.settings.step, message))

    def _take_long_calls(self, address: str, message: LongCalls) -> None:
        if self._backups is not None:
            self._backups.long_calls(address, message, monotonic())
        self.publish(long_calls_changed(self.settings.step, message, self.results.described))

    def _take_sent(self, address: str, message: Message) -> bool:
        """Take rows or a piece of a log from a node that does not see the run directory; False for others."""
        if self.far is None or not self.far.take(address, message):
            return False
        if isinstance(message, CarriedRows):
            self._clocks.progress_since = monotonic()
        return True

    def _take_released(self, address: str, released: Released) -> None:
        number = self.nodes.members.number(address) or 0
        if released.reason == ReleaseReason.UNREACHED:
            failed = self.unreached.released(address, number, released, monotonic())
        else:
            failed = self.results.released(released, number)
        if failed:
            self.nodes.losses.mini_batch_done()

    def _take_results(self, address: str, flushed: Flushed) -> None:
        self._clocks.result_came(monotonic())
        self.nodes.losses.mini_batch_done()
        if self.results.flushed(flushed, address):
            self.unreached.reached(address, monotonic())
        # What fails on a broken node succeeds on others: those get its mini-batches.
        health = self.results.node_health
        for node in health.failing:
            member = self.nodes.members.open.get(node)
            if member is None:
                health.forget(node)
            elif health.is_broken(node, member.processors) and self.nodes.is_another_good(node):
                where = f"node {member.number} ({node}, host {member.host})"
                row = f"the last {health.failing_of(node)} mini-batches failed there and succeed elsewhere"
                health.forget(node)
                self.nodes.leave_out(node, f"{where}: {row}")

    def _take_broken(self, address: str, broken: NodeFailed | NotUploaded) -> None:
        if isinstance(broken, NotUploaded) and not broken.trouble:
            self._clocks.progress_since = monotonic()
        elif isinstance(broken, NotUploaded):
            alone = self.unreached.not_uploaded(address, broken.trouble, monotonic())
            if alone and self.nodes.is_another_good(address):
                self.nodes.leave_out(address, f"node {address} can't upload outputs: {broken.trouble}")
        elif broken.disk:
            self._end(Status.LOST, f"{broken.message}; {RESUME_LATER}")
        else:
            self.nodes.leave_out(address, broken.message)

    def _publish_processor(self, address: str, message: InitFailed | ProcessorChanged) -> None:
        number = self.nodes.members.number(address)
        self.publish(processor_event(self.settings.step, number, address, message))

    def _warn(self, text: str) -> None:
        self.publish(Warned(time=time(), step=self.settings.step, text=text))

    # -- nodes and clocks ------------------------------------------------------------------------------------

    def _fill_up(self) -> None:
        """Take in the workers that may take part; where no node is left, wait for one or end."""
        self._looked = monotonic()
        if self.nodes.fill_up():
            return
        # One look that finds nobody ends nothing: a worker that has not answered yet may do so.
        if self.cluster.in_process and self.nodes.none_can:
            self._end(Status.LOST, self.nodes.trouble)
            return
        self._clocks.none_can = self.nodes.none_can and not self.cluster.brings_nodes
        if self._clocks.nodes_since is None:
            self._clocks.nodes_since = monotonic()
            if not self._may_wait_long():
                self._warn(self._clocks.wait_for_node(self.timeouts, in_process=self.cluster.in_process))

    def _may_wait_long(self) -> bool:
        """Whether nodes come from a queue, which may be long; meanwhile `NodeUse` says what was asked for."""
        return self.cluster.brings_nodes and not self.nodes.trouble

    def _look_at_clocks(self) -> None:
        if not self.cluster.connected:
            # Dask connects again, but to a scheduler that has forgotten this run, or has ended its processors
            # because the driver was gone.
            self._end(Status.LOST, SCHEDULER_GONE, nodes_know=True)
            self._drop_blocks()
            return
        now = monotonic()
        if self._clocks.nodes_since is not None and now - self._looked > LOOK_SECONDS:
            self.nodes.wanted = True  # a worker that did not answer may do so now
        if self.far is not None and not self._clocks.any_result:
            self._clocks.progress_since = max(self._clocks.progress_since, self.far.last_sent)
        overdue = self._clocks.overdue(now, self.timeouts)
        outages = self.unreached.outages
        if not self._stopped and (
            outages.lasts(now, self.timeouts.outage) or (overdue == "progress" and outages.since is not None)
        ):
            waited = now - (outages.since or now)
            self._end(
                Status.LOST, f"no data was reached for {waited:.0f} s: {outages.trouble}; {RESUME_LATER}"
            )
            return
        if overdue == "stopping":
            self._drop_blocks()
        elif overdue == "nodes" and not self._may_wait_long():
            last = f" (the last one: {self.nodes.trouble})" if self.nodes.trouble else ""
            self._end(
                Status.LOST,
                f"no node is left{last} and none came within {self._clocks.nodes_limit(self.timeouts):g} s; "
                f"{RESUME}",
                nodes_know=True,
            )
        elif overdue == "progress":
            self._end(
                Status.FAILED,
                f"no progress for {self.timeouts.progress:g} s (progress_update_timeout): no mini-batch "
                f"ended and no processor got ready{self._under_way()}; look at the logs of the processors, "
                "or raise --progress_update_timeout",
            )

    def _under_way(self) -> str:
        first = sorted(
            self.dispatcher.index_of(min(block.due)[0])
            for block in self.dispatcher.blocks.values()
            if block.due
        )
        shown = ", ".join(f"{index}{in_brackets(self.results.described(index))}" for index in first[:5])
        shown += ", ..." if len(first) > 5 else ""
        return f" (under way or about to be: mini-batch {shown})" if first else ""

    def _drop_blocks(self) -> None:
        """Nothing more will be reported of the blocks under way: they stay uncommitted."""
        for block in list(self.dispatcher.blocks):
            self.dispatcher.lose_block(block)
        self.dispatcher.drop_waiting()

    def _show_progress(self, *, force: bool = False) -> None:
        now = monotonic()
        if not force and now - self._last_progress < PROGRESS_SECONDS:
            return
        self._last_progress = now
        counts, doing = self.counter.counts, self.doing
        if doing and counts.planned:
            doing = f"{doing} {100 * counts.done // counts.planned} %"
        elif self.far is not None and not self.nodes.members.open:
            doing = self.far.sending
        self.publish(
            Progress(
                time=time(),
                step=self.settings.step,
                counts=counts,
                running=min(len(self.dispatcher.blocks), self.dispatcher.processors),
                doing=doing,
            )
        )

    # -- the end ---------------------------------------------------------------------------------------------

    def _end(self, status: Status, reason: str, *, nodes_know: bool = False) -> None:
        """Start nothing more; the first reason to end counts. `nodes_know`: they stop without being asked."""
        if self._stopped:
            return
        self._stopped = True
        self._status, self._reason = status, reason
        self._clocks.stopping_since = monotonic()
        self.nodes.closed = True
        self.dispatcher.drop_waiting()
        if not nodes_know:
            self._tracker.stop_nodes(status)

    def _leave(self) -> None:
        """End the processors (with `shutdown()` where all is well), and take the tracker away."""
        from daskpar.engine.plugins.node import close_step, finish_step

        self._tasks.keep(())
        self._node_use.end()
        completed = self._status == Status.COMPLETED
        members = self.nodes.members
        try:
            leaving = Leaving(
                self.cluster.client,
                self.settings,
                self.inbox,
                finish_step if completed else close_step,
                self._take_last,
            )
            self.cluster.hanging |= members.unheard | leaving.run(
                members.open,
                members.opening,
                seconds=LEAVING_SECONDS + (self.settings.run_timeout if completed else 0.0),
                last_taken=lambda: 0.0 if self.far is None else self.far.last_taken,
            )
            self._tracker.close(members.asked, self.counter.counts)
        except Exception as error:
            # How the step has ended is known: no traceback may hide that on a terminal.
            logger.warning("leaving the cluster: some of the clean-up failed: %r", error)
            logger.debug("leaving the cluster", exc_info=True)
        self._show_progress(force=True)

    def _tell_losses(self) -> None:
        """Tell once, with the totals of all processors, which values were lost or are doubtful."""
        losses = self.results.losses
        if losses.found:
            for text in losses.take_totals(self.origin()):
                self._warn(text)

    def _take_last(self, message: DriverMessage) -> str:
        """Take what processors report at their end: warnings of `shutdown()`, their exits.

        Returns the address of a node whose last message that was, else an empty text.
        """
        if not isinstance(message, MessagesArrived):
            return ""
        reports = pickle.loads(message.pickled)
        for report in reports:
            if isinstance(report, LogMessage | ProcessorChanged | Sampled):
                self._take_report(message.address, report)
            elif isinstance(report, ReturnedFile):
                self._take_sent(message.address, report)
        if self.far is not None:
            self.far.taken(message.address, reports)
        return message.address if any(isinstance(report, NodeClosed) for report in reports) else ""
