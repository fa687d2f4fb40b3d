"""A text that is the same for the same function, in any process: it tells a changed one when a run goes on.

The bytes of a pickle are not: they hold the names of a notebook's temporary files, and the order of sets.
"""

from __future__ import annotations

import hashlib
import io
import os
import site
import sys
import sysconfig
import types
from collections.abc import Iterator
from typing import Any

import cloudpickle

_NO_MEMBERS = frozenset(
    {"__dict__", "__weakref__", "__firstlineno__", "__static_attributes__", "_abc_impl", "__annotate__"}
)


def function_digest(*values: Any) -> str:
    """Of functions, classes and values, those that they refer to, and local modules that they use."""
    modules: set[str] = set()
    parts = [_digest(values, modules)]
    parts += [f"{name} {content}" for name, content in _local_modules(modules)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _digest(value: Any, modules: set[str], seen: dict[int, int] | None = None) -> str:
    buffer = io.BytesIO()
    _Pickler(buffer, modules, {} if seen is None else seen).dump(value)
    return hashlib.sha256(buffer.getvalue()).hexdigest()


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Writes in the place of what differs from process to process what does not."""

    def __init__(self, file: io.BytesIO, modules: set[str], seen: dict[int, int]) -> None:
        super().__init__(file, protocol=5)
        self._modules = modules
        self._seen = seen
        """Functions and classes that were written before, by their identity -> their number."""

    def persistent_id(self, value: Any) -> Any:
        """What is written for a value; None where that is as usual."""
        kind = type(value)
        if kind is types.CodeType:
            return ("code", *_code(value))
        if kind is set or kind is frozenset:
            return ("set", sorted(_digest(each, self._modules, self._seen) for each in value))
        if kind is types.ModuleType:
            self._modules.add(value.__name__)
            return None
        if kind is not types.FunctionType and not isinstance(value, type):
            return None
        if _importable(value):
            self._modules.add(value.__module__)
            return None
        if id(value) in self._seen:
            return ("again", self._seen[id(value)])
        self._seen[id(value)] = len(self._seen)
        if isinstance(value, type):
            return ("class", value.__qualname__, value.__bases__, _members(value))
        defaults = (value.__defaults__, value.__kwdefaults__)
        return ("function", value.__code__, _globals(value), _closure(value), defaults, vars(value))


def _globals(function: types.FunctionType) -> list[tuple[str, Any]]:
    """The variables of its module that a function uses."""
    names = sorted(_names(function.__code__))
    return [(name, function.__globals__[name]) for name in names if name in function.__globals__]


def _names(code: types.CodeType) -> set[str]:
    inner = (each for each in code.co_consts if type(each) is types.CodeType)
    return set(code.co_names).union(*(_names(each) for each in inner))


def _closure(function: types.FunctionType) -> list[Any]:
    found: list[Any] = []
    for cell in function.__closure__ or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:  # it has no value yet
            found.append("no value")
    return found


def _code(code: types.CodeType) -> tuple[Any, ...]:
    """What a code does, not where it stands."""
    return (
        code.co_name,
        code.co_code,
        code.co_consts,
        code.co_names,
        code.co_varnames,
        code.co_freevars,
        code.co_cellvars,
        code.co_argcount,
        code.co_posonlyargcount,
        code.co_kwonlyargcount,
        code.co_flags,
    )


def _members(value: type) -> list[tuple[str, Any]]:
    return sorted(
        (name, inner)
        for name, inner in vars(value).items()
        if name not in _NO_MEMBERS and not isinstance(inner, types.GetSetDescriptorType)
    )


def _importable(value: Any) -> bool:
    """Whether another process finds a class or function by its name: it is then written as that name."""
    module = sys.modules.get(getattr(value, "__module__", None) or "")
    if module is None or module.__name__ in ("__main__", "__mp_main__"):
        return False
    found: Any = module
    for name in value.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is value


def _local_modules(names: set[str]) -> Iterator[tuple[str, str]]:
    """The user's own modules among `names`, and those that these use, with a digest of their files."""
    found: dict[str, str] = {}
    waiting = sorted(names)
    while waiting:
        name = waiting.pop()
        module = sys.modules.get(name)
        path = getattr(module, "__file__", None)
        if name in found or name == "__main__" or module is None or not path or not _is_local(path):
            continue
        try:
            with open(path, "rb") as file:
                found[name] = hashlib.sha256(file.read()).hexdigest()
        except OSError:
            continue
        for value in vars(module).values():
            used = value.__name__ if isinstance(value, types.ModuleType) else getattr(value, "__module__", "")
            if isinstance(used, str):
                waiting.append(used)
    yield from sorted(found.items())


def _is_local(path: str) -> bool:
    """Whether a module is the user's own: not installed, and none of Python's."""
    installed = {*site.getsitepackages(), site.getusersitepackages(), *sysconfig.get_paths().values()}
    return path.endswith(".py") and not any(path.startswith(folder + os.sep) for folder in installed)
