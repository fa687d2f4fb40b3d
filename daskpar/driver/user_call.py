"""The call of a script's `run()` as processors make it; in a module of its own, so that debuggers skip it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from daskpar.processor.entry_script import Entry, is_async
from daskpar.processor.protocol import ProcessorSettings
from daskpar.processor.rate_limiter import RateLimit, use

if TYPE_CHECKING:
    from daskpar.processor.script_loop import ScriptLoop


def call_run(run: Callable[..., Any], arguments: tuple[Any, ...], loop: ScriptLoop | None) -> Any:
    """What `run()` returns; an iterator's elements as a list, for only then has its body run.

    `loop`: of a script with async functions.
    """
    if loop is not None:
        return loop.call(run, *arguments)
    returned = run(*arguments)
    return list(returned) if isinstance(returned, Iterator) else returned


def with_loop(
    entry: Entry, settings: ProcessorSettings, say: Callable[[str], None]
) -> tuple[Entry, ScriptLoop | None]:
    """The entry script as one can call it here, and its event loop where it has async functions."""
    use(RateLimit())  # one mini-batch by itself waits for nobody
    functions = (entry.init, entry.run, entry.shutdown)
    if not (settings.in_flight or entry.wraps_async or any(map(is_async, functions))):
        return entry, None
    from daskpar.processor.async_rate_limit import AsyncRateLimit
    from daskpar.processor.azure_contract import AzureContract
    from daskpar.processor.script_loop import ScriptLoop

    loop = ScriptLoop()
    entry = loop.with_plain_calls(entry, run=False)
    if entry.azure is not None:
        return replace(entry, run=AzureContract(entry.azure, entry.with_context, say).run), loop
    if settings.in_flight:
        entry.check_in_flight(settings.in_flight)
    if settings.in_flight or is_async(entry.run):
        use(AsyncRateLimit())
    return entry, loop
