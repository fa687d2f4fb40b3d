"""Checks an entry script without running it: its file, and its functions init, run and shutdown."""

from __future__ import annotations

import ast
import importlib.machinery
import os
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from daskpar.errors import nearest
from daskpar.value_classes import frozen

PARSING = threading.Lock()
# CPython 3.11 counts how deep a tree is for all threads together: two that parse at once end in SystemError
# (python/cpython#106905).
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


@frozen(kw_only=True)
class FoundScript:
    """Where an entry script was found."""

    name: str
    """What a processor imports: an absolute path, or a dotted module name."""
    path: Path | None
    """The file, None where the module is no Python file (an extension)."""


@frozen(kw_only=True)
class ScriptProblem:
    """What is wrong with a script, and where."""

    path: Path
    line: int | None
    what: str
    hint: str = ""


def find_script(name: str, code: Path) -> FoundScript | None:
    """The script `name` in the folder `code`: a path, with or without `.py`, or a module, which may also be
    an installed one.
    """
    name = name.strip().replace("\\", "/")
    path = Path(os.path.abspath(code / name))
    if os.path.isfile(path):
        return FoundScript(name=str(path), path=path)
    module = name.removeprefix("./").removesuffix(".py").replace("/", ".")
    if not _MODULE.fullmatch(module):
        return None
    inside = code.joinpath(*module.split("."))
    for candidate in (inside.with_name(inside.name + ".py"), inside / "__init__.py"):
        if os.path.isfile(candidate):
            return FoundScript(
                name=module if "." in module or candidate.name == "__init__.py" else str(candidate),
                path=candidate,
            )
    return None if name.endswith(".py") else _installed(module)


def _installed(module: str) -> FoundScript | None:
    """An installed module, found without importing anything."""
    search: list[str] | None = sys.path
    spec = None
    for part in module.split("."):
        spec = importlib.machinery.PathFinder.find_spec(part, search)
        if spec is None:
            return None
        search = list(spec.submodule_search_locations or [])
    origin = spec.origin if spec else None
    return FoundScript(name=module, path=Path(origin) if origin and origin.endswith(".py") else None)


def near_script(name: str, code: Path) -> str:
    """A hint with the nearest script that there is."""
    try:
        there = [entry.name for entry in os.scandir(code) if entry.name.endswith(".py")]
    except OSError:
        return ""
    return nearest(name.removeprefix("./"), there)


def check_script(path: Path, *, needs_run: bool = True) -> tuple[ScriptProblem, ...]:
    """What keeps the script from being one: `run` has to be defined, assigned or imported, and a definition
    has to fit the calls. `needs_run`: whether run() is called at all.
    """
    try:
        with PARSING:
            tree = ast.parse(path.read_bytes(), filename=str(path))
    except SyntaxError as error:
        return (
            ScriptProblem(
                path=path, line=error.lineno, what=f"the entry script is no valid Python: {error.msg}."
            ),
        )
    except (OSError, ValueError, RecursionError) as error:
        return (ScriptProblem(path=path, line=None, what=f"the entry script can't be read: {error}."),)
    found = Names()
    found.collect(tree.body)
    if not (
        not needs_run
        or found.anything
        or "run" in found.bound
        or any("run" in node.names for node in ast.walk(tree) if isinstance(node, ast.Global))
    ):
        hint = (
            nearest("run", (name for name in found.bound if name.lower() == "run"))
            or "Define run(mini_batch)."
        )
        return (ScriptProblem(path=path, line=None, what="the entry script has no function run.", hint=hint),)
    return tuple(_signature_problems(path, found))


class Names:
    """The names that a module binds at its top level, whichever branch runs."""

    def __init__(self) -> None:
        self.bound: set[str] = set()
        self.anything = False
        """A `from x import *`: any name may be bound."""
        self.functions: dict[str, list[ast.FunctionDef | ast.AsyncFunctionDef]] = {}
        self.otherwise: set[str] = set()
        """Names that are bound by something else than a `def` too."""

    def collect(self, body: list[ast.stmt]) -> None:
        for statement in body:
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
                self.bound.add(statement.name)
                self.functions.setdefault(statement.name, []).append(statement)
            elif isinstance(statement, ast.ClassDef):
                self._bind(statement.name)
            elif isinstance(statement, ast.Import | ast.ImportFrom):
                for alias in statement.names:
                    self.anything |= alias.name == "*"
                    self._bind(alias.asname or alias.name.partition(".")[0])
            else:
                for name in _assigned(statement):
                    self._bind(name)
                for inner in _blocks(statement):
                    self.collect(inner)

    def _bind(self, name: str) -> None:
        self.bound.add(name)
        self.otherwise.add(name)


def _assigned(statement: ast.stmt) -> Iterator[str]:
    """Names stored by a statement itself, its blocks left out."""
    inside = {id(node) for block in _blocks(statement) for inner in block for node in ast.walk(inner)}
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and id(node) not in inside:
            yield node.id


def _blocks(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    for field in ("body", "orelse", "finalbody"):
        block = getattr(statement, field, None)
        if isinstance(block, list):
            yield block
    for handler in [*getattr(statement, "handlers", []), *getattr(statement, "cases", [])]:
        yield handler.body


def _signature_problems(path: Path, found: Names) -> Iterator[ScriptProblem]:
    for name, most in (("run", 2), ("init", 0), ("shutdown", 0)):
        definitions = found.functions.get(name, [])
        if (
            not definitions
            or name in found.otherwise
            or any(definition.decorator_list for definition in definitions)
        ):
            continue
        wrong = [(definition, _wrong(definition, most)) for definition in definitions]
        if all(what for _, what in wrong):
            definition, what = wrong[-1]
            yield ScriptProblem(path=path, line=definition.lineno, what=f"{name}{what}")


def _wrong(definition: ast.FunctionDef | ast.AsyncFunctionDef, most: int) -> str:
    """What is wrong with a signature, empty when it can be called with 1 or 2 (`run`), or no arguments."""
    takes = definition.args
    positional = [*takes.posonlyargs, *takes.args]
    required = len(positional) - len(takes.defaults)
    keywords = [
        argument.arg
        for argument, default in zip(takes.kwonlyargs, takes.kw_defaults, strict=True)
        if default is None
    ]
    if keywords:
        return f" requires the keyword argument {keywords[0]}, which nobody gives it."
    if most and not positional and not takes.vararg:
        return (
            " takes no arguments; it has to take the mini-batch: run(mini_batch) or "
            "run(mini_batch, mini_batch_context)."
        )
    if required > most:
        if most:
            return (
                f" requires {required} arguments; it gets the mini-batch and, where it takes a second "
                "one, the mini_batch_context."
            )
        return f" requires {required} argument{'s' if required > 1 else ''}; it is called without any."
    return ""
