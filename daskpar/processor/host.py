"""The life of a processor, in the forked child: `init()` once, `run()` for each mini-batch of its blocks,
`shutdown()` once.

User code runs here and nowhere else, so everything around it is careful: rows are kept as plain objects until
one write puts them in the part file, and after each return the loop leaves at once if it is no longer in its
own process (the script has forked).
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import os
import signal
import socket
import sys
import time
import traceback
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from daskpar.batches.plan import Plan
from daskpar.batches.records import PACK, RECORD
from daskpar.paths import process_name
from daskpar.processor import channel, context, entry_script
from daskpar.processor.part_file import PartFile
from daskpar.processor.protocol import BlockOrder, Flushed, Notice, ProcessorSettings
from daskpar.processor.return_check import SUCCEEDED, countable, judge
from daskpar.processor.row_text import RowBuffer
from daskpar.processor.shared_page import CONDEMNED, Page, Phase
from daskpar.results import Failure, Reason, TryStatus

if TYPE_CHECKING:
    from daskpar.processor.profiling import Profiling

FLUSH_SECONDS = 0.1
"""Work that may be lost with a processor."""
FLUSH_BYTES = 4 << 20
CPU_SECONDS = 0.001
"""Mini-batches shorter than this are taken to use the processor as long as they last: asking would cost more
than some of them.
"""
TRACE_CHARACTERS = 64_000
MESSAGE_CHARACTERS = 4_000
STACK_SIGNAL: int | None = (
    signal.SIGRTMIN + 13 if hasattr(signal, "SIGRTMIN") else getattr(signal, "SIGUSR2", None)
)
"""On it a processor writes the stacks of all threads, from C, whoever holds the GIL; one that no script uses,
where there is one.
"""


@dataclass(frozen=True)
class InitDone:
    """`init()` has returned."""


@dataclass(frozen=True)
class InitRaised:
    """Import or `init()` raised."""

    what: str
    """Which of them, as the start of a sentence."""
    message: str
    trace: str


@dataclass(frozen=True)
class BlockDone:
    """A block's range is done up to `stop`."""

    block: int
    token: str
    stop: int


@dataclass(frozen=True)
class CannotGoOn:
    """The disk refuses rows, or no longer has what is to be read."""

    message: str


@dataclass(frozen=True)
class ShutdownDone:
    """`shutdown()` has returned, or raised: `trace`."""

    trace: str = ""


class Host:
    """Runs one entry script for one node."""

    def __init__(
        self, settings: ProcessorSettings, number: int, sock: socket.socket, page: Page, stacks: int
    ) -> None:
        self.settings = settings
        self.name = process_name(number)
        self._number = number
        self._sock = sock
        self._page = page
        self._pid = os.getpid()
        self._plan: Plan | None = None
        self._part = PartFile(settings.parts, f"{settings.node}-{self.name}")
        self._buffer = RowBuffer(header=settings.dataframe_header)
        self._profiling: Profiling | None = None
        self._said_more = False
        self._warned: set[str] = set()
        if STACK_SIGNAL is not None:
            faulthandler.register(STACK_SIGNAL, file=stacks, all_threads=True, chain=False)
        faulthandler.enable(file=stacks)
        # What has been printed so far is the parent's to write: a forked copy that ends by sys.exit would
        # write it again.
        os.register_at_fork(before=self._before_fork)

    def _before_fork(self) -> None:
        if os.getpid() == self._pid:
            _flush_streams()

    # -- life
    # ------------------------------------------------------------------------------------------------------------------

    def live(self) -> None:
        """From `init()` to `shutdown()`."""
        self._page.announce(-1, Phase.INIT, time.monotonic())
        what = "the entry script could not be imported"
        try:
            self._entry = entry_script.load(self.settings.entry_script, self.settings.code)
            what = "init() failed"
            self._profile()
            if self._entry.init is not None:
                self._entry.init()
        except BaseException as error:
            self._leave_if_forked()
            channel.send(self._sock, InitRaised(what, self._said(error), self._trace(error)))
            return
        self._leave_if_forked()
        self._page.announce(-1, Phase.IDLE, time.monotonic())
        channel.send(self._sock, InitDone())
        while True:
            order = channel.receive(self._sock)
            if order is None:
                break
            self._run_block(order)
        self._shut_down()

    def _profile(self) -> None:
        if self.settings.profiling_module:
            from daskpar.processor.profiling import Profiling

            path = self.settings.log_paths.profile(self.settings.node, self._number)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._profiling = Profiling(self.settings.profiling_module, str(path))
            self._entry = self._profiling.round(self._entry)

    def _shut_down(self) -> None:
        trace = ""
        self._page.announce(-1, Phase.SHUTDOWN, time.monotonic())
        if self._entry.shutdown is not None:
            try:
                self._entry.shutdown()
            except BaseException as error:
                trace = self._trace(error)
            self._leave_if_forked()
        # The process ends by os._exit (no thread of the script's is waited for), which calls none of what
        # scripts and libraries left here.
        with contextlib.suppress(BaseException):
            atexit._run_exitfuncs()
        self._leave_if_forked()
        _flush_streams()
        if self._profiling is not None:
            self._profiling.save(now=True)
        channel.send(self._sock, ShutdownDone(trace))

    def _leave_if_forked(self) -> None:
        if os.getpid() != self._pid:
            # A child of the script's has come back from the script: nothing of ours may happen twice.
            _flush_streams()
            os._exit(0)

    # -- blocks
    # ----------------------------------------------------------------------------------------------------------------

    def _run_block(self, order: BlockOrder) -> None:
        """Run mini-batches of the range until its end or the limit, whichever comes first."""
        if self._plan is None:
            try:
                self._plan = Plan.open(self.settings.plan)
            except Exception as error:
                channel.send(
                    self._sock,
                    CannotGoOn(f"the plan of mini-batches can't be read any more: {self._said(error)}"),
                )
                raise
        plan, page = self._plan, self._page
        plan.expect(order.start, order.stop)
        self._order = order
        self._records: list[bytes] = []
        self._failures: list[Failure] = []
        self._waiting: list[tuple[Any, ...]] = []
        monotonic, announce, allowed = time.monotonic, page.announce, page.allowed
        flushed = monotonic()
        self._epoch = time.time() - flushed
        self._cpu, self._told = time.process_time(), 0
        index = order.start
        while index < order.stop:
            now = monotonic()
            announce(index, Phase.LOAD, now)
            if index >= allowed():
                break
            self._one(index, now)
            index += 1
            # A failed try is said at once: the number of tries of a mini-batch is exact, whatever its
            # neighbours do next.
            if (
                self._failures
                or monotonic() - flushed >= FLUSH_SECONDS
                or self._buffer.size_estimate >= FLUSH_BYTES
            ):
                announce(index - 1, Phase.FLUSH, monotonic())
                self._flush()
                flushed = monotonic()
        announce(index - 1, Phase.FLUSH, monotonic())
        self._flush()
        if self._profiling is not None:
            self._profiling.save()
        announce(-1, Phase.IDLE, monotonic())
        channel.send(self._sock, BlockDone(order.block, order.token, index))

    def _one(self, index: int, began: float) -> None:
        """One try of one mini-batch."""
        try:
            batch = self._plan.load(index)  # type: ignore[union-attr]
            items = len(batch)
        except Exception as error:
            self._fail(index, Reason.LOAD_ERROR, self._planned(index), error, (began, None))
            return
        if items == 0 and self.settings.tabular:
            self._keep(index, 0, 0, 0, TryStatus.EMPTY, Reason.NONE, 1, False, (began, None))
            return
        if self.settings.tabular:
            self._page.announce_items(items)  # else known from the plan
        running = time.monotonic()
        self._page.announce(index, Phase.RUN, running)
        try:
            if self._entry.with_context:
                keys = self._plan.keys(index)  # type: ignore[union-attr]
                returned = self._entry.run(batch, context.MiniBatchContext(index, keys, batch))
            else:
                returned = self._entry.run(batch)
            if type(returned) is not list and _is_iterator(returned):
                # Also where nobody asks for what it gives: the body of a generator has not even begun.
                returned = list(returned) if self.settings.returns_measured else deque(returned, maxlen=0)
        except BaseException as error:
            self._leave_if_forked()
            reason = Reason.MEMORY if isinstance(error, MemoryError) else Reason.EXCEPTION
            self._fail(index, reason, items, error, (began, running))
            return
        if os.getpid() != self._pid:
            self._leave_if_forked()
        clocks = (began, running)
        if not self.settings.returns_measured:
            self._keep(index, items, 0, 0, TryStatus.SUCCEEDED, Reason.NONE, 1, False, clocks)
        elif why := countable(returned):
            self._fail(index, Reason.BAD_RETURN, items, why, clocks)
        else:
            self._take(index, items, returned, clocks)

    def _take(self, index: int, items: int, returned: Any, clocks: tuple[Any, ...]) -> None:
        """Count what was returned and keep its rows where they count."""
        try:
            count = len(returned)
        except BaseException as error:  # a class of the script's own
            self._leave_if_forked()
            self._fail(index, Reason.BAD_RETURN, items, error, clocks)
            return
        verdict = SUCCEEDED if count >= items else judge(items=items, returned=count)
        final = verdict.status != TryStatus.FAILED or self._order.tries >= self.settings.max_retries
        kept = False
        if final and self.settings.append_row:
            try:
                self._buffer.add(returned)
                kept = True
            except BaseException as error:
                self._leave_if_forked()
                self._fail(index, Reason.BAD_RETURN, items, error, clocks)
                return
        if count > items and not self._said_more:
            self._said_more = True
            text = f"run() returned {count} elements for the {items} items of mini-batch {index}; more than its items count as all (said once)"
            channel.send(self._sock, Notice(level="warning", text=text))
        if verdict.message:
            self._note(index, verdict.reason, verdict.message, "", final)
        self._keep(
            index,
            items,
            count,
            verdict.failed_items,
            verdict.status,
            verdict.reason,
            int(final),
            kept,
            clocks,
        )

    # -- results
    # ---------------------------------------------------------------------------------------------------------------

    def _fail(
        self, index: int, reason: int, items: int, error: BaseException | str, clocks: tuple[Any, ...]
    ) -> None:
        final = self._order.tries >= self.settings.max_retries
        message = error if isinstance(error, str) else self._said(error)
        if reason == Reason.LOAD_ERROR:
            message = f"the mini-batch could not be loaded: {message}"
        trace = "" if isinstance(error, str) else self._trace(error)
        self._note(index, reason, message, trace, final)
        # None of its items count, and its charge is dropped where the try is repeated.
        self._keep(index, items, 0, items, TryStatus.FAILED, reason, int(final), False, clocks)

    def _note(self, index: int, reason: int, message: str, trace: str, final: bool) -> None:
        log = str(self.settings.log_paths.stderr(self.settings.node, self._number))
        _say(f"mini-batch {index}: {message}\n{trace}")
        self._failures.append(
            Failure(
                index=index,
                reason=int(reason),
                message=message,
                trace=trace,
                items=self._describe(index),
                log=log,
                time=time.time(),
                final=final,
            )
        )

    def _keep(
        self,
        index: int,
        items: int,
        returned: int,
        failed_items: int,
        status: int,
        reason: int,
        final: int,
        rows: bool,
        clocks: tuple[Any, ...],
    ) -> None:
        began, running = clocks
        now = time.monotonic()
        elapsed = now - began
        run = now - running if running is not None else 0.0
        cpu = elapsed if elapsed < CPU_SECONDS else self._processor_time()
        self._waiting.append(
            (
                index,
                items,
                returned,
                failed_items,
                rows,
                self._epoch + began,
                elapsed,
                run,
                cpu,
                status,
                reason,
                final,
            )
        )

    def _processor_time(self) -> float:
        """Seconds of processor time since this was asked last, less what the shorter mini-batches between are
        taken to have used.
        """
        before, self._cpu = self._cpu, time.process_time()
        shorter: float = sum(waiting[8] for waiting in self._waiting[self._told :])
        self._told = len(self._waiting) + 1  # the one that asks comes next
        return max(0.0, self._cpu - before - shorter)

    def _flush(self) -> None:
        """Put the waiting rows in the part file by one write, then say so: done is what has been said."""
        while self._page.allowed() == CONDEMNED:
            time.sleep(0.001)  # the end comes from outside
        text, lengths = self._buffer.take()
        offset = crc = 0
        if text:
            try:
                offset, crc = self._part.append(text)
            except OSError as error:
                where = os.path.join(self.settings.parts, self._part.name)
                channel.send(
                    self._sock, CannotGoOn(f"rows can't be written to {where}: {error.strerror or error}")
                )
                raise
        if not self._waiting:
            return
        at, lengths_left = offset, iter(lengths)
        node, number, tries = self.settings.node, self._number, self._order.tries
        packed = []
        for (
            index,
            items,
            returned,
            failed,
            rows,
            started,
            elapsed,
            run,
            cpu,
            status,
            reason,
            final,
        ) in self._waiting:
            length = next(lengths_left) if rows else 0
            packed.append(
                PACK.pack(
                    index,
                    items,
                    returned,
                    failed,
                    at,
                    length,
                    started,
                    elapsed,
                    run,
                    cpu,
                    tries,
                    number,
                    node,
                    status,
                    reason,
                    final,
                )
            )
            at += length
        failures, self._failures = tuple(self._failures), []
        self._waiting.clear()
        self._cpu, self._told = time.process_time(), 0
        _flush_streams()
        channel.send(
            self._sock,
            Flushed(
                block=self._order.block,
                token=self._order.token,
                part=self._part.name if text else "",
                offset=offset,
                length=len(text),
                crc=crc,
                records=b"".join(packed),
                failures=failures,
                columns=self._buffer.columns,
            ),
        )
        self._warn()

    def _warn(self) -> None:
        """Pass on what the reader counted: values lost in conversion, columns that came late."""
        if self._plan is None or not self._plan.tabular:
            return
        for text in self._plan.warnings():
            if text not in self._warned:
                self._warned.add(text)
                channel.send(self._sock, Notice(level="warning", text=text))

    # -- words
    # -----------------------------------------------------------------------------------------------------------------

    def _planned(self, index: int) -> int:
        """Items of a mini-batch that could not be loaded: as planned, else 1."""
        try:
            return self._plan.items(index) or 1  # type: ignore[union-attr]
        except Exception:
            return 1

    def _describe(self, index: int) -> str:
        try:
            return self._plan.describe(index)  # type: ignore[union-attr]
        except Exception as error:
            return f"mini-batch {index} (its items can't be read: {error})"

    @staticmethod
    def _said(error: BaseException) -> str:
        name = type(error).__name__
        try:
            text = str(error)
        except Exception:
            text = "(its text can't be made)"
        said = f"{name}: {text[:MESSAGE_CHARACTERS]}" if text else name
        # argparse, for one, says what is wrong on standard error alone.
        return (
            f"{said} (the script ended itself; its log says what it printed before)"
            if isinstance(error, SystemExit)
            else said
        )

    @staticmethod
    def _trace(error: BaseException) -> str:
        """The traceback from the user's first line on."""
        ours = os.path.dirname(os.path.abspath(__file__))
        tb = error.__traceback__
        while tb is not None and os.path.abspath(tb.tb_frame.f_code.co_filename).startswith(
            (ours, "<frozen importlib")
        ):
            tb = tb.tb_next
        text = "".join(traceback.format_exception(type(error), error, tb))
        return text if len(text) <= TRACE_CHARACTERS else f"{text[:1000]}\n...\n{text[-TRACE_CHARACTERS:]}"


def _is_iterator(value: Any) -> bool:
    # Of its type, where Python looks for it too: a DataFrame goes through its columns before it says that it
    # has no such attribute.
    return hasattr(type(value), "__next__")


def _say(text: str) -> None:
    try:
        print(text, file=sys.stderr, flush=True)
    except (OSError, ValueError, AttributeError):
        pass  # a full disk, or a script that has closed or replaced it: what is said is in the failure too


def _flush_streams() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass  # a script may have closed or replaced it


assert PACK.size == RECORD.itemsize
