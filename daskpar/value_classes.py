"""`@frozen` and `@mutable`: dataclasses whose methods are written when somebody first needs them.

`dataclass` writes the source of up to six methods for each class and compiles it, half a millisecond a class.
A run's start makes two hundred classes of which it uses a third: that was half of the time that our own
modules took to be imported. Here equality, hash, `repr` and what refuses a change stand once, for all
classes, and `__init__` alone is compiled: once a class has had a few instances. Most have one in a run, and
filling that by hand takes a tenth of the time of writing an `__init__` for it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field, fields
from functools import cache, partial
from operator import attrgetter
from typing import Any, TypeVar, dataclass_transform, overload

T = TypeVar("T")

FEW_CALLS = 30
"""Instances that are filled by hand: for more of them, a written `__init__` pays."""


@overload
def frozen(cls: type[T], /) -> type[T]: ...
@overload
def frozen(*, kw_only: bool = False, repr: bool = True) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: Any = None, /, *, kw_only: bool = False, repr: bool = True) -> Any:
    """As `dataclass(frozen=True)`: what it has, takes and answers is the same.

    `repr`: False where the class has one of its own.
    """
    methods: dict[str, Any] = {
        "__setattr__": _refuse_setting,
        "__delattr__": _refuse_deleting,
        "__eq__": _equals,
    }
    if repr:
        methods["__repr__"] = _shown

    def decorate(cls: Any) -> Any:
        return _made(cls, methods, hash_with=_hashed, kw_only=kw_only)

    return decorate if cls is None else decorate(cls)


@overload
def mutable(cls: type[T], /) -> type[T]: ...
@overload
def mutable(*, kw_only: bool = False, eq: bool = True) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(field_specifiers=(field,))
def mutable(cls: Any = None, /, *, kw_only: bool = False, eq: bool = True) -> Any:
    """As `dataclass`: its values may change, so it has no hash.

    `eq`: False where each instance is equal to itself alone, and then it has a hash.
    """
    methods: dict[str, Any] = {"__repr__": _shown} | ({"__eq__": _equals} if eq else {})
    hash_with = None if eq else object.__hash__

    def decorate(cls: Any) -> Any:
        return _made(cls, methods, hash_with=hash_with, kw_only=kw_only)

    return decorate if cls is None else decorate(cls)


def _made(cls: Any, methods: dict[str, Any], *, hash_with: Any, kw_only: bool) -> Any:
    own = set(vars(cls))
    hashed = vars(cls).get("__hash__") is not None  # Python puts None where the class has an `__eq__`
    if not cls.__doc__:
        cls.__doc__ = cls.__name__  # else `dataclass` would look at a signature, which is slow, to make one
    made = dataclass(init=False, repr=False, eq=False, kw_only=kw_only)(cls)
    for name, method in methods.items():
        if name not in own:
            setattr(made, name, method)
    if not hashed:
        made.__hash__ = hash_with
    if "__init__" not in own:
        made.__init__ = _FirstInit(made)
    return made


class _FirstInit:
    """Stands for `__init__` until it has been called a few times, or somebody asks for its signature."""

    def __init__(self, cls: Any) -> None:
        self._cls = cls
        self._calls = 0
        self._places: tuple[str, ...] = ()
        """Fields that are given by their place."""
        self._settable: dict[str, bool] = {}
        """Fields that are given at all, and whether one must be."""
        self._steps: list[tuple[str, Any, Any]] = []
        """Of each field that an instance gets: its default, or what makes one."""

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        self._calls += 1
        if instance is None or self._calls > FEW_CALLS:
            written = self._written()
            return written if instance is None else written.__get__(instance, owner)
        return partial(self._fill, instance)

    def _written(self) -> Any:
        # Two threads may come at once: both write the same.
        written = self._cls.__init__ = _init_of(self._cls)
        return written

    def _fill(self, instance: Any, /, *places: Any, **names: Any) -> None:
        """What the written one does."""
        if not self._steps:
            self._look()
        given = dict(zip(self._places, places, strict=False)) | names
        settable = self._settable
        if (
            len(given) < len(places) + len(names)  # too many, or one twice
            or not given.keys() <= settable.keys()
            or any(needed and name not in given for name, needed in settable.items())
        ):
            self._written()(instance, *places, **names)  # which says what is wrong
            return
        for name, default, make in self._steps:
            value = given[name] if name in given else default if make is MISSING else make()
            object.__setattr__(instance, name, value)
        if hasattr(self._cls, "__post_init__"):
            instance.__post_init__()

    def _look(self) -> None:
        found = [each for each in fields(self._cls) if each.init or each.default_factory is not MISSING]
        settable = [each for each in found if each.init]
        self._places = tuple(each.name for each in settable if not _by_name(self._cls, each))
        self._settable = {
            each.name: each.default is MISSING and each.default_factory is MISSING for each in settable
        }
        self._steps = [(each.name, each.default, each.default_factory) for each in found]


def _by_name(cls: Any, each: Field[Any]) -> bool:
    """Whether a field is given by its name alone."""
    # In older Pythons fields do not say it: see `older_python`.
    return bool(each.kw_only) if hasattr(each, "kw_only") else each.name in cls._by_name


def _init_of(cls: Any) -> Any:
    """The function that a dataclass of these fields has as its `__init__`."""
    known: dict[str, Any] = {"_set": object.__setattr__}
    by_place: list[str] = []
    by_name: list[str] = []
    lines: list[str] = []
    for each in fields(cls):
        name = each.name
        value = name
        if each.default_factory is not MISSING:
            known[f"_make_{name}"] = each.default_factory
            value = f"_make_{name}()"
            if each.init:
                known["_missing"] = _MISSING
                value += f" if {name} is _missing else {name}"
        elif not each.init:
            continue  # it has its default from the class, or comes later
        if each.init:
            (by_name if _by_name(cls, each) else by_place).append(_parameter(each, known))
        lines.append(f"  _set(self, {name!r}, {value})")
    if hasattr(cls, "__post_init__"):
        lines.append("  self.__post_init__()")
    given = ", ".join(["self", *by_place, *(["*"] if by_name else []), *by_name])
    text = f"def made({', '.join(known)}):\n def __init__({given}):\n" + "\n".join(lines or ["  pass"])
    space: dict[str, Any] = {}
    exec(f"{text}\n return __init__", vars(sys.modules[cls.__module__]), space)
    written = space["made"](**known)
    written.__qualname__ = f"{cls.__qualname__}.__init__"
    written.__annotations__ = {each.name: each.type for each in fields(cls) if each.init} | {"return": None}
    return written


def _parameter(each: Field[Any], known: dict[str, Any]) -> str:
    if each.default_factory is not MISSING:
        return f"{each.name}=_missing"
    if each.default is MISSING:
        return each.name
    known[f"_default_{each.name}"] = each.default
    return f"{each.name}=_default_{each.name}"


class _Missing:
    """Stands in a signature for a default that is made anew for each instance."""

    def __repr__(self) -> str:
        return "<factory>"


_MISSING = _Missing()


def _refuse_setting(self: Any, name: str, value: Any) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_deleting(self: Any, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _shown(self: Any) -> str:
    values = (f"{each.name}={getattr(self, each.name)!r}" for each in fields(self) if each.repr)
    return f"{type(self).__qualname__}({', '.join(values)})"


def _equals(self: Any, other: Any) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    values = _compared(self.__class__)
    return values(self) == values(other)


def _hashed(self: Any) -> int:
    return hash(_counting(self.__class__)(self))


@cache
def _compared(cls: Any) -> Callable[[Any], Any]:
    return _values_of([each.name for each in fields(cls) if each.compare])


@cache
def _counting(cls: Any) -> Callable[[Any], Any]:
    """Gives what counts for the hash of an instance."""
    counts = [each for each in fields(cls) if (each.compare if each.hash is None else each.hash)]
    return _values_of([each.name for each in counts])


def _values_of(names: list[str]) -> Callable[[Any], Any]:
    if len(names) < 2:  # always a tuple, as a dataclass compares and hashes
        return lambda one: tuple(getattr(one, name) for name in names)
    return attrgetter(*names)
