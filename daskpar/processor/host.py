"""Hosts the entry script, in the forked child: `init()` once, `run()` by blocks, `shutdown()` once.

User code runs in processors and nowhere else.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import socket
import sys
import threading
from typing import TYPE_CHECKING

from daskpar.own_calls import OWN
from daskpar.paths import process_name
from daskpar.processor import channel, entry_script
from daskpar.processor.block_runner import BlockRunner
from daskpar.processor.error_text import comes_again, describe_error, user_traceback
from daskpar.processor.no_debugger import advice, take_breakpoints
from daskpar.processor.own_ground import OwnGround
from daskpar.processor.own_process import OwnProcess
from daskpar.processor.processor_messages import InitDone, InitRaised, ShutdownDone
from daskpar.processor.protocol import BlockOrder, ProcessorSettings
from daskpar.processor.rate_limiter import RateLimit, use
from daskpar.processor.shared_page import Phase, SharedPage
from daskpar.processor.signal_guard import SignalGuard
from daskpar.processor.stacks import STACK_SIGNAL
from daskpar.processor.std_streams import flush_streams

if TYPE_CHECKING:
    from daskpar.processor.profiling import Profiling
    from daskpar.processor.rate_page import RatePage
    from daskpar.processor.script_loop import ScriptLoop


def runner_of(settings: ProcessorSettings) -> type[BlockRunner]:
    """What runs the blocks of a step with these settings."""
    if settings.uploads is None:
        return BlockRunner
    from daskpar.processor.uploading_runner import UploadingRunner

    return UploadingRunner


class Host:
    """Runs one entry script for one node. `stacks`: file descriptor for the stacks of a kill or crash."""

    def __init__(
        self,
        settings: ProcessorSettings,
        number: int,
        sock: socket.socket,
        page: SharedPage,
        stacks: int,
        rate_page: RatePage | None = None,
    ) -> None:
        self._rate_page = rate_page
        self._loop: ScriptLoop | None = None
        self.settings = settings
        self._number = number
        self._sock = sock
        self._page = page
        self._process = OwnProcess()
        self._ground = OwnGround(sock)
        self._guard = SignalGuard()
        self._guard.terminated = self._note_term
        self._guard.install()
        # Before the script can change the umask.
        self._part = settings.store.writer(f"{settings.node}-{process_name(number)}")
        self._profiling: Profiling | None = None
        take_breakpoints()
        if STACK_SIGNAL is not None:
            faulthandler.register(STACK_SIGNAL, file=stacks, all_threads=True, chain=False)
        faulthandler.enable(file=stacks)

    def _note_term(self) -> None:
        if OWN.getpid() == self._process.pid:  # no process that the script has forked, with its handlers
            self._page.announce_terminated()

    def run(self) -> None:
        """From `init()` to `shutdown()`; also returns when import or `init()` raised, which it reports."""
        self._page.announce(-1, Phase.INIT, OWN.monotonic())
        self._ground.remember_modules()
        if not self._start():
            return
        self._page.announce(-1, Phase.IDLE, OWN.monotonic())
        channel.send(self._sock, InitDone())
        given = (
            self.settings,
            self._number,
            self._sock,
            self._page,
            self._entry,
            self._profiling,
            self._process,
            self._ground,
            self._guard,
            self._part,
        )
        if self.settings.in_flight:
            from daskpar.processor.in_flight.in_flight_runner import InFlightRunner

            in_flight = InFlightRunner(self._script_loop(), *given)
            in_flight.serve()
            blocks: BlockRunner = in_flight
        else:
            blocks = runner_of(self.settings)(*given)
            while (order := self._next_order()) is not None:
                blocks.run(order)
        self._shut_down(blocks)

    def _next_order(self) -> BlockOrder | None:
        """Wait for an order; None: there are no more."""
        self._ground.check()
        self._ground.restore_modules()
        order: BlockOrder | None = channel.receive(self._sock)
        return order

    def _start(self) -> bool:
        what = "the entry script could not be imported"
        try:
            self._use_rate_limit()
            azure = self.settings.azure_async
            self._entry = entry_script.load(self.settings.entry_script, self.settings.code, azure_async=azure)
            self._prepare_loop()
            what = "init() failed"
            self._profile()
            if self._entry.init is not None:
                self._entry.init()
            self._guard.in_script = False
        except BaseException as error:  # SystemExit too
            self._guard.in_script = False
            self._process.exit_if_copy()
            with self._ground.restored():
                self._ground.check()
                text, trace = describe_error(error) + advice(error, self.settings, -1), user_traceback(error)
                channel.send(self._sock, InitRaised(what, text, trace, certain=comes_again(error)))
            return False
        self._process.exit_if_copy()
        self._ground.check()
        self._ground.restore_modules()
        return True

    def _use_rate_limit(self) -> None:
        """Have the limit of the step's calls ready for the script, before it is imported."""
        limit: RateLimit
        if self.settings.in_flight and not self.settings.azure_async:
            from daskpar.processor.async_rate_limit import AsyncRateLimit
            from daskpar.processor.in_flight.in_flight_call import paused

            limit = AsyncRateLimit(paused)
        else:
            limit = RateLimit(self._clock_stood_still)
        if self._rate_page is not None and self.settings.rate_limit is not None:
            limit.share(self._rate_page, self._number, self.settings.rate_limit)
        use(limit)

    def _clock_stood_still(self, seconds: float) -> None:
        """The call that runs has waited for the rate limit, which does not count for its timeout."""
        last = self._page.announced()
        if last.phase == Phase.RUN and not self.settings.in_flight:
            self._page.announce(last.index, last.phase, last.since + seconds)

    def _prepare_loop(self) -> None:
        """Have an event loop for the script's async functions; others never pay for one."""
        entry, in_flight = self._entry, self.settings.in_flight
        if in_flight:
            entry.check_in_flight(in_flight)
        if in_flight or any(map(entry_script.is_async, (entry.init, entry.run, entry.shutdown))):
            if self.settings.profiling_module and (in_flight or entry_script.is_async(entry.run)):
                raise TypeError("--profiling_module measures ordinary functions, and run() is async def")
            self._entry = self._script_loop().with_plain_calls(entry, run=not in_flight)
        elif entry.wraps_async:
            self._entry = self._script_loop().with_results_awaited(entry)

    def _script_loop(self) -> ScriptLoop:
        if self._loop is None:
            from daskpar.processor.script_loop import ScriptLoop

            self._loop = ScriptLoop()
        return self._loop

    def _profile(self) -> None:
        if self.settings.profiling_module:
            from daskpar.processor.profiling import Profiling

            path = self.settings.log_paths.profile(self.settings.node, self._number)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._profiling = Profiling(self.settings.profiling_module, str(path))
            self._entry = self._profiling.wrap(self._entry)

    def _shut_down(self, blocks: BlockRunner) -> None:
        trace = ""
        self._page.announce(-1, Phase.SHUTDOWN, OWN.monotonic())
        self._guard.in_script, self._guard.own_code = True, None
        if self._entry.shutdown is not None:
            try:
                self._entry.shutdown()
            except BaseException as error:
                trace = user_traceback(error)
            self._process.exit_if_copy()
        if self._loop is not None:
            self._loop.close()
        # The process ends by os._exit, so that no thread of the script's is waited for. That calls none of
        # the functions that scripts and libraries have registered with atexit.
        # Nor those of `threading`, which stop the workers of executors: other exit functions wait for these.
        for function in reversed(list(getattr(threading, "_threading_atexits", []))):
            with contextlib.suppress(BaseException):
                function()
        with contextlib.suppress(BaseException):
            atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):  # the script's own ones, too, as Python does
            with contextlib.suppress(BaseException):
                stream.flush()
        self._guard.in_script = False
        self._process.exit_if_copy()
        flush_streams()
        self._ground.check()
        self._ground.restore_modules()
        if self._profiling is not None:
            self._profiling.save(now=True)
        blocks.leave()
        channel.send(self._sock, ShutdownDone(trace))
