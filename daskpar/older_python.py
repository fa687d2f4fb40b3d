"""Lets our modules run in Pythons that are older than daskpar's own: 3.9 and 3.10, where a step has one.

The processors of a step may run in a Python of their own. What our modules use of newer ones is given to them
here, and to them alone: scripts and libraries see the Python that they are in, as it is. A module that is
loaded where the driver runs (3.11 or newer) never comes by here.
"""

from __future__ import annotations

import ast
import bisect
import builtins
import dataclasses
import enum
import importlib.machinery
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any


def install() -> None:
    """Have what our modules lack here at hand while they are loaded, from now on."""
    if not any(isinstance(finder, _OurFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _OurFinder())


class _OurFinder:
    """Finds our own modules where Python's finder does, and loads them with what they lack."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        if not name.startswith("daskpar."):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and type(spec.loader) is importlib.machinery.SourceFileLoader:
            spec.loader = _OurLoader(spec.loader.name, spec.loader.path)
        return spec


class _OurLoader(importlib.machinery.SourceFileLoader):
    def source_to_code(self, data: Any, path: Any, **options: Any) -> Any:  # type: ignore[override]
        """The code of a module, in which `A | B` of types means what it does in newer Pythons."""
        tree = ast.parse(data, filename=path)
        if sys.version_info < (3, 10):
            tree = ast.fix_missing_locations(_Unions().visit(tree))
        return super().source_to_code(tree, path, **options)

    def path_stats(self, path: Any) -> Any:
        """What kept bytecode has to be of: the module's own source, and this one."""
        stats = dict(super().path_stats(path))
        stats["mtime"] = int(stats["mtime"]) ^ int(os.stat(__file__).st_mtime)
        return stats

    def exec_module(self, module: ModuleType) -> None:
        # Python takes a module's built-in names from here, where it finds them there already.
        vars(module)["__builtins__"] = _BUILTINS
        super().exec_module(module)


class _Unions(ast.NodeTransformer):
    """Has `_either` called for every `A | B`, which may be of types."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.op, ast.BitOr):
            return node
        called = ast.Name(id=_either.__name__, ctx=ast.Load())
        return ast.copy_location(ast.Call(func=called, args=[node.left, node.right], keywords=[]), node)


# -- what they lack -----------------------------------------------------------------------------------------


def _either(one: Any, other: Any) -> Any:
    """`one | other`; of types, as a tuple of them, which says the same to `isinstance`."""
    try:
        return one | other
    except TypeError:
        return (*_types(one), *_types(other))


def _types(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (type(None) if value is None else value,)


def _zip(*many: Iterable[Any], strict: bool = False) -> Iterator[tuple[Any, ...]]:
    return _zip_strictly(many) if strict else zip(*many)  # noqa: B905 - that is what it does here


def _zip_strictly(many: tuple[Iterable[Any], ...]) -> Iterator[tuple[Any, ...]]:
    end = object()
    for row in itertools.zip_longest(*many, fillvalue=end):
        if any(value is end for value in row):
            raise ValueError("the arguments of zip() have different lengths")
        yield row


def _pairwise(values: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    left, right = itertools.tee(values)
    next(right, None)
    return zip(left, right)  # noqa: B905 - as above


def _by_key(search: Callable[..., int]) -> Callable[..., int]:
    def by_key(values: Any, wanted: Any, low: int = 0, high: int | None = None, *, key: Any = None) -> int:
        end = len(values) if high is None else high
        return search(values if key is None else _Keys(values, key), wanted, low, end)

    return by_key


class _Keys:
    """The keys of values, made as they are asked for."""

    def __init__(self, values: Any, key: Callable[[Any], Any]) -> None:
        self._values, self._key = values, key

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, position: int) -> Any:
        return self._key(self._values[position])


class _StrEnum(str, enum.Enum):  # noqa: UP042 - that is what it stands for
    __str__ = str.__str__
    __format__ = str.__format__  # type: ignore[assignment]


def _dataclass(cls: Any = None, **options: Any) -> Any:
    """As in newer Pythons, but for the slots: these save memory, and nothing else is seen of them."""
    if cls is None:
        return lambda decorated: _dataclass(decorated, **options)
    options.pop("slots", None)
    kw_only, init = options.pop("kw_only", False), options.pop("init", True)
    own = vars(cls).get("__annotations__", {}) if kw_only else {}
    by_name = getattr(cls, "_by_name", frozenset()) | frozenset(own)
    # Where fields are given by name they may be in any order.
    made = dataclasses.dataclass(cls, **options, init=init and not kw_only)
    made._by_name = by_name  # for `value_classes`: the fields themselves do not know it here
    if init and kw_only:
        made.__init__ = _init_by_name
    return made


def _init_by_name(self: Any, **values: Any) -> None:
    for each in dataclasses.fields(self):
        if each.name in values:
            value = values.pop(each.name)
        elif each.default is not dataclasses.MISSING:
            value = each.default
        elif each.default_factory is not dataclasses.MISSING:
            value = each.default_factory()
        else:
            raise TypeError(f"{type(self).__name__}() has no {each.name}")
        object.__setattr__(self, each.name, value)
    if values:
        raise TypeError(f"{type(self).__name__}() does not know {', '.join(values)}")
    if hasattr(self, "__post_init__"):
        self.__post_init__()


class _NoGroup(BaseException):
    """Stands for groups of exceptions, which older Pythons do not have."""

    exceptions: tuple[BaseException, ...] = ()


class _WithNames:
    """A module of the standard library with further names."""

    def __init__(self, module: ModuleType, names: dict[str, Any]) -> None:
        vars(self).update(names)
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def _plainly(**_: Any) -> Callable[[Any], Any]:
    """A decorator that tells something to type checkers alone."""
    return lambda decorated: decorated


def _lacking() -> dict[str, _WithNames]:
    names: dict[str, dict[str, Any]] = {
        "enum": {"StrEnum": _StrEnum},
        "typing": {"Self": Any, "dataclass_transform": _plainly},
    }
    if sys.version_info < (3, 10):
        names["dataclasses"] = {"dataclass": _dataclass}
        names["itertools"] = {"pairwise": _pairwise}
        names["typing"]["TypeAlias"] = Any
        names["bisect"] = {name: _by_key(getattr(bisect, name)) for name in ("bisect_left", "bisect_right")}
    return {name: _WithNames(sys.modules[name], own) for name, own in names.items()}


_LACKING = _lacking()


def _import(name: str, names: Any = None, places: Any = None, wanted: Any = (), level: int = 0) -> Any:
    if level == 0 and name in _LACKING:
        return _LACKING[name]
    return builtins.__import__(name, names, places, wanted, level)


_BUILTINS: dict[str, Any] = {
    **vars(builtins),
    "__import__": _import,
    _either.__name__: _either,
    "zip": zip if sys.version_info >= (3, 10) else _zip,
    "BaseExceptionGroup": _NoGroup,
}
