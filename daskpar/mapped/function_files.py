"""Turns a function into files that a processor runs: its pickle, and a digest that tells a changed one."""

from __future__ import annotations

import builtins
import functools
import inspect
import io
import json
import linecache
import marshal
import os
import pickle
import re
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import cloudpickle

from daskpar.errors import UsageError
from daskpar.mapped.function_digest import function_digest
from daskpar.processor.entry_script import takes_context
from daskpar.processor.function_facts import DIGEST, FOLDER, PICKLE, Facts
from daskpar.value_classes import frozen


@frozen(kw_only=True)
class FunctionFiles:
    """A function that can be sent to processors."""

    name: str
    digest: str
    files: Mapping[str, bytes]
    """Path below the run directory -> content."""


def function_files(
    function: Any,
    *,
    init_args: Sequence[Any] = (),
    init_kwargs: Mapping[str, Any] | None = None,
    named_rows: bool,
    items: bool = False,
    columns: Any = None,
    dtypes: Sequence[Any] = (),
) -> FunctionFiles:
    """Pickle a function, or a class whose objects are called, for the entry script `pickled_function`.

    `columns`, `dtypes`: of the frame that mini-batches come from. Raises UsageError for what can't be called
    with a mini-batch or can't be pickled; the message names the variable that is to blame.
    """
    if not callable(function):
        raise UsageError(
            f"function can't be of type {type(function).__name__}: give a function, a class, or the path of "
            "a script"
        )
    name = name_of(function)
    is_class = isinstance(function, type)
    kwargs = dict(init_kwargs or {})
    if not is_class and (init_args or kwargs):
        raise UsageError(
            f"init_args and init_kwargs are for a class, and {name} is a function: functools.partial, or a "
            "variable that it uses, gives it a value"
        )
    loaded = {
        "function": function,
        "is_class": is_class,
        "with_context": _with_context(function, name, init_args, kwargs),
        "init_args": tuple(init_args),
        "init_kwargs": kwargs,
        "columns": columns,
        "dtypes": tuple(dtypes),
    }
    buffer = io.BytesIO()
    pickler = _Pickler(buffer)
    try:
        pickler.dump(loaded)
        digest = function_digest(function, loaded["init_args"], kwargs)
    except Exception as error:
        raise UsageError(_why_not(name, function, (init_args, kwargs), error)) from error
    facts = Facts(
        name=name,
        named_rows=named_rows,
        sources=pickler.sources(),
        search_path=tuple(os.path.abspath(folder) for folder in sys.path),
        items=items,
        folder=os.getcwd(),
    )
    pickled = pickle.dumps(facts.as_dict()) + buffer.getvalue()
    known = json.dumps({"function": name, "digest": digest}, indent=2).encode()
    return FunctionFiles(
        name=name, digest=digest, files={f"{FOLDER}/{PICKLE}": pickled, f"{FOLDER}/{DIGEST}": known}
    )


def name_of(function: Any) -> str:
    """What messages call it: `score`, `Model`, `lambda`."""
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__name__", None) or type(function).__name__
    return "lambda" if name == "<lambda>" else str(name)


def _with_context(function: Any, name: str, init_args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether it is called with the context too; UsageError where it can't be called with a mini-batch."""
    called = function
    if isinstance(function, type):
        own = next((vars(base)["__call__"] for base in function.__mro__ if "__call__" in vars(base)), None)
        if not inspect.isfunction(own):
            raise UsageError(
                f"objects of the class {name} can't be called: give it a method __call__(self, mini_batch)"
            )
        called = types.MethodType(own, object())
        try:
            inspect.signature(function).bind(*init_args, **kwargs)
        except TypeError as error:
            raise UsageError(f"{name} can't be made with init_args and init_kwargs: {error}") from None
        except ValueError:  # a class without a signature
            pass
    try:
        return takes_context(called) and _asks_for_context(called)
    except TypeError as error:
        raise UsageError(str(error).replace("run(", f"{name}(")) from None


def _asks_for_context(called: Any) -> bool:
    """Whether the second parameter has no default, or is called a context.

    That of an entry script may have the default None; here, functions of libraries have such parameters.
    """
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    positional = [each for each in inspect.signature(called).parameters.values() if each.kind in kinds]
    return len(positional) > 1 and (
        positional[1].default is inspect.Parameter.empty
        or re.search("context|ctx", positional[1].name) is not None
    )


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles a function with all that no module holds, and notes where its code stands."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self._cells = _cells()
        self._files: dict[str, str] = {}
        """Name that is shown -> name under which the text is known."""
        self._lines: dict[str, set[int]] = {}

    def reducer_override(self, value: Any) -> Any:
        """Code keeps the name of its file, or gets that of its notebook cell: cloudpickle drops it."""
        if type(value) is types.CodeType:
            return marshal.loads, (marshal.dumps(self._shown(value)),)
        return super().reducer_override(value)

    def _shown(self, code: types.CodeType) -> types.CodeType:
        name = self._cells.get(code.co_filename, code.co_filename)
        self._files[name] = code.co_filename
        lines = [line for _, _, line in code.co_lines() if line is not None]
        self._lines.setdefault(name, set()).update(range(code.co_firstlineno, max(lines, default=0) + 1))
        inner = tuple(self._shown(each) if type(each) is types.CodeType else each for each in code.co_consts)
        return code.replace(co_filename=name, co_consts=inner)

    def sources(self) -> dict[str, str]:
        """Name of each file or cell that the function comes from -> its text, all other lines left empty."""
        return {
            shown: "".join(
                line if number in self._lines[shown] else "\n"
                for number, line in enumerate(linecache.getlines(name), 1)
            )
            for shown, name in self._files.items()
        }


def _cells() -> dict[str, str]:
    """Name under which a notebook compiles a cell -> the name that people know it by."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    numbers = getattr(getattr(shell, "compile", None), "_filename_map", {})
    return {name: f"Cell In[{number}]" for name, number in numbers.items()}


# -- what can't be pickled --


def _why_not(name: str, function: Any, arguments: Sequence[Any], error: Exception) -> str:
    head = f"{name} can't be sent to other processes"
    for what, value in _parts(function, arguments):
        if (why := _refused(value)) is not None:
            return (
                f"{head}: {what} is a {type(value).__name__} ({why}). Make it where it is used, or give a "
                "class that makes it in __init__, which is called once in each processor"
            )
    return f"{head}: {error}"


def _refused(value: Any) -> str | None:
    try:
        cloudpickle.dumps(value)
    except Exception as error:
        return str(error) or type(error).__name__
    return None


def _parts(
    value: Any, arguments: Sequence[Any] = (), seen: frozenset[int] = frozenset()
) -> Iterator[tuple[str, Any]]:
    """What a function uses, by a name that its author knows; the parts of what it calls come first."""
    if id(value) in seen:
        return
    seen = seen | {id(value)}
    yield from ((f"init argument {number}", each) for number, each in enumerate(arguments))
    if isinstance(value, functools.partial):
        yield from _parts(value.func, (), seen)
        yield from ((f"argument {each!r:.40}", each) for each in (*value.args, *value.keywords.values()))
    if isinstance(value, types.MethodType):
        value, owner = value.__func__, value.__self__
        yield from ((f"self.{key}", each) for key, each in getattr(owner, "__dict__", {}).items())
    if isinstance(value, type):
        for inner in vars(value).values():
            yield from _parts(inner, (), seen)
    if not isinstance(value, types.FunctionType):
        return
    used = dict(zip(value.__code__.co_freevars, value.__closure__ or (), strict=False))
    found: dict[str, Any] = {}
    for key, cell in used.items():
        try:
            found[key] = cell.cell_contents
        except ValueError:  # a variable that has no value yet
            continue
    for key in value.__code__.co_names:
        if key in value.__globals__ and not hasattr(builtins, key):
            found[key] = value.__globals__[key]
    for each in found.values():
        if isinstance(each, types.FunctionType | type) and getattr(each, "__module__", "") == "__main__":
            yield from _parts(each, (), seen)
    yield from ((f"the variable {key!r}", each) for key, each in found.items())
