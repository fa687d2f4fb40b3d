"""Frozen classes are what dataclasses of the standard library are, in all that is seen of them."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, field, fields, replace
from typing import Any, ClassVar

import pytest

from daskpar.frozen import frozen


def classes(decorate: Callable[..., Any]) -> dict[str, Any]:
    """One class of each kind that the package has, made by `decorate`."""

    @decorate
    class Plain:
        a: int
        b: str = "x"

    @decorate
    class Sub(Plain):
        c: float = 0.0

    @decorate
    class Told:
        a: int
        secret: str = field(default="s", repr=False)
        seen: int = field(default=0, compare=False)
        number: int = field(default=0, hash=False)

    @decorate
    class OwnEqual:
        a: int

        def __eq__(self, other: object) -> bool:
            return isinstance(other, OwnEqual) and abs(self.a - other.a) < 2

    @decorate
    class OwnHash:
        a: int

        def __hash__(self) -> int:
            return 7

    @decorate
    class OwnText:
        a: int

        def __repr__(self) -> str:
            return "own"

    @decorate
    class OfTheClass:
        a: int
        all: ClassVar[list[int]] = []

    kinds = (Plain, Sub, Told, OwnEqual, OwnHash, OwnText, OfTheClass)
    return {each.__name__: each for each in kinds}


OURS, THEIRS = classes(frozen), classes(dataclass(frozen=True))
ARGUMENTS: dict[str, list[tuple[Any, ...]]] = {
    "Plain": [(1,), (1, "x"), (2,), (1, "y")],
    "Sub": [(1,), (1, "x", 0.0), (1, "x", 1.0)],
    "Told": [(1,), (1, "t"), (1, "s", 5), (1, "s", 0, 9)],
    "OwnEqual": [(1,), (2,), (5,)],
    "OwnHash": [(1,), (1,), (2,)],
    "OwnText": [(1,), (2,)],
    "OfTheClass": [(1,), (1,), (2,)],
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_values_are_shown_compared_and_hashed_alike(name: str) -> None:
    ours, theirs = ([kind[name](*given) for given in ARGUMENTS[name]] for kind in (OURS, THEIRS))
    assert [*map(repr, ours)] == [repr(one).replace("dataclass", "frozen") for one in theirs]
    for i, _ in enumerate(ours):
        assert [ours[i] == other for other in ours] == [theirs[i] == other for other in theirs]
        assert [hash(ours[i]) == hash(other) for other in ours] == [
            hash(theirs[i]) == hash(other) for other in theirs
        ]


def test_a_class_and_its_subclass_differ() -> None:
    assert OURS["Plain"](1) != OURS["Sub"](1)
    assert OURS["Plain"](1) != (1, "x")


def test_a_value_never_changes() -> None:
    one = OURS["Plain"](1)
    with pytest.raises(FrozenInstanceError):
        one.a = 2
    with pytest.raises(FrozenInstanceError):
        del one.a
    assert replace(one, a=2) == OURS["Plain"](2)
    assert [each.name for each in fields(one)] == ["a", "b"]


@frozen(kw_only=True)
class ByName:
    """Takes names alone."""

    a: int = 0
    b: int


@frozen(repr=False)
class Silent:
    """Does not say what it holds."""

    a: int


def test_options() -> None:
    assert pickle.loads(pickle.dumps(ByName(b=1))) == ByName(a=0, b=1)
    with pytest.raises(TypeError):
        ByName(0, 1)  # type: ignore[call-arg, misc]
    assert "1" not in repr(Silent(1)).partition(" at ")[0]
