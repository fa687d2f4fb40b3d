"""The processors of one step on one node: one thread starts them, gives them blocks, watches and ends them.

All state belongs to that thread. What happens is reported as protocol messages, in order; nothing here knows
of Dask.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from time import monotonic, time
from typing import TYPE_CHECKING

from daskpar.events import ProcessorState
from daskpar.paths import process_name
from daskpar.processor import channel, linux
from daskpar.processor.call_inbox import CallInbox
from daskpar.processor.exit_reasons import KillReason, exit_reason, exit_text_in_init
from daskpar.processor.fork_protocol import Exited, Spawned, SpawnFailed
from daskpar.processor.fork_server import ForkServer
from daskpar.processor.goodbye import Goodbyes
from daskpar.processor.gpus.gpu_devices import one_by_one
from daskpar.processor.growth_watchdog import GrowthWatchdog
from daskpar.processor.in_flight.in_flight_queue import InFlightQueue, queue_of
from daskpar.processor.last_words import LastWords
from daskpar.processor.long_calls import LongCallWatch
from daskpar.processor.look_rows import look_rows
from daskpar.processor.memory_watchdog import MemoryWatchdog
from daskpar.processor.overtaken import OvertakenBlocks
from daskpar.processor.processor_handle import ProcessorHandle, makes_sense_of
from daskpar.processor.processor_messages import (
    BlockDone,
    DiskFailed,
    HandedBack,
    InitDone,
    InitRaised,
    ShutdownDone,
    Unheeded,
)
from daskpar.processor.processor_set import ProcessorSet
from daskpar.processor.protocol import (
    BlockOrder,
    Flushed,
    LogMessage,
    LookRow,
    Message,
    NodeFailed,
    ProcessorChanged,
    ProcessorSettings,
)
from daskpar.processor.rate_watch import RateWatch
from daskpar.processor.resource_sampler import Sampler
from daskpar.processor.resource_usage import OomKillCounter
from daskpar.processor.shared_page import Announcement, Phase
from daskpar.processor.stacks import read_stacks
from daskpar.processor.start_failures import StartFailures
from daskpar.processor.timeout_watchdog import TimeoutWatchdog

if TYPE_CHECKING:
    from daskpar.processor.fetching.fetch_process import FetchProcess

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.02
"""How often clocks are looked at while something runs."""
IDLE_TICK_SECONDS = 0.5
"""The same while nothing does."""
LOOK_SECONDS = 0.5
"""How long whoever watches waits for an answer."""
STOP_SECONDS = 2.0
"""What a running call gets after the step was told to stop."""


class ProcessorPool:
    """Runs blocks on `settings.processors` processors.

    `report` gets lists of messages, in order, on the pool's thread. `server`: a fork server that was started
    before, `fetch`: what fetches its inputs; they are the pool's from now on.
    """

    def __init__(
        self,
        settings: ProcessorSettings,
        report: Callable[[list[Message]], None],
        server: ForkServer | None = None,
        fetch: FetchProcess | None = None,
    ) -> None:
        self.settings = settings
        self.processors = ProcessorSet(settings, server)
        self._report_list = report
        self._unsent: list[Message] = []
        self._calls = CallInbox()
        self._blocks = queue_of(settings, self._report)
        self._overtaken = OvertakenBlocks(self._blocks)
        self._goodbyes = Goodbyes()
        self._rate = RateWatch(settings, self.processors)
        self._failures = StartFailures(settings)
        self._timeouts = TimeoutWatchdog(settings)
        self._memory = MemoryWatchdog(settings.node_memory)
        self._growth = GrowthWatchdog(settings.most_growth)
        self._long_calls = LongCallWatch(settings)
        self._last_words = LastWords(settings.log_paths, settings.node)
        self._fetch = fetch
        self._keep_folders: set[int] = set()
        """Numbers of processors that have ended in order: the next one goes on in the working folder."""
        self._oom_kills = OomKillCounter()
        self._sampler = Sampler(
            settings.node,
            settings.resource_interval,
            self.processors.pids,
            self._take_sample,
            gpus=one_by_one(settings.gpus),
        )
        self._stopping = False
        """Told to stop: no call of `run()` begins."""
        self._kill_busy_at: float | None = None
        self._finishing = False
        """No more blocks come."""
        self._closing = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._main, name=f"daskpar-pool-{settings.step}", daemon=True)
        self._thread.start()

    # -- for any thread ------------------------------------------------------------------------------------

    def submit(self, order: BlockOrder) -> None:
        """Queue a block; a `BlockEnded` follows, whatever happens."""
        self._calls.put(lambda: self._submit(order))

    def stop(self) -> None:
        """Begin no further call of `run()`, kill what still runs after two seconds.

        Blocks end with what they have.
        """
        self._calls.put(self._stop)

    def finish(self) -> None:
        """No more blocks come: `shutdown()` once in each processor; returns when all have ended."""
        self._calls.put(self._finish)
        self._ended.wait()

    def close(self) -> None:
        """Kill everything at once; returns when nothing is left."""
        self._calls.put(self._close)
        self._ended.wait()

    def stop_block(self, block: int, start: int, stop: int) -> None:
        """The mini-batches [start, stop) of a block have their outcome from elsewhere: run them no more."""
        self._calls.put(lambda: self._overtaken.stop(self.processors, block, start, stop))

    def give_back_waiting(self) -> None:
        """Give back the blocks that wait for a processor."""
        self._calls.put(self._blocks.give_back_waiting)

    def set_rate(self, rate: float) -> None:
        """The node's processors may make so many calls a second together from now on."""
        self._calls.put(lambda: self._rate.grant(rate))

    def look(self) -> list[LookRow]:
        """What each processor does just now; nothing where the answer takes long."""
        found: queue.SimpleQueue[list[LookRow]] = queue.SimpleQueue()
        self._calls.put(lambda: found.put(look_rows(self.processors, self.settings)))
        try:
            return found.get(timeout=LOOK_SECONDS)
        except queue.Empty:
            return []

    def _take_sample(self, sample: Message) -> None:
        self._calls.put(lambda: self._report(sample))

    # -- the thread ----------------------------------------------------------------------------------------

    def _main(self) -> None:
        try:
            self.processors.open(self._calls, *([self._fetch] if self._fetch is not None else []))
            while not self._is_over():
                self._turn()
        except Exception as error:
            if not isinstance(error, OSError):  # a mistake of ours, not of the machine's: where was it?
                logger.exception("the processors of step %s can't go on", self.settings.step)
            text = f"node {self.settings.node}: its processors can't go on: {type(error).__name__}: {error}"
            self._report(NodeFailed(node=self.settings.node, message=text, disk=False))
            self._give_back_all()
        finally:
            self._end()

    def _is_over(self) -> bool:
        return self._closing or (self._finishing and not self.processors and not self._blocks)

    def _turn(self) -> None:
        busy = any(
            p.order is not None or not p.ready or p.finishing or p.replaced_for for p in self.processors
        )
        self._blocks.give_to(self.processors)
        if self._fetch is not None:
            self._fetch.coming(self._blocks.waiting())
        self._start_missing()
        self._send()
        for source in self.processors.wait(TICK_SECONDS if busy or self._blocks else IDLE_TICK_SECONDS):
            self._read(source)
        self._calls.run()
        if self._closing:
            return
        self._shut_down_replaced()
        self._shut_down_idle()
        self._check_clocks()
        self._send()

    def _read(self, source: object) -> None:
        if isinstance(source, ProcessorHandle):
            self._read_messages(source)
        elif isinstance(source, ForkServer):
            try:
                self._read_server_events()
            except ConnectionError as error:
                self._server_lost(error)
        elif source is self._fetch and self._fetch is not None:
            self._read_fetch(self._fetch)
        else:
            self._calls.clear_wakeups()

    def _read_fetch(self, fetch: FetchProcess) -> None:
        messages, trouble = fetch.read()
        for message in messages:
            self._report(message)
        if trouble or fetch.is_lost:
            self.processors.stop_reading(fetch)
        if fetch.is_lost:
            done, trouble = fetch.start_again()
            if done:
                self._warn(done)
                self.processors.listen_to(fetch)
        if trouble:
            self._report(NodeFailed(node=self.settings.node, message=trouble, disk=False))
            self._stop()

    def _check_clocks(self) -> None:
        now = monotonic()
        if self._kill_busy_at is not None and now >= self._kill_busy_at:
            self._kill_busy_at = None
            self._kill_busy()
        for processor in self.processors:
            last = processor.announced()
            if not self._is_whole(processor, last):
                continue
            if self._timeouts.check(processor, last, now):
                self._blocks.take_back_if_slow(processor, last, now)
        for processor, exited in self._goodbyes.due(now):
            self._exited(processor, exited)
        self._memory.check(list(self.processors), now)
        for processor in self._growth.due(self.processors, now):
            self._replace_outgrown(processor)
        self._leave_gpus_out()
        for news in (self._long_calls.look(self.processors, now), self._rate.look(now)):
            if news is not None:
                self._report(news)

    def _is_whole(self, processor: ProcessorHandle, last: Announcement) -> bool:
        """Whether its page says what it can have announced; else it is killed, to be replaced."""
        if makes_sense_of(processor, last):
            return True
        if not processor.killed_for:
            processor.killed_for = KillReason.DAMAGED
            linux.kill_tree(processor.pid)
        return False

    def _end(self) -> None:
        self._sampler.stop()
        # Only a server below which nothing runs any more may serve the next step.
        keep = self.settings.spare_server and self._finishing and not self._closing and not self.processors
        self.processors.close_server(keep=keep)
        if self._fetch is not None:
            self._fetch.close()
        self._send()
        self.processors.close()
        self._closing = True
        self._ended.set()
        # A block that is submitted from now on is given back at once, so that nobody waits for ever.
        self._calls.close(after_late_calls=self._send)

    # -- reporting -----------------------------------------------------------------------------------------

    def _report(self, message: Message) -> None:
        if isinstance(message, Flushed) and message.failures:
            message = self._last_words.added(message)
        if isinstance(message, Flushed):
            self._blocks.gpus.take_in(message)
        self._unsent.append(message)

    def _send(self) -> None:
        if self._unsent:
            messages, self._unsent = self._unsent, []
            self._report_list(messages)

    def _report_change(
        self, processor: ProcessorHandle, state: ProcessorState, detail: str = "", peak_bytes: int = 0
    ) -> None:
        self._report(
            ProcessorChanged(
                node=self.settings.node,
                processor=processor.number,
                pid=processor.pid,
                state=state,
                detail=detail,
                time=time(),
                peak_bytes=peak_bytes,
            )
        )

    def _warn(self, text: str, *, at_the_end: bool = False) -> None:
        self._report(LogMessage(level="warning", text=text, at_the_end=at_the_end))

    # -- what processors say -------------------------------------------------------------------------------

    def _read_messages(self, processor: ProcessorHandle) -> None:
        for message in processor.inbox.read():
            self._handle(processor, message)
        if processor.inbox.closed:
            self.processors.stop_reading(processor)
        if processor.inbox.damaged and not processor.killed_for:
            # Its script writes to our descriptors: nothing that comes from there can be trusted.
            processor.killed_for = KillReason.DAMAGED
            linux.kill_tree(processor.pid)

    def _handle(self, processor: ProcessorHandle, message: object) -> None:
        if processor.timed_out_at is not None and not isinstance(message, Flushed):
            # The signal for its stacks may have interrupted the call that hung: what follows must not count.
            return
        match message:
            case Flushed():
                self._blocks.flushed(processor, message)
                if processor.in_flight is not None:
                    self._replace_if_used_up(processor)
            case HandedBack() if isinstance(self._blocks, InFlightQueue):
                self._blocks.handed_back(processor, message)
            case Unheeded() if processor.in_flight is not None and not processor.killed_for:
                processor.in_flight.unheeded = message
                self._timeouts.end(processor, processor.announced(), message.index)
            case InitDone():
                processor.ready, processor.ready_at = True, monotonic()
                self._failures.processor_ready()
                self._blocks.gpus.started(processor.number)
                self._growth.ready(processor)
                self._report_change(processor, ProcessorState.READY)
                self._sampler.start()
            case InitRaised():
                processor.init_raised = True
                self._init_failed(
                    processor, f"{message.what}: {message.message}", message.trace, certain=message.certain
                )
            case DiskFailed():
                shared = self.settings.places is None  # else the disk is this node's own
                self._report(NodeFailed(node=self.settings.node, message=message.message, disk=shared))
                self._stop()
            case BlockDone():
                self._blocks.done(processor, message)
                self._replace_if_used_up(processor)
            case ShutdownDone() if message.trace:
                where = f"{process_name(processor.number)} of node {self.settings.node}"
                self._warn(f"shutdown() raised in {where}:\n{message.trace}")
            case LogMessage():
                self._report(message)

    # -- starts and exits ----------------------------------------------------------------------------------

    def _start_missing(self) -> None:
        over = self._stopping or (self._finishing and not self._blocks)
        waits = self._fetch is not None and not self._fetch.ready
        if over or waits or not self._failures.may_start():
            return
        for number in range(self.settings.processors):
            if number not in self.processors and self._blocks.gpus.may_start(number):
                try:
                    self.processors.start(number, keep_folder=number in self._keep_folders)
                except OSError as error:
                    self._server_lost(error)

    def _read_server_events(self) -> None:
        for event in self.processors.server.read_events():
            processor = self.processors.find(event.key)
            if processor is None:
                continue
            if isinstance(event, Spawned):
                processor.pid = event.pid
                self._report_change(processor, ProcessorState.STARTED)
                if processor.finishing or processor.killed_for:
                    # It was to end before its process was known: nothing else would end it now.
                    linux.kill_group(event.pid)
            elif isinstance(event, SpawnFailed):
                self._spawn_failed(processor, event)
            elif not self._goodbyes.holds(processor, event, monotonic()):
                self._exited(processor, event)

    def _server_lost(self, error: OSError) -> None:
        """The fork server was killed, and every processor with it: start another one."""
        self.processors.close_lost_server()
        if self._failures.server_died():
            raise error
        for processor in self.processors:
            # The kernel has killed it with its parent, but not what it has started.
            linux.kill_group(processor.pid)
            processor.server_died = True
            self._exited(processor, Exited(processor.key, processor.pid, signal.SIGKILL, 0))
        self.processors.replace_server()

    def _spawn_failed(self, processor: ProcessorHandle, event: SpawnFailed) -> None:
        # The machine refuses another process: no failure of the script while other processors work, but no
        # reason to try without end.
        self.processors.forget(processor)
        processor.close()
        self._failures.pause()
        if not self._stopping and not self._finishing and not any(p.ready for p in self.processors):
            self._init_failed(processor, f"a processor could not be started: {event.text}", "")

    def _exited(self, processor: ProcessorHandle, event: Exited) -> None:
        self._read_messages(processor)  # what it sent before it died counts
        last = processor.timed_out_at or processor.announced()
        if not makes_sense_of(processor, last):
            # Any of those that it has not reported may be the one that wrote there.
            processor.killed_for = KillReason.DAMAGED
            last = Announcement(processor.limit - 1, Phase.FLUSH, monotonic())
        self.processors.forget(processor)
        self._blocks.forget(processor)
        why = exit_reason(
            event.status,
            killed_for=processor.killed_for,
            phase=last.phase,
            settings=self.settings,
            out_of_memory=self._oom_kills.any_since_last_time(),
        )
        if not processor.ready and not processor.init_raised:
            self._exited_in_init(processor, event.status)
        if processor.order is not None:
            self._blocks.processor_died(processor, last, why)
        elif processor.killed_for == KillReason.TIMEOUT and last.phase == Phase.SHUTDOWN:
            took = f"took longer than {self.settings.run_timeout:g} s"
            self._warn(f"shutdown() {took} in {process_name(processor.number)} and was killed")
        well = event.status == 0 and not processor.killed_for
        (self._keep_folders.add if well and not processor.broken else self._keep_folders.discard)(
            processor.number
        )
        self._report_change(
            processor,
            ProcessorState.ENDED,
            self._end_in_words(processor, "" if well else why.text),
            event.max_rss,
        )
        processor.close()

    def _end_in_words(self, processor: ProcessorHandle, why: str) -> str:
        if not processor.replaced_for:
            return why
        replaced = f"replaced by a fresh process: {processor.replaced_for}"
        return f"{replaced}; {why}" if why else replaced

    # -- replacing -----------------------------------------------------------------------------------------

    def _replace_if_used_up(self, processor: ProcessorHandle) -> None:
        """After a block: replace a processor that has run enough mini-batches, or has grown too much."""
        most = self.settings.most_mini_batches
        if most is not None and processor.mini_batches >= most:
            self._blocks.replace(
                processor, f"it has run {most} mini-batches (max_mini_batches_per_processor)"
            )
        elif self._growth.has_outgrown(processor):
            self._replace_outgrown(processor)

    def _replace_outgrown(self, processor: ProcessorHandle) -> None:
        limit = (self.settings.most_growth or 0) / 2**20
        self._blocks.replace(
            processor,
            f"its memory has grown by more than {limit:,.0f} MB since init() (max_processor_growth)",
        )

    def _leave_gpus_out(self) -> bool:
        """End the processors of GPUs that look broken; whether there are any."""
        found = list(self._blocks.gpus.left_out_now())
        for device, text in found:
            self._warn(text, at_the_end=True)
            self._failures.processor_ready()  # those in a row were of this GPU
            for processor in self.processors:
                if self._blocks.gpus.device(processor.number) == device:
                    self._blocks.replace(processor, f"its GPU ({device}) is left out")
        return bool(found)

    def _shut_down_replaced(self) -> None:
        """`shutdown()` in processors whose place a fresh process takes, and whose block is over."""
        for processor in self.processors:
            if processor.replaced_for and processor.order is None and not processor.finishing:
                processor.finishing = True
                if processor.broken and self._blocks.health.row(processor.key) > 1:
                    place = f"{process_name(processor.number)} of node {self.settings.node}"
                    self._warn(f"{place} is replaced by a fresh process: {processor.replaced_for}")
                with contextlib.suppress(OSError):
                    channel.send(processor.sock, None)

    def _exited_in_init(self, processor: ProcessorHandle, status: int) -> None:
        if self._closing or self._stopping or processor.finishing:
            return  # it was ended because nobody needs it
        text = exit_text_in_init(status, killed_for=processor.killed_for, settings=self.settings)
        stacks = read_stacks(self.settings, processor.number)
        self._init_failed(processor, f"init() failed: {text}", stacks)

    def _init_failed(
        self, processor: ProcessorHandle, message: str, trace: str, *, certain: bool = False
    ) -> None:
        failed = self._failures.init_failed(processor.number, message, trace, certain=certain)
        failed = replace(failed, printed=self._last_words.of(processor.number))
        self._blocks.gpus.start_failed(processor.number, f"{message}\n{trace}\n{failed.printed}")
        failed = replace(failed, fatal=failed.fatal and not self._leave_gpus_out())
        self._report(failed)
        if failed.fatal:
            self._stop()

    # -- the end of the step -------------------------------------------------------------------------------

    def _submit(self, order: BlockOrder) -> None:
        if self._stopping or self._closing:
            self._blocks.give_back(order)
        elif not self._overtaken.takes(order):
            self._blocks.add(order)

    def _stop(self) -> None:
        if self._stopping:
            return
        self._stopping = True
        self._blocks.give_back_waiting()
        for processor in self.processors:
            self._blocks.stop(processor)
        self._kill_busy_at = monotonic() + STOP_SECONDS

    def _kill_busy(self) -> None:
        """The time that running calls got after a stop is over."""
        for processor in self.processors:
            if processor.order is not None or not processor.ready:
                processor.killed_for = processor.killed_for or KillReason.STOPPED
                linux.kill_tree(processor.pid)

    def _finish(self) -> None:
        self._finishing = True

    def _shut_down_idle(self) -> None:
        """Once no blocks come and none wait: `shutdown()` in each processor that has nothing left to do."""
        if not self._finishing or self._blocks:
            return
        for processor in self.processors:
            if processor.finishing or processor.order is not None:
                continue
            processor.finishing = True
            if not processor.ready:
                processor.killed_for = processor.killed_for or KillReason.NOT_NEEDED
                linux.kill_group(processor.pid)  # nobody needs what its init() prepares
                continue
            with contextlib.suppress(OSError):
                channel.send(processor.sock, None)

    def _close(self) -> None:
        self._closing = True
        self._give_back_all()

    def _give_back_all(self) -> None:
        """Give back all blocks."""
        self._blocks.give_back_waiting()
        for processor in self.processors:
            order = processor.order
            if order is not None:
                with contextlib.suppress(Exception):
                    self._read_messages(processor)  # what is done need not be done again
                if processor.order is order:
                    self._blocks.give_back_unreported(processor)
