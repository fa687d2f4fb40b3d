"""One call of `async def run` in flight: its mini-batch, its clocks, and the steps that its code makes."""

from __future__ import annotations

import traceback
from asyncio import Task
from collections.abc import Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from daskpar.own_calls import OWN
from daskpar.processor.error_text import is_ours
from daskpar.processor.protocol import BlockOrder
from daskpar.processor.shared_page import Phase
from daskpar.processor.slot_page import NO_STEP, SlotPage
from daskpar.value_classes import mutable

if TYPE_CHECKING:
    from daskpar.data.notices import Notice
    from daskpar.processor.own_process import OwnProcess
    from daskpar.processor.signal_guard import SignalGuard
    from daskpar.rows.item_columns import ItemColumns

MOST_FRAMES = 50
CURRENT: ContextVar[Call | None] = ContextVar("daskpar_call", default=None)
"""The call that the running code belongs to, tasks that it has started included."""


@mutable(eq=False, kw_only=True)
class Call:
    """A try of one mini-batch."""

    order: BlockOrder
    index: int
    source: Any
    """What loads it: the plan, or a piece of one of its mini-batches."""
    slot: int
    began: float
    running: float | None = None
    """When `run()` began, or began anew; None while its data is loaded."""
    deadline: float | None = None
    """When its time is up; None: nothing of it is limited just now."""
    items: int = 0
    timed_out: bool = False
    """Whether it was cancelled for that."""
    task: Task[None] | None = None
    columns: ItemColumns | None = None
    """What stands before the rows that it returns."""
    notices: tuple[Notice, ...] = ()
    """What was lost when its data was loaded."""
    again: bool = False
    """Whether it was put off, as its service asks, and is run anew."""
    code: Any = None
    """The coroutine that runs the script's."""
    _pauses: int = 0
    _paused_at: float = 0.0

    @contextmanager
    def paused(self) -> Iterator[None]:
        """While it lasts, its clock stands still."""
        if not self._pauses:
            self._paused_at = OWN.monotonic()
        self._pauses += 1
        try:
            yield
        finally:
            self._pauses -= 1
            if not self._pauses and self.deadline is not None:
                self.deadline += OWN.monotonic() - self._paused_at

    def overdue(self, now: float) -> bool:
        """Whether its time is up."""
        return self.deadline is not None and not self._pauses and now >= self.deadline


def where_it_waits(code: Any) -> str:
    """The lines of the script's at which a coroutine stands, as a traceback has them."""
    frames: list[traceback.FrameSummary] = []
    while code is not None and len(frames) < MOST_FRAMES:
        for kind in ("cr", "gi", "ag"):
            if (frame := getattr(code, f"{kind}_frame", None)) is not None:
                frames.append(
                    traceback.FrameSummary(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
                )
                code = getattr(code, "gi_yieldfrom" if kind == "gi" else f"{kind}_await", None)
                break
        else:
            break
    shown = [frame for frame in frames if not is_ours(frame.filename)]
    return "".join(["Waiting at (most recent call last):\n", *traceback.format_list(shown)]) if shown else ""


@contextmanager
def paused() -> Iterator[None]:
    """While it lasts, the clock of the current call stands still, where there is one."""
    call = CURRENT.get()
    if call is None:
        yield
        return
    with call.paused():
        yield


class Stepped:
    """Awaits a coroutine of the script's, and says at each step which mini-batch's code runs.

    A loop that does not come round is blocked by the code of the mini-batch that stands there.
    """

    __slots__ = ("_coroutine", "_guard", "_page", "_process", "_what")

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, Any],
        index: int,
        page: SlotPage,
        guard: SignalGuard,
        process: OwnProcess,
    ) -> None:
        self._coroutine = coroutine
        self._what = index * 8 + Phase.RUN
        self._page, self._guard, self._process = page, guard, process

    def __await__(self) -> Generator[Any, Any, Any]:
        coroutine, step, what, guard = self._coroutine, self._page.step, self._what, self._guard
        value: Any = None
        error: BaseException | None = None
        try:
            while True:
                step(what)
                guard.in_script = True
                try:
                    waits_for = coroutine.send(value) if error is None else coroutine.throw(error)
                except StopIteration as ended:
                    return ended.value
                finally:
                    guard.in_script = False
                    step(NO_STEP)
                    if OWN.getpid() != self._process.pid:
                        self._process.exit_if_copy()
                value = error = None
                try:
                    value = yield waits_for
                except GeneratorExit:
                    raise
                except BaseException as thrown:
                    error = thrown.with_traceback(None)  # of no frame but the script's
        finally:
            coroutine.close()
