"""The processors of one step on one node: starts them, gives them blocks, watches their clocks, kills and
replaces them.

One thread does it all. What happened is reported as protocol messages, in order; nothing here knows of Dask.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic, time

from daskpar.batches.records import unpack
from daskpar.paths import process_name
from daskpar.processor import channel, exit_handling, host, last_state, linux, policies, prestart
from daskpar.processor.child import Expected, Supervised, start
from daskpar.processor.deadlines import Deadlines
from daskpar.processor.fork_server import Exited, ForkServer, Spawned, SpawnFailed
from daskpar.processor.protocol import (
    BlockOrder,
    Broken,
    Ended,
    Flushed,
    Message,
    Notice,
    ProcessorChanged,
    ProcessorSettings,
    Released,
)
from daskpar.processor.resource_sampler import Sampler
from daskpar.processor.resource_usage import oom_kills
from daskpar.processor.shared_page import Phase

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.02
"""How often clocks are looked at while something runs."""
STOP_SECONDS = 2.0
"""What a running call gets after the step was told to stop."""
RETRY_INIT_SECONDS = 0.2
SERVER_DEATHS = 3
"""Fork servers that may die in a row, without a processor that got ready between, before the node gives up.
"""


class ProcessorPool:
    """Runs blocks on `settings.processors` processors. `report` gets lists of messages, in order, on the
    pool's thread.

    `server` may be a fork server that was started before; it is the pool's from now on.
    """

    def __init__(
        self,
        settings: ProcessorSettings,
        report: Callable[[list[Message]], None],
        server: ForkServer | None = None,
    ) -> None:
        self.settings = settings
        self._report = report
        self._given = server
        self._queue: deque[BlockOrder] = deque()
        self._calls: deque[Callable[[], None]] = deque()
        self._processors: dict[int, Supervised] = {}
        self._keys: dict[int, Supervised] = {}
        self._expected = Expected()
        self._init_failures = 0
        self._server_deaths = 0
        self._next_start = 0.0
        self._stopping: str = ""
        self._finishing = False
        self._closing = False
        self._out: list[Message] = []
        self._deadlines = Deadlines(settings)
        self._sampler = Sampler(settings.node, settings.resource_interval, self._pids, self._take_sample)
        self._oom_kills = oom_kills()
        self._wake, self._waker = os.pipe()
        os.set_blocking(self._waker, False)
        os.set_blocking(self._wake, False)
        self._ended = threading.Event()
        self._late = threading.RLock()
        self._kill_all_at: float | None = None
        self._thread = threading.Thread(target=self._main, name=f"daskpar-pool-{settings.step}", daemon=True)
        self._thread.start()

    # -- any thread
    # ----------------------------------------------------------------------------------------------------------------

    def submit(self, order: BlockOrder) -> None:
        """Queue a block; an `Ended` follows, whatever happens."""
        self._call(lambda: self._accept(order))

    def stop(self, reason: str) -> None:
        """Start no further call of `run()`, kill what still runs after two seconds; blocks end with what they
        have.
        """
        self._call(lambda: self._stop(reason))

    def finish(self) -> None:
        """No more blocks come: `shutdown()` once in each processor; returns when all have ended."""
        self._call(self._finish)
        self._ended.wait()

    def close(self) -> None:
        """Kill everything at once; returns when nothing is left."""
        self._call(self._close)
        self._ended.wait()

    @property
    def busy(self) -> int:
        """Processors that have a block."""
        return sum(1 for p in list(self._processors.values()) if p.order is not None)

    def _call(self, function: Callable[[], None]) -> None:
        with self._late:
            self._calls.append(function)
            if self._ended.is_set():
                self._answer_late()
                return
            with contextlib.suppress(OSError):  # full: it will look anyway
                os.write(self._waker, b"x")

    # -- the pool's thread
    # ---------------------------------------------------------------------------------------------------------

    def _main(self) -> None:
        try:
            self._server = self._given or self._new_server()
            self._selector = selectors.DefaultSelector()
            self._selector.register(self._server, selectors.EVENT_READ, "server")
            self._selector.register(self._wake, selectors.EVENT_READ, "wake")
            while not self._over():
                self._turn()
        except Exception as error:
            logger.exception("the processors of step %s can't go on", self.settings.step)
            text = f"node {self.settings.node}: its processors can't go on: {type(error).__name__}: {error}"
            self._say(Broken(node=self.settings.node, message=text, disk=False))
            self._give_up()
        finally:
            self._end()

    def _new_server(self) -> ForkServer:
        s = self.settings
        log = str(s.log_paths.fork_server(s.node))
        return ForkServer(
            environment=s.environment, tabular=s.tabular, threads=s.threads, python=s.python, log=log
        )

    def _server_lost(self, error: OSError) -> None:
        """The fork server was killed, and every processor with it: start another one."""
        self._server_deaths += 1
        self._selector.unregister(self._server)
        self._server.close()
        if self._server_deaths >= SERVER_DEATHS:
            raise error
        for processor in list(self._processors.values()):
            # The kernel has killed it with its parent, but not what it has started.
            linux.kill_group(processor.pid)
            self._exited(processor, Exited(processor.key, processor.pid, signal.SIGKILL, 0))
        last_state.forget(self.settings)
        self._server = self._new_server()
        self._selector.register(self._server, selectors.EVENT_READ, "server")

    def _over(self) -> bool:
        return self._closing or (self._finishing and not self._processors and not self._queue)

    def _turn(self) -> None:
        busy = any(p.order is not None or not p.ready or p.finishing for p in self._processors.values())
        self._fill()
        self._send_out()
        for key, _ in self._selector.select(TICK_SECONDS if busy or self._queue else 0.5):
            self._hear(key)
        while self._calls:
            self._calls.popleft()()
        if self._closing:
            return
        self._dismiss()
        now = monotonic()
        if self._kill_all_at is not None and now >= self._kill_all_at:
            self._kill_all_at = None
            self._kill_busy()
        for processor in list(self._processors.values()):
            self._look_at(processor, now)
        self._deadlines.look_at_memory(self._processors.values(), now)
        self._send_out()

    def _hear(self, key: selectors.SelectorKey) -> None:
        if key.data == "wake":
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake, 4096)
        elif key.data == "server":
            try:
                self._hear_server()
            except ConnectionError as error:
                self._server_lost(error)
        else:
            self._listen(key.data)

    def _hear_server(self) -> None:
        for word in self._server.hear():
            processor = self._keys.get(word.key)
            if processor is None:
                continue
            if isinstance(word, Spawned):
                processor.pid = word.pid
                self._changed(processor, "started")
                if processor.finishing or processor.killed_for:
                    linux.kill_group(word.pid)  # all was over before it was born, and nobody will tell it
            elif isinstance(word, SpawnFailed):
                self._not_born(processor, word)
            else:
                self._exited(processor, word)

    def _listen(self, processor: Supervised) -> None:
        for value in processor.inbox.read():
            self._said(processor, value)
        if processor.inbox.closed:
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(processor.sock)
        if processor.inbox.damaged and not processor.killed_for:
            linux.kill_tree(
                processor.pid
            )  # its script writes where it must not; nothing it says can be trusted

    def _said(self, processor: Supervised, value: object) -> None:
        if isinstance(value, Flushed):
            if processor.order is not None and value.block == processor.order.block:
                self._flushed(processor, value)
        elif processor.doomed is not None:
            pass  # woken by the signal for its stacks
        elif isinstance(value, host.InitDone):
            processor.ready = True
            self._init_failures = self._server_deaths = 0
            self._changed(processor, "ready")
            self._sampler.start()
        elif isinstance(value, host.InitRaised):
            processor.failed_init = True
            self._init_failed(processor, f"{value.what}: {value.message}", value.trace)
        elif isinstance(value, host.CannotGoOn):
            self._say(Broken(node=self.settings.node, message=value.message, disk=True))
            self._stop("disk")
        elif isinstance(value, host.BlockDone):
            self._block_done(processor, value)
        elif isinstance(value, host.ShutdownDone):
            if value.trace:
                text = f"shutdown() raised in {process_name(processor.number)} of node {self.settings.node}:\n{value.trace}"
                self._say(Notice(level="warning", text=text))
        elif isinstance(value, Notice):
            self._say(value)

    def _flushed(self, processor: Supervised, flushed: Flushed) -> None:
        self._say(flushed)
        records = unpack(flushed.records)
        processor.reported = int(records["index"][-1]) + 1
        self._expected.add(float(records["elapsed"].sum()), len(records))

    def _block_done(self, processor: Supervised, done: host.BlockDone) -> None:
        order = processor.order
        if order is None or order.block != done.block:
            return
        processor.order = None
        if done.stop < processor.limit:
            self._say(
                Released(
                    block=order.block,
                    token=order.token,
                    start=done.stop,
                    stop=processor.limit,
                    reason="stopped",
                )
            )
        self._say(Ended(block=order.block, token=order.token))

    # -- starting and giving work
    # --------------------------------------------------------------------------------------------------

    def _accept(self, order: BlockOrder) -> None:
        if self._stopping or self._closing:
            self._return(order)
        else:
            self._queue.append(order)

    def _return(self, order: BlockOrder) -> None:
        self._say(
            Released(
                block=order.block, token=order.token, start=order.start, stop=order.stop, reason="stopped"
            )
        )
        self._say(Ended(block=order.block, token=order.token))

    def _fill(self) -> None:
        """Hand waiting blocks to free processors; start processors where there are fewer than there should
        be.
        """
        free = [
            p
            for p in self._processors.values()
            if p.ready and p.order is None and not p.finishing and not p.killed_for
        ]
        for processor in free:
            if not self._queue:
                break
            self._give(processor, self._queue.popleft())
        if self._stopping or (self._finishing and not self._queue) or monotonic() < self._next_start:
            return
        for number in range(self.settings.processors):
            if number not in self._processors:
                self._start(number)

    def _start(self, number: int) -> None:
        try:
            processor = start(self._server, self.settings, number)
        except OSError as error:
            self._server_lost(error)
            return
        self._processors[number] = self._keys[processor.key] = processor
        self._selector.register(processor.sock, selectors.EVENT_READ, processor)

    def _give(self, processor: Supervised, order: BlockOrder) -> None:
        processor.order, processor.reported, processor.limit = order, order.start, order.stop
        processor.page.set_limit(order.stop)
        try:
            channel.send(processor.sock, order)
        except OSError:
            # It has just died; its exit will be told, and nothing of the order has begun.
            processor.order = None
            self._queue.appendleft(order)

    # -- clocks
    # --------------------------------------------------------------------------------------------------------------------

    def _look_at(self, processor: Supervised, now: float) -> None:
        said = processor.page.announced()
        if (
            self._deadlines.look(processor, said, now)
            and processor.order is not None
            and said.index + 1 < processor.limit
            and said.index >= processor.order.start
            and policies.is_slow(said.phase, said.since, now, self._expected.seconds)
        ):
            self._take_back(processor, said.index + 1, "slow")

    def _take_back(self, processor: Supervised, start: int, reason: str) -> None:
        """Give back the range from `start` on, or from where the processor has got to by now."""
        assert processor.order is not None
        limit = processor.page.lower_limit(start)
        if limit is None:
            return  # its own word about the end of the block tells
        start = limit
        if start < processor.limit:
            order = processor.order
            self._say(
                Released(
                    block=order.block, token=order.token, start=start, stop=processor.limit, reason=reason
                )
            )
            processor.limit = start

    def _pids(self) -> dict[int, int]:
        return {p.number: p.pid for p in list(self._processors.values()) if p.pid}

    def _take_sample(self, sample: Message) -> None:
        self._call(lambda: self._say(sample))

    # -- endings
    # -------------------------------------------------------------------------------------------------------------------

    def _exited(self, processor: Supervised, told: Exited) -> None:
        self._listen(processor)  # what it said before it died counts
        said = processor.doomed or processor.page.announced()
        self._forget(processor)
        end = policies.ending(
            told.status,
            killed_for=processor.killed_for,
            run_timeout=self.settings.run_timeout,
            overhead_timeout=self.settings.overhead_timeout,
            phase=said.phase,
            out_of_memory=self._kernel_killed(),
        )
        well = told.status == 0 and not processor.killed_for
        if not processor.ready and not processor.failed_init:
            self._died_in_init(processor, told)
        if processor.order is not None:
            for message in exit_handling.bury(processor, said, end, self.settings):
                self._say(message)
        elif processor.killed_for == "timeout" and said.phase == Phase.SHUTDOWN:
            text = f"shutdown() took longer than {self.settings.run_timeout:g} s in {process_name(processor.number)} and was killed"
            self._say(Notice(level="warning", text=text))
        self._changed(processor, "ended", "" if well else end.text)
        processor.close()

    def _forget(self, processor: Supervised) -> None:
        self._keys.pop(processor.key, None)
        self._processors.pop(processor.number, None)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(processor.sock)

    def _not_born(self, processor: Supervised, told: SpawnFailed) -> None:
        """The machine refuses another process: no failure of the script while others work, but no reason to
        try without end.
        """
        self._forget(processor)
        processor.close()
        self._next_start = monotonic() + RETRY_INIT_SECONDS
        if not self._stopping and not self._finishing and not any(p.ready for p in self._processors.values()):
            self._init_failed(processor, f"a processor could not be started: {told.text}", "")

    def _kernel_killed(self) -> bool:
        """Whether the kernel has killed processes for want of memory since this was asked last."""
        before, self._oom_kills = self._oom_kills, oom_kills()
        return self._oom_kills > before

    def _died_in_init(self, processor: Supervised, told: Exited) -> None:
        if self._closing or self._stopping or processor.finishing:
            return
        text = policies.ending_in_init(
            told.status, killed_for=processor.killed_for, init_timeout=self.settings.init_timeout
        )
        self._init_failed(processor, f"init() failed: {text}", exit_handling.stacks(processor, self.settings))

    def _init_failed(self, processor: Supervised, message: str, trace: str) -> None:
        self._init_failures += 1
        self._next_start = monotonic() + RETRY_INIT_SECONDS
        fatal = policies.too_many_init_failures(self._init_failures, self.settings.processors)
        if fatal:
            message = f"{message} ({self._init_failures} times in a row on node {self.settings.node})"
        self._say(exit_handling.init_failed(processor, message, trace, self.settings, fatal=fatal))
        if fatal:
            self._stop("init")

    def _stop(self, reason: str) -> None:
        if self._stopping:
            return
        self._stopping = reason
        while self._queue:
            self._return(self._queue.popleft())
        for processor in self._processors.values():
            if processor.order is not None:
                self._take_back(processor, processor.page.announced().index + 1, "stopped")
        self._kill_all_at = monotonic() + STOP_SECONDS

    def _kill_busy(self) -> None:
        """The time that running calls got after a stop is over."""
        for processor in self._processors.values():
            if processor.order is not None or not processor.ready:
                processor.killed_for = processor.killed_for or "stopped"
                linux.kill_tree(processor.pid)

    def _finish(self) -> None:
        self._finishing = True

    def _dismiss(self) -> None:
        """Once nothing is left to give: `shutdown()` in each processor that has nothing left to do."""
        if not self._finishing or self._queue:
            return
        for processor in self._processors.values():
            if processor.finishing or processor.order is not None:
                continue
            processor.finishing = True
            if not processor.ready:
                linux.kill_group(processor.pid)  # it never had anything to do
                continue
            with contextlib.suppress(OSError):
                channel.send(processor.sock, None)

    def _close(self) -> None:
        self._closing = True
        self._give_up()

    def _give_up(self) -> None:
        """Give back all blocks."""
        while self._queue:
            self._return(self._queue.popleft())
        for processor in self._processors.values():
            if processor.order is not None:
                order = processor.order
                with contextlib.suppress(Exception):
                    self._listen(processor)
                if processor.order is not order:
                    continue
                self._say(
                    Released(
                        block=order.block,
                        token=order.token,
                        start=processor.reported,
                        stop=processor.limit,
                        reason="stopped",
                    )
                )
                self._say(Ended(block=order.block, token=order.token))
                processor.order = None

    def _end(self) -> None:
        self._sampler.stop()
        with contextlib.suppress(Exception):
            if self.settings.spare_server and self._finishing and not self._closing and not self._processors:
                prestart.leave(self.settings, self._server)
            else:
                self._server.close()
        self._send_out()
        for processor in self._processors.values():
            processor.close()
        self._processors.clear()
        self._closing = True
        with self._late:
            self._ended.set()
            self._answer_late()
            with contextlib.suppress(AttributeError):  # it may not have come that far
                self._selector.close()
            os.close(self._wake)
            os.close(self._waker)

    def _answer_late(self) -> None:
        """What comes when all is over is given back at once, so that nobody waits for ever."""
        while self._calls:
            with contextlib.suppress(Exception):
                self._calls.popleft()()
        self._send_out()

    # -- saying
    # --------------------------------------------------------------------------------------------------------------------

    def _say(self, message: Message) -> None:
        self._out.append(message)

    def _send_out(self) -> None:
        if self._out:
            messages, self._out = self._out, []
            self._report(messages)

    def _changed(self, processor: Supervised, state: str, detail: str = "") -> None:
        self._say(
            ProcessorChanged(
                node=self.settings.node,
                processor=processor.number,
                pid=processor.pid,
                state=state,
                detail=detail,
                time=time(),
            )
        )
