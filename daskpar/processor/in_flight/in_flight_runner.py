"""Runs mini-batches of which many are in flight at a time, in a processor: one event loop, a task for each.

As `block_runner`, which it extends, but blocks are not run one after the other: what is given waits in a
line, and the next mini-batch of it begins whenever a call has ended. Rows are put down in groups, those of
each block in mini-batch order. A call whose time is up is cancelled; the node is told of one that goes on
all the same, and ends the process.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from daskpar.batches.plan import Plan
from daskpar.data.notices import Notice
from daskpar.own_calls import OWN
from daskpar.processor import channel, context
from daskpar.processor.azure_contract import AzureContract, Failed
from daskpar.processor.block_runner import FLUSH_BYTES, FLUSH_SECONDS, BlockRunner, without_warnings
from daskpar.processor.error_text import user_traceback
from daskpar.processor.in_flight.in_flight_call import CURRENT, Call, Stepped, where_it_waits
from daskpar.processor.own_ground import LOST_DESCRIPTORS
from daskpar.processor.piece_loader import PieceLoader
from daskpar.processor.processor_messages import (
    NOTHING_LEFT,
    HandBack,
    HandedBack,
    Unheeded,
    Unreached,
)
from daskpar.processor.protocol import BlockOrder
from daskpar.processor.return_check import why_not_countable
from daskpar.processor.script_loop import ScriptLoop, awaited
from daskpar.processor.shared_page import Phase
from daskpar.processor.silent_calls import SilentCalls
from daskpar.processor.slot_page import SlotPage
from daskpar.processor.throttling import Patience
from daskpar.results import Failure, Reason, TryStatus
from daskpar.value_classes import frozen

HOLD_SECONDS = 0.01
"""Between two looks whether reports are still held back."""
TICK_SECONDS = 0.05
"""How often clocks are looked at while calls are in flight."""
CANCEL_SECONDS = 2.0
"""What a call that was cancelled gets to end."""
LEAST_GATHERED = 64
"""So many ended mini-batches are put down at once at least, unless their time has come."""


@frozen
class _Waiting:
    """The mini-batches from `next` on of a block have not begun."""

    order: BlockOrder
    source: Any
    next: int


@frozen
class _Ended:
    """A try that has ended, and is not reported yet."""

    order: BlockOrder
    source: Any
    facts: tuple[Any, ...]
    """As `BlockRunner._keep` keeps them, but for the processor time."""
    notices: tuple[Notice, ...]


class _Columns:
    """What stands before the rows of the one mini-batch that is taken."""

    def __init__(self, columns: Any) -> None:
        self._columns = columns

    def of(self, *_: object) -> Any:
        return self._columns


class _Gathered:
    """Rows that were taken from the encoder, in the place of it."""

    def __init__(self, text: bytes, lengths: list[int], schema: Any) -> None:
        self._found = text, lengths
        self.schema = schema

    def take(self) -> tuple[bytes, list[int]]:
        return self._found


class InFlightRunner(BlockRunner):
    """Runs mini-batches for one processor. `loop`: the script's."""

    _page: SlotPage

    def __init__(self, loop: ScriptLoop, *given: Any) -> None:
        super().__init__(*given)
        self._script_loop, self._loop = loop, loop.loop
        self._most = self.settings.in_flight
        self._free = list(range(self._most))[::-1]
        self._line: deque[_Waiting] = deque()
        self._calls: dict[int, Call] = {}
        """In flight, by slot."""
        self._unheeding: list[Call] = []
        self._ended: list[_Ended] = []
        self._block_failures: list[tuple[int, Failure]] = []
        self._flushed = 0.0
        self._ticking = self._flush_soon = self._is_over = False
        self._broken: BaseException | None = None
        self._inbox = channel.Inbox(self._sock)
        self._loader: ThreadPoolExecutor | None = None
        fetching = self.settings.fetching
        self._loading_waits = self.settings.tabular or (fetching is not None and fetching.splits)
        """Whether loading one takes a while: it is read, or fetched."""
        self._silent = SilentCalls(self.settings.plan)
        self._expected: BlockOrder | None = None
        self._columns: Any = None
        self._call: Call | None = None
        """The one whose end is taken in."""
        azure = self._entry.azure
        self._azure = AzureContract(azure, self._entry.with_context, self._warn_once) if azure else None
        self._epoch = OWN.wall_clock() - OWN.monotonic()
        self._cpu, self._cpu_counted = OWN.process_time(), 0
        self._unflushed, self._failures = [], []
        self._now_told: tuple[Notice, ...] = ()

    # -- the loop --------------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Run what the node gives until it gives no more."""
        loop = self._loop
        over = self._over = loop.create_future()
        loop.add_reader(self._fd, self._guarded, self._read)
        while not self._is_over:
            try:
                loop.run_until_complete(over)
            except BaseException as error:
                # SystemExit in a task of the script's own leaves the loop; it goes on where it was.
                self._process.exit_if_copy()
                if self._broken is not None:
                    break
                if loop.is_closed():
                    self._leave(LOST_DESCRIPTORS, OSError(f"the script has closed its event loop: {error}"))
                if over.done() and not self._is_over:
                    over = self._over = loop.create_future()
        if self._broken is not None:
            raise self._broken
        loop.remove_reader(self._fd)
        if self._azure is not None:
            self._azure.end()
        if self._loader is not None:
            self._loader.shutdown(wait=False, cancel_futures=True)

    def _guarded(self, function: Callable[..., None], *arguments: Any) -> None:
        """Call one of our functions; a mistake of ours ends the process, as everywhere."""
        if self._broken is not None:
            return
        try:
            function(*arguments)
        except BaseException as error:
            self._process.exit_if_copy()
            self._broken = error
            if not self._over.done():
                self._over.set_result(None)
            self._is_over = True
            raise

    def _read(self) -> None:
        for message in self._inbox.read():
            if isinstance(message, BlockOrder):
                self._take(message)
            elif isinstance(message, HandBack):
                self._hand_back()
            elif message is None:
                self._end()
        if self._inbox.closed:
            self._end()

    def _end(self) -> None:
        self._is_over = True
        if not self._over.done():
            self._over.set_result(None)

    def _take(self, order: BlockOrder) -> None:
        with self._ground.restored():
            plan = self._open_plan()
        plan.in_use = self._in_use
        plan.read_apart()  # else a file that is not read in time would be held against another's call
        if self._columns is None:
            self._columns = self._before
        source = plan if order.piece is None else PieceLoader(plan, order.piece)
        self._line.append(_Waiting(order, source, order.start))
        self._fill()
        if not self._ticking:
            self._ticking = True
            self._tick()

    def _hand_back(self) -> None:
        """Give back all that has not begun."""
        while self._line:
            waiting = self._line.popleft()
            order = waiting.order
            channel.send(self._sock, HandedBack(order.block, order.token, waiting.next, order.stop))
        channel.send(self._sock, NOTHING_LEFT)

    def _fill(self) -> None:
        """Begin mini-batches, as many as may be in flight."""
        while self._line and self._free and not self._unheeding:
            if self._azure is not None and self._calls and not self._azure.has_room(self._most):
                return
            waiting = self._line.popleft()
            if waiting.next + 1 < waiting.order.stop:
                self._line.appendleft(_Waiting(waiting.order, waiting.source, waiting.next + 1))
            self._begin(waiting.order, waiting.source, waiting.next)

    def _begin(self, order: BlockOrder, source: Any, index: int) -> None:
        slot, now = self._free.pop(), OWN.monotonic()
        call = Call(order=order, index=index, source=source, slot=slot, began=now)
        self._calls[slot] = call
        self._page.fill(slot, index, Phase.LOAD, now)
        self._page.begin()
        call.task = self._loop.create_task(self._one(call), name=f"mini-batch {index}")

    def _call_ended(self, call: Call) -> None:
        """What came of it is known: its slot is free, and the next mini-batch begins in it at once."""
        del self._calls[call.slot]
        self._page.free(call.slot)
        self._free.append(call.slot)
        self._fill()
        idle = not self._calls and not self._line
        if (
            idle
            or len(self._ended) >= max(LEAST_GATHERED, self._most)
            or self._buffer.size_estimate >= FLUSH_BYTES
        ):
            self._soon()

    def _task_was_ended(self, call: Call) -> None:
        """Its task is over, and the call is not: the script has cancelled it, which can reach all tasks,
        before it began, while its data was loaded or while it waited.
        """
        task = call.task
        if task is not None and not task.cancelled() and (error := task.exception()) is not None:
            raise error  # nothing of the script's comes to here
        self._order, self._source, self._call = call.order, call.source, call
        text = "its task was cancelled by the script, which cancels tasks that are not its own"
        self._fail(call.index, Reason.EXCEPTION, call.items or 1, text, (call.began, None))
        self._call = None
        self._call_ended(call)

    def _soon(self) -> None:
        """Report at the end of this turn of the loop."""
        if not self._flush_soon:
            self._flush_soon = True
            self._loop.call_soon(self._guarded, self._flush)

    def _tick(self) -> None:
        now = OWN.monotonic()
        if not self._calls and not self._line and not self._ended:
            self._ticking = False
            self._page.announce(-1, Phase.IDLE, now)
            return
        self._page.announce(-1, Phase.RUN, now)
        for call in list(self._calls.values()):
            if call.overdue(now):
                self._time_out(call, now)
            elif call.task is not None and call.task.done():
                self._task_was_ended(call)
        if self._ended and now - self._flushed >= FLUSH_SECONDS:
            self._flush()
        self._loop.call_later(TICK_SECONDS, self._guarded, self._tick)

    def _time_out(self, call: Call, now: float) -> None:
        """Cancel a call; one that is being loaded, or goes on all the same, is for the node to end."""
        assert call.task is not None
        if call.running is not None and not call.timed_out and self._azure is None:
            call.timed_out = True
            call.deadline = now + CANCEL_SECONDS
            call.task.cancel()
            return
        call.deadline = None
        self._unheeding.append(call)
        self._hand_back()
        self._flush()
        trace = "" if self._azure is not None else where_it_waits(call.code)
        channel.send(
            self._sock, Unheeded(call.order.block, call.index, call.slot, call.running is None, trace)
        )

    def _in_use(self) -> tuple[tuple[int, tuple[int, int] | None], ...]:
        return tuple((call.index, call.order.piece) for call in list(self._calls.values()))

    # -- one call --------------------------------------------------------------------------------------------

    async def _one(self, call: Call) -> None:
        """One try of one mini-batch, waits that its service asks for included."""
        CURRENT.set(call)
        patience = None
        while True:
            error, returned = None, None
            batch = await self._load(call)
            if batch is None:
                self._guarded(self._call_ended, call)
                return
            running = call.running = OWN.monotonic()
            call.deadline = running + self.settings.run_timeout
            self._page.fill(call.slot, call.index, Phase.RUN, running, call.items)
            try:
                call.code = self._script(call, batch)
                returned = await Stepped(call.code, call.index, self._page, self._guard, self._process)
            except BaseException as raised:
                error = raised.error if isinstance(raised, Failed) else raised
            call.deadline = None
            if error is None or call.timed_out:
                break
            if patience is None:
                patience = Patience(self.settings.rate_patience)
            if (wait := patience.wait_for(error, OWN.monotonic())) is None:
                break
            call.running, call.again = None, True
            self._throttled += 1
            await asyncio.sleep(wait)
        if call.timed_out and (trouble := await self._silent.trouble(call.index)):
            # It waits for its files, which do not answer: nothing of the script's took too long.
            self._guarded(self._ended_unreached, call, trouble)
            return
        put_off = "" if patience is None else patience.spent(OWN.monotonic())
        # The next one begins in this same turn of the loop: later, all that end together begin together.
        self._guarded(self._ended_by_itself, call, returned, error, put_off)

    def _ended_unreached(self, call: Call, trouble: str) -> None:
        self._unreached = Unreached(trouble)
        self._hand_back_unreached(call)
        self._call_ended(call)

    def _ended_by_itself(self, call: Call, returned: Any, error: BaseException | None, put_off: str) -> None:
        self._order, self._source, self._call = call.order, call.source, call
        try:
            self._take_end(call, returned, error, put_off)
        finally:
            self._call = None
        self._call_ended(call)

    def _script(self, call: Call, batch: Any) -> Any:
        """The coroutine that runs the script's function."""
        about = None
        if self._entry.with_context or self._azure is not None:
            first = call.order.piece[0] if call.order.piece is not None else 0
            about = context.MiniBatchContext(call.index, call.source.keys(call.index), batch, first)
        if self._azure is not None:
            return self._azure.run(batch, about)
        arguments = (batch,) if about is None else (batch, about)
        return awaited(self._entry.run, arguments, keep=self.settings.returns_measured)

    async def _load(self, call: Call) -> Any:
        """The mini-batch; None where that is its end: it can't be loaded, or holds no row."""
        if call.again:
            call.items, call.running = 0, None
            self._page.fill(call.slot, call.index, Phase.LOAD, OWN.monotonic())
        try:
            if not self._loading_waits:
                batch = self._loaded(call)
            else:
                # Meanwhile the other calls go on.
                if self._loader is None:
                    self._loader = ThreadPoolExecutor(1, "daskpar-loader")
                batch = await self._loop.run_in_executor(self._loader, self._loaded, call)
            call.items = len(batch)
        except Exception as error:
            call.deadline = None
            self._order, self._source, self._call = call.order, call.source, call
            self._not_loaded(call.index, error, call.began)
            self._call = None
            if self._unreached is not None:
                self._hand_back_unreached(call)
            return None
        call.deadline = None
        if call.items == 0 and self.settings.tabular:
            self._order, self._source, self._call = call.order, call.source, call
            self._keep(call.index, 0, 0, 0, TryStatus.EMPTY, Reason.NONE, 1, False, (call.began, None))
            self._call = None
            return None
        return batch

    def _loaded(self, call: Call) -> Any:
        """Load it; where that takes a while on the thread of the loader, one after the other."""
        order, plan = call.order, self._plan
        assert plan is not None
        # From here on: in the line of the loader it may have waited for others.
        call.deadline = OWN.monotonic() + self.settings.overhead_timeout
        if order is not self._expected:
            self._expected = order
            plan.expect(order.start, order.stop)
        try:
            batch = call.source.load(call.index)
        except Warning:
            batch = without_warnings(call.source.load, call.index)
        if self._columns is not None:
            call.columns = self._columns.of(call.index, len(batch), order.piece)
        call.notices = self._notices_of(plan, order)
        return batch

    def _notices_of(self, plan: Plan, order: BlockOrder) -> tuple[Notice, ...]:
        found = plan.notices(()) if plan.tabular else ()
        repeated = order.repeated and order.is_last_try(self.settings.max_retries)
        return () if repeated or order.piece is not None else found

    def _hand_back_unreached(self, call: Call) -> None:
        order, unreached = call.order, self._unreached
        self._unreached = None
        channel.send(self._sock, HandedBack(order.block, order.token, call.index, call.index + 1, unreached))

    def _take_end(self, call: Call, returned: Any, error: BaseException | None, put_off: str) -> None:
        """Take in how a call has ended."""
        self._process.exit_if_copy()
        self._check_descriptor()
        index, items, clocks = call.index, call.items, (call.began, call.running)
        if call.timed_out:
            limit = f"{self.settings.run_timeout:g} s (retry_settings.timeout)"
            message = f"run() took longer than {limit}; it was cancelled{put_off}"
            final = self._order.is_last_try(self.settings.max_retries)
            trace = "" if error is None else user_traceback(error)
            self._add_failure(index, Reason.TIMEOUT, message, trace, final)
            self._keep(index, items, 0, items, TryStatus.FAILED, Reason.TIMEOUT, int(final), False, clocks)
        elif error is not None:
            reason = Reason.MEMORY if isinstance(error, MemoryError) else Reason.EXCEPTION
            self._fail(index, reason, items, error, clocks, put_off)
        elif not self.settings.returns_measured:
            self._keep(index, items, 0, 0, TryStatus.SUCCEEDED, Reason.NONE, 1, False, clocks)
        elif why := why_not_countable(returned):
            self._fail(index, Reason.BAD_RETURN, items, why, clocks)
        else:
            self._before = None if self._columns is None else _Columns(call.columns)  # type: ignore[assignment]
            self._take_return(index, items, returned, clocks)

    # -- results ---------------------------------------------------------------------------------------------

    def _add_failure(self, index: int, reason: int, message: str, trace: str, final: bool) -> None:
        self._failures = []
        super()._add_failure(index, reason, message, trace, final)
        self._block_failures.append((self._order.block, self._failures.pop()))
        # At once: the number of tries of a mini-batch is exact, whatever its neighbours do next.
        self._soon()

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
        call, now = self._call, OWN.monotonic()
        assert call is not None
        began, running = clocks
        run = now - running if running is not None else 0.0
        # As everywhere: what was read for a try that is made again counts with that one.
        notices = call.notices if final else ()
        facts = (
            index, items, returned, failed_items, rows, self._epoch + began, now - began, run,
            status, reason, final,
        )  # fmt: skip
        self._ended.append(_Ended(call.order, call.source, facts, notices))

    def _flush(self) -> None:
        """Put the kept rows in the part file, a piece for each block, and report them."""
        self._flush_soon = False
        self._flushed = OWN.monotonic()
        if not self._ended:
            return
        if self._page.holds_reports():  # a while; the calls in flight go on meanwhile
            self._flush_soon = True
            self._loop.call_later(HOLD_SECONDS, self._guarded, self._flush)
            return
        self._page.announce(self._ended[0].facts[0], Phase.FLUSH, self._flushed)
        with self._ground.restored():
            self._report_blocks()
        self._page.announce(-1, Phase.RUN, OWN.monotonic())

    def _report_blocks(self) -> None:
        encoder = self._buffer
        text, lengths = encoder.take()
        used = OWN.process_time()
        cpu, self._cpu = (used - self._cpu) / len(self._ended), used
        at, sizes = 0, iter(lengths)
        blocks: dict[int, list[tuple[_Ended, int, int]]] = {}
        for ended in self._ended:
            length = next(sizes) if ended.facts[4] else 0
            blocks.setdefault(ended.order.block, []).append((ended, at, length))
            at += length
        self._ended = []
        failures, self._block_failures = self._block_failures, []
        rows, notices = memoryview(text), encoder.take_notices()
        for block, found in blocks.items():
            found.sort(key=lambda one: int(one[0].facts[0]))
            first = found[0][0]
            self._order, self._source = first.order, first.source
            self._unflushed = [(*one.facts[:8], cpu, *one.facts[8:]) for one, _, _ in found]
            self._failures = [failure for number, failure in failures if number == block]
            own = b"".join(rows[start : start + length] for _, start, length in found)
            self._now_told = notices + tuple(notice for one, _, _ in found for notice in one.notices)
            notices = ()
            self._buffer = _Gathered(  # type: ignore[assignment]
                own, [length for one, _, length in found if one.facts[4]], encoder.schema
            )
            try:
                self._write_and_report()
            finally:
                self._buffer = encoder

    def _notices(self, failures: tuple[Failure, ...]) -> tuple[Notice, ...]:
        return self._now_told
