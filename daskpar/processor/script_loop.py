"""The event loop of a script: one from `init()` to `shutdown()`, so that what `init` opens lives on."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import TracebackType
from typing import Any

from daskpar.processor.entry_script import Entry, is_async


class ScriptLoop:
    """Made after the script was imported: it may have chosen another kind of loop (uvloop)."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What the function returns; what it has to await is awaited."""
        waits = awaited(function, arguments)
        try:
            if asyncio._get_running_loop() is None:
                return self.loop.run_until_complete(waits)
            # A notebook runs a loop in this thread already.
            with ThreadPoolExecutor(1) as thread:
                return thread.submit(self.loop.run_until_complete, waits).result()
        except BaseException as error:
            error.__traceback__ = _of_script(error.__traceback__)
            raise

    def with_plain_calls(self, entry: Entry, *, run: bool) -> Entry:
        """The entry script with its async functions as ordinary ones, `run` where that is wanted."""
        wanted = {"init": entry.init, "shutdown": entry.shutdown, **({"run": entry.run} if run else {})}
        plain: dict[str, Any] = {
            name: self._plain(function) for name, function in wanted.items() if is_async(function)
        }
        return replace(entry, **plain)

    def with_results_awaited(self, entry: Entry) -> Entry:
        """The entry script with what an ordinary `run` returns awaited, where a decorator has wrapped an
        async function: only a call tells whether it still is one.
        """
        run = entry.run

        def call(*arguments: Any) -> Any:
            returned = run(*arguments)
            return self.call(lambda: returned) if inspect.iscoroutine(returned) else returned

        return replace(entry, run=call)

    def _plain(self, function: Any) -> Callable[..., Any]:
        return lambda *arguments: self.call(function, *arguments)

    def close(self) -> None:
        """End what the script has left running in it."""
        with contextlib.suppress(BaseException):
            left = asyncio.all_tasks(self.loop)
            for task in left:
                task.cancel()
            if left:
                self.loop.run_until_complete(asyncio.wait(left, timeout=1.0))
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        with contextlib.suppress(BaseException):
            self.loop.close()


def _of_script(trace: TracebackType | None) -> TracebackType | None:
    """A traceback without the frames of the loop, which stand before those of the script."""
    first = trace
    while first is not None and first.tb_frame.f_code is not awaited.__code__:
        first = first.tb_next
    return first.tb_next if first is not None else trace


async def awaited(function: Callable[..., Any], arguments: tuple[Any, ...], *, keep: bool = True) -> Any:
    """What the function returns once it was awaited; elements of a generator as a list, or (`keep` false)
    taken and dropped.
    """
    returned = function(*arguments)
    if inspect.isawaitable(returned):
        returned = await returned
    if hasattr(type(returned), "__aiter__") and hasattr(type(returned), "__anext__"):
        elements = []
        async for element in returned:
            if keep:
                elements.append(element)
        return elements
    if hasattr(type(returned), "__next__"):
        elements = []
        for element in returned:
            if keep:
                elements.append(element)
        return elements
    return returned
