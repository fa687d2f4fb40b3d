"""Classes of plain values that never change: dataclasses that are made in half the time.

A run's start makes two hundred of them. `dataclass` writes and compiles six methods for each, of which three
are hardly ever called: these stand here once, for all classes. They were a twentieth of what a start takes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar, dataclass_transform, overload

T = TypeVar("T")


@overload
def frozen(cls: type[T], /) -> type[T]: ...
@overload
def frozen(*, kw_only: bool = False, repr: bool = True) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: Any = None, /, *, kw_only: bool = False, repr: bool = True) -> Any:
    """As `dataclass(frozen=True)`: what it has, takes and answers is the same.

    `repr`: False where the class has one of its own.
    """
    if cls is None:
        return lambda decorated: _made(decorated, kw_only=kw_only, own_repr=not repr)
    return _made(cls, kw_only=kw_only, own_repr=not repr)


def _made(cls: Any, *, kw_only: bool, own_repr: bool) -> Any:
    own = vars(cls)
    made: Any = dataclass(frozen=True, repr=False, eq=False, kw_only=kw_only)(cls)
    if not own_repr and "__repr__" not in own:
        made.__repr__ = _shown
    if "__eq__" not in own:
        made.__eq__ = _equals
    if own.get("__hash__") is None:  # also where Python has put None, since the class has an `__eq__`
        made.__hash__ = _hashed
    return made


def _shown(self: Any) -> str:
    values = (f"{each.name}={getattr(self, each.name)!r}" for each in fields(self) if each.repr)
    return f"{type(self).__qualname__}({', '.join(values)})"


def _equals(self: Any, other: Any) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    names = [each.name for each in fields(self) if each.compare]
    return [getattr(self, name) for name in names] == [getattr(other, name) for name in names]


def _hashed(self: Any) -> int:
    counting = (each for each in fields(self) if (each.compare if each.hash is None else each.hash))
    return hash(tuple(getattr(self, each.name) for each in counting))
