"""Runs the mini-batches of a block, in a processor: load, `run()`, keep the rows, write and report them.

The loop costs a few microseconds for each mini-batch, and must: it calls what it needs and nothing else. Rows
are kept as plain objects until one write puts those of many mini-batches in the part file; large ones are
written at once.
"""

from __future__ import annotations

import errno
import socket
import warnings
from collections import deque
from collections.abc import Callable
from types import CoroutineType, FunctionType
from typing import TYPE_CHECKING, Any

from daskpar.batches.packed_record import PACK
from daskpar.batches.plan import Plan
from daskpar.data.notices import Notice
from daskpar.data.reach import Reach, reach_of
from daskpar.errors import InputChanged, InputError
from daskpar.locations import is_url
from daskpar.own_calls import OWN
from daskpar.printable import in_brackets
from daskpar.processor import channel, context, own_disk
from daskpar.processor.entry_script import Entry
from daskpar.processor.error_text import describe_error, user_traceback
from daskpar.processor.fetching.fetched_plan import open_plan
from daskpar.processor.no_debugger import advice
from daskpar.processor.own_ground import LOST_DESCRIPTORS, LOST_LIMITS, OwnGround
from daskpar.processor.own_process import OwnProcess
from daskpar.processor.piece_loader import PieceLoader, piece_in_words
from daskpar.processor.processor_messages import BlockDone, DiskFailed, Unreached
from daskpar.processor.protocol import BlockOrder, Flushed, LogMessage, ProcessorSettings
from daskpar.processor.rate_limiter import the_limit
from daskpar.processor.return_check import SUCCEEDED, compare_counts, why_not_countable
from daskpar.processor.seen_items import SeenItems
from daskpar.processor.shared_page import Phase, SharedPage
from daskpar.processor.signal_guard import SignalGuard
from daskpar.processor.std_streams import failure_in_log, flush_streams, log_sizes, write_stderr
from daskpar.processor.throttling import Patience
from daskpar.processor.unreported_rows import UnreportedRows, WrittenRange
from daskpar.results import Failure, Reason, TryStatus
from daskpar.rows.part_store import PartWriter
from daskpar.rows.row_format import REFUSED, Schema

if TYPE_CHECKING:
    from daskpar.processor.profiling import Profiling
    from daskpar.rows.item_columns import ColumnsBefore

FLUSH_SECONDS = 0.1
"""Work that may be lost with a processor."""
FLUSH_BYTES = 4 << 20
"""Rows that are reported together at most, about."""
PUT_BYTES = 256 << 10
"""Rows that wait in memory to be written, about. What was just made is in the processor's caches: written
later, with megabytes of others, it is brought from memory again, and so is the room for the next rows.
"""
CPU_SECONDS = 0.001
"""Shorter mini-batches are taken to use the processor as long as they last: to ask costs more than some of
them."""


_OF_THIS_PROCESS = {errno.EBADF, errno.EMFILE}
"""Errors that say nothing of a disk, but of the descriptors of the process."""
_CPU = 8
"""Where the processor time stands in what `_keep` keeps of a try."""


class BlockRunner:
    """Runs blocks for one processor, one after the other."""

    def __init__(
        self,
        settings: ProcessorSettings,
        number: int,
        sock: socket.socket,
        page: SharedPage,
        entry: Entry,
        profiling: Profiling | None,
        process: OwnProcess,
        ground: OwnGround,
        guard: SignalGuard,
        part: PartWriter,
    ) -> None:
        self.settings = settings
        self._number = number
        self._sock = sock
        self._page = page
        self._entry = entry
        self._profiling = profiling
        self._process = process
        self._pid = process.pid
        self._plan: Plan | None = None
        self._ground = ground
        self._guard = guard
        # The frame of a function in C is that of its caller: a handler which runs in one of ours may belong
        # there.
        plain = isinstance(entry.run, FunctionType) and profiling is None
        self._own_code = guard.own_code = BlockRunner._run_one.__code__ if plain else None
        self._fd = sock.fileno()
        self._part = part
        self._buffer = settings.row_format.encoder()
        self._rows = UnreportedRows(part)
        self._most_waiting: float = PUT_BYTES
        self._tries_put = 0
        """How many of the kept tries had their rows put in the part."""
        self._before: ColumnsBefore | None = None
        self._refused: Schema | None = None
        self._any_number = settings.any_number_of_rows
        self._warned_of_more = self._any_number
        self._warned: set[str] = set()
        self._patience: Patience | None = None
        """Of a mini-batch that is tried again as its service asks."""
        self._wait = 0.0
        self._throttled = 0
        """Calls that were put off since the last flush."""
        self._unreached: Unreached | None = None
        """Why the current block ends before its next mini-batch."""

    # -- the loop ------------------------------------------------------------------------------------------

    def run(self, order: BlockOrder) -> None:
        """Run mini-batches of the range until its end or the limit, whichever comes first."""
        with self._ground.restored():
            plan = self._open_plan()
            plan.expect(order.start, order.stop)
            if order.apart:
                plan.read_apart()
        page = self._page
        self._order = order
        self._source = plan if order.piece is None else PieceLoader(plan, order.piece)
        self._failures: list[Failure] = []
        self._unflushed: list[tuple[Any, ...]] = []
        monotonic, announce, allowed = OWN.monotonic, page.announce, page.allowed
        flushed = monotonic()
        self._epoch = OWN.wall_clock() - flushed
        self._cpu, self._cpu_counted = OWN.process_time(), 0
        index = order.start
        while index < order.stop:
            now = monotonic()
            # First announced, then looked for the limit: see `shared_page`.
            announce(index, Phase.LOAD, now)
            if index >= allowed():
                break
            self._run_one(index, now)
            if self._unreached is not None:
                break
            index += 1
            if self._buffer.size_estimate >= self._most_waiting:
                announce(index - 1, Phase.FLUSH, monotonic())
                with self._ground.restored():
                    self._put()
            # A failed try is reported at once: the number of tries of a mini-batch is exact, whatever its
            # neighbours do next.
            waiting = self._rows.length + self._buffer.size_estimate
            if self._failures or monotonic() - flushed >= FLUSH_SECONDS or waiting >= FLUSH_BYTES:
                announce(index - 1, Phase.FLUSH, monotonic())
                self._flush()
                flushed = monotonic()
        announce(index - 1, Phase.FLUSH, monotonic())
        self._flush()
        if self._profiling is not None:
            self._profiling.save()
        announce(-1, Phase.IDLE, monotonic())
        channel.send(self._sock, BlockDone(order.block, order.token, index, self._unreached))
        self._unreached = None

    def _open_plan(self) -> Plan:
        if self._plan is None:
            try:
                self._plan = open_plan(self.settings)
                self._plan.announce_together = self._page.announce_together
                self._before = self._columns_before(self._plan)
                if self.settings.seen:
                    self._plan.seen_paths = SeenItems(self.settings.seen)
            except Exception as error:
                if isinstance(error, OSError) and error.errno in _OF_THIS_PROCESS:
                    self._leave(LOST_LIMITS, error)
                text = f"the plan of mini-batches can't be read any more: {describe_error(error)}"
                channel.send(self._sock, DiskFailed(text))
                raise
        return self._plan

    def _columns_before(self, plan: Plan) -> ColumnsBefore | None:
        """What stands before the columns of returned rows, where the user wants anything."""
        wanted = self.settings.row_format
        if not self.settings.append_row or not (wanted.item_columns or wanted.with_index):
            return None
        from daskpar.rows.item_columns import ColumnsBefore

        return ColumnsBefore(plan, wanted.item_columns, index=wanted.with_index)

    def _run_one(self, index: int, began: float) -> None:
        """One try of one mini-batch."""
        try:
            try:
                batch = self._source.load(index)
            except Warning:  # the script has made warnings errors, which is for its own code
                batch = without_warnings(self._source.load, index)
            items = len(batch)
        except Exception as error:
            self._not_loaded(index, error, began)
            return
        if items == 0 and self.settings.tabular:
            self._keep(index, 0, 0, 0, TryStatus.EMPTY, Reason.NONE, 1, False, (began, None))
            return
        if self.settings.tabular:
            self._page.announce_items(items)  # else known from the plan
        running = OWN.monotonic()
        self._page.announce(index, Phase.RUN, running)
        guard = self._guard
        try:
            if self._entry.with_context:
                keys = self._source.keys(index)
                first = 0 if self._order.piece is None else self._order.piece[0]
                about = context.MiniBatchContext(index, keys, batch, first)
                guard.in_script = True
                returned = self._entry.run(batch, about)
            else:
                guard.in_script = True
                returned = self._entry.run(batch)
            if type(returned) is not list and _is_iterator(returned):
                # Also where nobody asks for what it gives: the body of a generator has not even begun.
                guard.own_code = None
                returned = list(returned) if self.settings.returns_measured else deque(returned, maxlen=0)
                guard.own_code = self._own_code
            guard.in_script = False
        except BaseException as error:
            guard.in_script = False
            guard.own_code = self._own_code
            self._process.exit_if_copy()
            self._check_descriptor()
            if self.settings.internal and isinstance(error, InputError | OSError):
                if own_disk.tell_of(error, self._sock, "the rows of groups can't be written"):
                    raise
                self._not_loaded(index, error, began)
                return
            patience = self._patience or Patience(self.settings.rate_patience)
            if (seconds := patience.wait_for(error, OWN.monotonic())) is not None:
                self._put_off(index, began, patience, seconds)
                return
            reason = Reason.MEMORY if isinstance(error, MemoryError) else Reason.EXCEPTION
            self._fail(index, reason, items, error, (began, running), patience.spent(OWN.monotonic()))
            return
        if OWN.getpid() != self._pid:  # the check stands here too, for it is cheaper than a call
            self._process.exit_if_copy()
        self._check_descriptor()
        clocks = (began, running)
        if not self.settings.returns_measured:
            self._keep(index, items, 0, 0, TryStatus.SUCCEEDED, Reason.NONE, 1, False, clocks)
        elif why := why_not_countable(returned):
            self._fail(index, Reason.BAD_RETURN, items, why, clocks)
        else:
            self._take_return(index, items, returned, clocks)

    def _put_off(self, index: int, began: float, patience: Patience, seconds: float) -> None:
        """Try a mini-batch again as soon as the service that has refused its call is to be asked again."""
        self._wait = seconds
        self._throttled += 1
        if self._patience is not None:
            return  # it is tried again in the loop below already
        self._patience = patience
        try:
            while self._wait:
                until = OWN.monotonic() + self._wait
                while (left := until - (now := OWN.monotonic())) > 0:
                    # Announced anew, for the time does not count.
                    self._page.announce(index, Phase.RUN, now)
                    OWN.sleep(min(left, self.settings.run_timeout / 2))
                self._wait = 0.0
                self._run_one(index, began)
        finally:
            self._patience = None

    def _not_loaded(self, index: int, error: Exception, began: float) -> None:
        """A mini-batch whose data can't be had: it has failed, or is handed back where it is not to blame.

        A local file that is missing may be there for other nodes: that is for the driver to say.
        """
        changed = isinstance(error, InputChanged)
        missing = (
            error.path if isinstance(error, InputChanged) and error.gone and not is_url(error.path) else ""
        )
        if missing or reach_of(error) == Reach.UNREACHED:
            self._unreached = Unreached(str(error) or describe_error(error), missing)
            return
        known = self._planned_items(index)
        items, clocks = known or 1, (began, None)
        note = "" if known else " (nobody could count its rows: 1 failed item stands for all of them)"
        if changed:  # where in our code that was noticed is no matter
            self._fail(index, Reason.INPUT_CHANGED, items, f"{error}{note}", clocks)
        else:
            self._fail(index, Reason.LOAD_ERROR, items, error, clocks, note)

    def _take_return(self, index: int, items: int, returned: Any, clocks: tuple[Any, ...]) -> None:
        """Count what was returned and keep its rows where they count."""
        try:
            count = len(returned)
        except BaseException as error:  # a class of the script's own
            self._process.exit_if_copy()
            self._fail(index, Reason.BAD_RETURN, items, error, clocks)
            return
        fits = count >= items or self._any_number
        result = SUCCEEDED if fits else compare_counts(items=items, returned=count)
        final = result.status != TryStatus.FAILED or self._order.is_last_try(self.settings.max_retries)
        kept = False
        if final and self.settings.append_row:
            try:
                before = () if self._before is None else (self._before.of(index, items, self._order.piece),)
                try:
                    self._buffer.add(returned, index, *before)
                except Warning:  # as in `_run_one`
                    without_warnings(self._buffer.add, returned, index, *before)
                kept = True
            except BaseException as error:  # the same
                self._process.exit_if_copy()
                if self._before is not None:
                    self._refuse(error)
                self._fail(index, Reason.BAD_RETURN, items, error, clocks)
                return
        if count > items > 0 and not self._warned_of_more:
            self._warned_of_more = True
            what = f"run() returned {count} elements for the {items} items of mini-batch {index}"
            what += in_brackets(self._describe(index))
            text = f"{what}; more than its items count as all (said once)"
            channel.send(self._sock, LogMessage(level="warning", text=text))
        if result.message:
            self._add_failure(index, result.reason, result.message, "", final)
        self._keep(
            index, items, count, result.failed_items, result.status, result.reason, int(final), kept, clocks
        )

    def _refuse(self, error: BaseException) -> None:
        """Let the step end where what is wrong with a return is wrong with all of them."""
        from daskpar.rows.item_columns import NamesClash

        if isinstance(error, NamesClash):
            self._refused = (REFUSED, str(error))

    # -- results -------------------------------------------------------------------------------------------

    def _fail(
        self,
        index: int,
        reason: int,
        items: int,
        error: BaseException | str,
        clocks: tuple[Any, ...],
        note: str = "",
    ) -> None:
        final = self._order.is_last_try(self.settings.max_retries) or reason == Reason.INPUT_CHANGED
        message = (
            error if isinstance(error, str) else describe_error(error) + advice(error, self.settings, index)
        )
        if reason == Reason.LOAD_ERROR:
            message = f"the mini-batch could not be loaded: {message}"
        message += note
        trace = "" if isinstance(error, str) else user_traceback(error)
        self._add_failure(index, reason, message, trace, final)
        # None of its items count, and its charge is dropped where the try is repeated.
        self._keep(index, items, 0, items, TryStatus.FAILED, reason, int(final), False, clocks)

    def _add_failure(self, index: int, reason: int, message: str, trace: str, final: bool) -> None:
        sizes = log_sizes()
        items = self._describe(index)
        where = f"{index}"
        if self._order.piece is not None:
            where += f", {piece_in_words(self._order.piece)}"
        write_stderr(failure_in_log(f"{where}{in_brackets(items)}", message, trace))
        self._failures.append(
            Failure(
                index=index,
                reason=int(reason),
                message=message,
                trace=trace,
                items=items,
                log=str(self.settings.log_paths.trace(self.settings.node, self._number)),
                time=self._epoch + OWN.monotonic(),
                final=final,
                log_sizes=sizes,
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
        """Keep the facts of a try until the next flush, in the order that `_pack` takes them in."""
        began, running = clocks
        now = OWN.monotonic()
        elapsed = now - began
        run = now - running if running is not None else 0.0
        cpu = elapsed if elapsed < CPU_SECONDS else self._processor_time()
        started = self._epoch + began
        self._unflushed.append(
            (index, items, returned, failed_items, rows, started, elapsed, run, cpu, status, reason, final)
        )

    def _processor_time(self) -> float:
        """Seconds of processor time since the last call, less what the shorter mini-batches between used."""
        before, self._cpu = self._cpu, OWN.process_time()
        shorter: float = sum(kept[_CPU] for kept in self._unflushed[self._cpu_counted :])
        self._cpu_counted = len(self._unflushed) + 1  # the one that asks comes next
        return max(0.0, self._cpu - before - shorter)

    def _flush(self) -> None:
        """Put the kept rows in the part file, then report all that are there: what is reported is done."""
        self._wait_while_held()
        with self._ground.restored():
            self._write_and_report()

    def _wait_while_held(self) -> None:
        while self._page.holds_reports():
            OWN.sleep(0.001)  # about to be killed: by its node, which has charged the mini-batch, or with it

    def _write_and_report(self) -> None:
        self._put()
        self._report(self._rows.take(), len(self._unflushed))

    def _put(self) -> None:
        """Put the kept rows in the part file; they count once they are reported."""
        text, lengths = self._buffer.take()
        try:
            apart = self._rows.put(text, lengths)
        except OSError as error:
            if error.errno in _OF_THIS_PROCESS or self._ground.lowered_limits():
                self._leave(LOST_LIMITS, error)
            why = error.strerror or str(error)
            problem = DiskFailed(f"rows can't be written to {self._part.place}: {why}")
            channel.send(self._sock, problem)
            raise
        if apart is not None:
            self._wait_while_held()
            self._report(apart, self._tries_put)
        self._tries_put = len(self._unflushed)
        self._cpu, self._cpu_counted = OWN.process_time(), self._tries_put

    def _report(self, rows: WrittenRange, tries: int) -> None:
        """Report the first `tries` of the kept ones, with their rows."""
        if not self._unflushed:
            return
        records = self._pack(rows.offset, rows.lengths, tries)
        of_all = tries == len(self._unflushed)  # else what has failed comes with the others
        failures = tuple(self._failures) if of_all else ()
        if of_all:
            self._failures = []
        throttled, self._throttled = self._throttled, 0
        del self._unflushed[:tries]
        self._cpu, self._cpu_counted = OWN.process_time(), len(self._unflushed)
        flush_streams()
        self._ground.check()
        channel.send(
            self._sock,
            Flushed(
                block=self._order.block,
                token=self._order.token,
                part=rows.part,
                offset=rows.offset,
                length=rows.length,
                crc=rows.crc,
                records=records,
                failures=failures,
                schema=self._refused or self._buffer.schema,
                carried=rows.carried,
                notices=self._notices(failures) if of_all else (),
                throttled=throttled,
                piece=self._order.piece,
                sealed=self._sealed(),
            ),
        )
        self._report_stray()
        if self.settings.rate_limit is not None and not the_limit().asked and not failures:
            self._warn_once(context.UNASKED)

    def _sealed(self) -> tuple[tuple[int, str], ...]:
        """As `Flushed.sealed`, of the mini-batches that are reported now."""
        return ()

    def leave(self) -> None:
        """The processor ends, after `shutdown()`."""

    def _check_descriptor(self) -> None:
        """End this process, with the current mini-batch as the one to charge, where the script has closed the
        descriptor of the control socket.
        """
        try:
            OWN.get_inheritable(self._fd)  # the cheapest way to ask
        except OSError:
            OWN.exit(LOST_DESCRIPTORS)

    def _leave(self, code: int, error: OSError) -> None:
        """End this process, which can't do its work any more; another one takes its place."""
        write_stderr(
            f"this processor ends: {describe_error(error)} (a limit or descriptor changed by the script)"
        )
        OWN.exit(code)

    def _pack(self, offset: int, lengths: list[int], reported: int) -> bytes:
        """The records of the first `reported` of the kept tries.

        `lengths`: bytes of those that have rows; these lie from `offset` on.
        """
        at, lengths_left = offset, iter(lengths)
        node, number, tries = self.settings.node, self._number, self._order.tries
        pack, packed = PACK.pack, []
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
        ) in self._unflushed[:reported]:
            length = next(lengths_left) if rows else 0
            packed.append(
                pack(
                    index, items, returned, failed, at, length, started, elapsed, run, cpu,
                    tries, number, node, status, reason, final,
                )
            )  # fmt: skip
            at += length
        return b"".join(packed)

    def _report_stray(self) -> None:
        """Pass on what a handler of the script's raised in our code, each text once."""
        if self._guard.stray:
            self._warn_once(self._guard.stray)

    def _warn_once(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            channel.send(self._sock, LogMessage(level="warning", text=text))

    def _notices(self, failures: tuple[Failure, ...]) -> tuple[Notice, ...]:
        """What is lost or doubtful in the mini-batches reported now, without those that come again."""
        notices = self._buffer.take_notices()
        if self._plan is None or not self._plan.tabular:
            return notices
        of_reading = self._source.notices([failure.index for failure in failures if not failure.final])
        if self._order.repeated and self._order.is_last_try(self.settings.max_retries):
            # The try before was reported as final, and these with it; then it was repeated without charge.
            return notices
        return notices + of_reading

    # -- what the plan says of a mini-batch ----------------------------------------------------------------

    def _planned_items(self, index: int) -> int:
        """Items of a mini-batch that could not be loaded: as planned, 0 where nobody has counted them."""
        try:
            return self._source.items(index) or 0
        except Exception:
            return 0

    def _describe(self, index: int) -> str:
        try:
            return self._source.describe(index)
        except Exception as error:
            return f"mini-batch {index} (its items can't be read: {error})"


def without_warnings(function: Callable[..., Any], *arguments: Any) -> Any:
    """What it returns, with its warnings dropped."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments)


def _is_iterator(value: Any) -> bool:
    # Of its type, where Python looks for it too: a DataFrame goes through its columns before it says that it
    # has no such attribute.
    if type(value) is CoroutineType:
        value.close()
        raise TypeError("run() returned a coroutine that nobody awaits: make it async def run(mini_batch)")
    return hasattr(type(value), "__next__")
