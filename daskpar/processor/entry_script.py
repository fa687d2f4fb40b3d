"""Finds and imports the entry script, and tells which of its functions are called and how."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from daskpar.results import AZURE_FUNCTIONS
from daskpar.value_classes import frozen


@frozen
class Entry:
    """The functions of an entry script."""

    init: Callable[[], Any] | None
    run: Callable[..., Any]
    with_context: bool
    """Whether `run` takes the context as a second argument."""
    shutdown: Callable[[], Any] | None
    azure: ModuleType | None = None
    """Where Azure's functions for its async mode are; None where `run` is called."""

    @property
    def wraps_async(self) -> bool:
        """Whether `run` is an ordinary function that a decorator has put round an async one."""
        return not is_async(self.run) and is_async(inspect.unwrap(self.run))

    def check_in_flight(self, calls: int) -> None:
        """TypeError where so many calls of `run` can't be in flight side by side."""
        # A wrapper may return what the function that it wraps has to await.
        if self.azure is None and not (is_async(self.run) or self.wraps_async):
            raise TypeError(
                f"--concurrent_mini_batches {calls} needs async def run(mini_batch), and run is an ordinary "
                "function, which does one at a time: make it async def, or raise max_concurrency_per_instance"
            )


def load(entry_script: str, code: str | None, *, azure_async: bool = False) -> Entry:
    """Import the script as a module (its `__main__` part is not run) and look its functions up.

    `code` and the script's own folder come first on `sys.path`. Whatever the import raises is raised;
    AttributeError or TypeError name what is wrong with `run`. `azure_async`: Azure's functions are called in
    its place.
    """
    for folder in (os.path.dirname(entry_script) if os.path.isabs(entry_script) else None, code):
        if folder:
            sys.path[:] = [folder, *(other for other in sys.path if other != folder)]
    module = (
        _import_file(entry_script, code)
        if os.path.isabs(entry_script)
        else importlib.import_module(entry_script)
    )
    if azure_async:
        lacking = [name for name in AZURE_FUNCTIONS if not callable(getattr(module, name, None))]
        if lacking:
            raise AttributeError(
                f"{module.__file__} has no function {', '.join(lacking)}, which --amlbi_async_mode needs"
            )
    run = getattr(module, "enqueue" if azure_async else "run", None)
    if not callable(run):
        raise AttributeError(f"{module.__file__} has no function run(mini_batch)")
    return Entry(
        init=_optional(module, "init"),
        run=run,
        with_context=takes_context(run),
        shutdown=_optional(module, "shutdown"),
        azure=module if azure_async else None,
    )


def is_async(function: Any) -> bool:
    """Whether what a function returns is to be awaited, or taken by `async for`.

    Also a method, a partial function, and an object whose calls are so.
    """
    return any(
        inspect.iscoroutinefunction(one) or inspect.isasyncgenfunction(one)
        for one in (function, getattr(function, "__call__", None))  # noqa: B004
    )


def _import_file(path: str, code: str | None) -> ModuleType:
    """Import a file as the module that `import` would make of it from the code folder."""
    # Under that name, classes that the script pickles are found again.
    code = os.path.abspath(code) if code else None
    base = code if code and os.path.commonpath([code, path]) == code else os.path.dirname(path)
    parts = os.path.splitext(os.path.relpath(path, base))[0].split(os.sep)
    name = ".".join(parts)
    # `my-score` can't be written in an import statement, but be imported: as the children of a
    # multiprocessing pool do, which look for the functions that they are given by the names of their modules.
    if not any("." in part for part in parts) and name not in sys.modules:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
                raise
        else:
            if module.__file__ is not None and os.path.realpath(module.__file__) == os.path.realpath(path):
                return module
    # A name that can't be imported, or that another module has: loaded by its path alone, under a name of its
    # own, so that whoever imports the other module still gets that one.
    spec = importlib.util.spec_from_file_location(
        "entry_script_" + "".join(c if c.isalnum() else "_" for c in parts[-1]), path
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _optional(module: ModuleType, name: str) -> Callable[[], Any] | None:
    found = getattr(module, name, None)
    return found if callable(found) else None


def takes_context(run: Callable[..., Any]) -> bool:
    """Whether to call `run` with the context: it has a second positional parameter, or takes any number.

    A second one with a default of its own (`run(mini_batch, threshold=0.5)`) is the script's, unless its name
    contains "context" or "ctx". Raises TypeError for a function that can't be called with the mini-batch,
    or needs more than both.
    """
    try:
        parameters = list(inspect.signature(run).parameters.values())
    except ValueError:
        return False
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = [p for p in positional if p.default is p.empty]
    any_number = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    keywords = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if len(needed) > 2 or keywords or (not positional and not any_number):
        ways = "run(mini_batch) or run(mini_batch, mini_batch_context)"
        raise TypeError(f"run{inspect.signature(run)} can't be called as {ways}")
    if len(positional) < 2:
        return any_number
    second = positional[1]
    return (
        (second.default is second.empty or second.default is None)
        or "context" in second.name
        or "ctx" in second.name
    )
