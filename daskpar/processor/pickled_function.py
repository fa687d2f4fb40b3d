"""The entry script of `map_mini_batches`: calls a function that was pickled where the run was started.

The code folder holds `function.pkl`: first plain facts (`Facts.as_dict`), then the function by cloudpickle.
"""

from __future__ import annotations

import contextlib
import linecache
import os
import pickle
import sys
from collections.abc import Callable
from typing import Any

from daskpar.processor.entry_script import is_async
from daskpar.processor.function_facts import PICKLE, Facts
from daskpar.processor.named_returns import named

_ITEM = "item"
"""The column of pickled items."""
_NULLABLE = {f"{sign}{bits}" for sign in ("Int", "UInt") for bits in (8, 16, 32, 64)}


def _load() -> tuple[Facts, Any]:
    with open(os.path.join(sys.path[0], PICKLE), "rb") as file:
        facts = Facts(**pickle.load(file))
        for name, text in facts.sources.items():
            lines = text.splitlines(keepends=True)
            linecache.cache[name] = (len(text), None, lines, name)  # no time: never thrown away as outdated
        sys.path += [folder for folder in facts.search_path if folder not in sys.path]
        with contextlib.suppress(OSError):  # on another machine, or gone: the processor's own folder does
            os.chdir(facts.folder)
        return facts, pickle.load(file)


_facts, _loaded = _load()
_columns, _dtypes = _loaded["columns"], _loaded["dtypes"]
_call: Callable[..., Any] | None = None if _loaded["is_class"] else _loaded["function"]
_with_context: bool = _loaded["with_context"]


def _make() -> None:
    """Make the object, where a class was given."""
    global _call
    if _loaded["is_class"]:
        _call = _loaded["function"](*_loaded["init_args"], **_loaded["init_kwargs"])


def _end() -> Any:
    """Call the object's `shutdown`, where a class was given that has one."""
    end = getattr(_call, "shutdown", None) if _loaded["is_class"] else None
    return end() if callable(end) else None


def _run(mini_batch: Any, mini_batch_context: Any) -> Any:
    """Call the function; what it returns gets names where rows need them."""
    assert _call is not None
    return _named(_call(*_arguments(mini_batch, mini_batch_context)))


async def _make_in_loop() -> None:
    """The same in the event loop, so that what the object opens belongs to it."""
    _make()


async def _end_in_loop() -> None:
    """The same; it may be async too."""
    from daskpar.processor.script_loop import awaited

    await awaited(_end, ())


async def _run_in_loop(mini_batch: Any, mini_batch_context: Any) -> Any:
    """The same, with what the function gives awaited."""
    from daskpar.processor.script_loop import awaited

    assert _call is not None
    return _named(await awaited(_call, _arguments(mini_batch, mini_batch_context)))


_is_async = is_async(_loaded["function"])
init: Callable[[], Any] = _make_in_loop if _is_async else _make
shutdown: Callable[[], Any] = _end_in_loop if _is_async else _end
run: Callable[[Any, Any], Any] = _run_in_loop if _is_async else _run


def _arguments(mini_batch: Any, mini_batch_context: Any) -> tuple[Any, ...]:
    given = _given(mini_batch)
    return (given, mini_batch_context) if _with_context else (given,)


def _named(returned: Any) -> Any:
    return named(returned, _facts.name) if _facts.named_rows else returned


def _given(mini_batch: Any) -> Any:
    """The mini-batch as the driver had it: items, or a frame with the types of the one that was given."""
    if _facts.items:
        return [pickle.loads(item) for item in mini_batch[_ITEM]]
    if _columns is None:
        return mini_batch
    for position, (known, wanted) in enumerate(zip(mini_batch.dtypes, _dtypes, strict=True)):
        if known != wanted:
            mini_batch.isetitem(position, _as(mini_batch.iloc[:, position], wanted))
    mini_batch.columns = _columns
    return mini_batch


def _as(column: Any, wanted: Any) -> Any:
    """A column in the type that it had; among Python objects a null is None."""
    if str(wanted) == "object" and column.hasnans and str(column.dtype) in _NULLABLE:
        return column.astype(object).where(column.notna(), None)
    return column.astype(wanted)
