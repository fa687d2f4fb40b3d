"""The entry script in its processor: where it is found, how it is imported, which of its functions are called and how."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any


@dataclass(frozen=True)
class Entry:
    """The functions of an entry script."""

    init: Callable[[], Any] | None
    run: Callable[..., Any]
    with_context: bool
    """Whether `run` takes the context as a second argument."""
    shutdown: Callable[[], Any] | None


def load(entry_script: str, code: str | None) -> Entry:
    """Import the script as a module (its `__main__` part is not run) and look its functions up.

    `code` and the script's own folder come first on `sys.path`. Whatever the import raises is raised; AttributeError or TypeError name what
    is wrong with `run`.
    """
    for folder in (os.path.dirname(entry_script) if os.path.isabs(entry_script) else None, code):
        if folder and folder not in sys.path:
            sys.path.insert(0, folder)
    module = _import_file(entry_script, code) if os.path.isabs(entry_script) else importlib.import_module(entry_script)
    run = getattr(module, "run", None)
    if not callable(run):
        raise AttributeError(f"{module.__file__} has no function run(mini_batch)")
    return Entry(init=_optional(module, "init"), run=run, with_context=takes_context(run), shutdown=_optional(module, "shutdown"))


def _import_file(path: str, code: str | None) -> ModuleType:
    """As the module that `import` would make of it from the code folder, so that classes pickled there are found again."""
    base = code if code and os.path.commonpath([code, path]) == code else os.path.dirname(path)
    parts = os.path.splitext(os.path.relpath(path, base))[0].split(os.sep)
    name = ".".join(parts)
    if all(part.isidentifier() for part in parts) and name not in sys.modules:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
                raise
        else:
            if module.__file__ is not None and os.path.realpath(module.__file__) == os.path.realpath(path):
                return module
    # A name that is no module's, or one that another module has: loaded by its path alone.
    spec = importlib.util.spec_from_file_location(parts[-1] if parts[-1].isidentifier() else "entry_script", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _optional(module: ModuleType, name: str) -> Callable[[], Any] | None:
    found = getattr(module, name, None)
    return found if callable(found) else None


def takes_context(run: Callable[..., Any]) -> bool:
    """Whether `run` is to be called with the context: it has a second positional parameter, or takes any number.

    Raises TypeError for one that can't be called with the mini-batch, or needs more than both.
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
        raise TypeError(f"run{inspect.signature(run)} can't be called as run(mini_batch) or run(mini_batch, mini_batch_context)")
    return len(positional) >= 2 or any_number
