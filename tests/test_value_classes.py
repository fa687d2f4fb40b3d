"""Our classes of values are what dataclasses of the standard library are, in all that is seen of them."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, field, fields, replace
from typing import Any, ClassVar

import pytest

from daskpar.value_classes import FEW_CALLS, frozen, mutable


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


def of_all_fields(decorate: Callable[..., Any]) -> Any:
    """A class with a field of each kind, made by `decorate`."""

    @decorate
    class Fields:
        given: int
        usual: str = "x"
        each_its_own: list[int] = field(default_factory=list)
        counted: int = field(default=3, init=False)
        made: dict[str, int] = field(default_factory=dict, init=False)
        named: float = field(default=0.5, kw_only=True)
        asked: bytes = field(kw_only=True)

        def __post_init__(self) -> None:
            self.each_its_own.append(self.given)

    return Fields


BOTH = [(frozen, dataclass(frozen=True)), (mutable, dataclass)]
CALLS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((1,), {"asked": b""}),
    ((1, "y", [5]), {"asked": b"", "named": 2.0}),
    ((), {"given": 4, "asked": b"a"}),
    ((), {"asked": b"a"}),
    ((1,), {}),
    ((1, "y", [5], 6), {"asked": b""}),
    ((1,), {"asked": b"", "counted": 4}),
]


@pytest.mark.parametrize(("ours", "theirs"), BOTH, ids=["frozen", "mutable"])
@pytest.mark.parametrize(("places", "names"), CALLS)
def test_calls_are_taken_and_refused_alike(ours: Any, theirs: Any, places: Any, names: Any) -> None:
    found = []
    for decorate in (ours, theirs):
        kind = of_all_fields(decorate)
        try:
            found.append(vars(kind(*copy.deepcopy(places), **names)))
        except TypeError as error:
            found.append(re.sub(r".*__init__", "__init__", str(error)))
    assert found[0] == found[1]


@pytest.mark.parametrize(("ours", "theirs"), BOTH, ids=["frozen", "mutable"])
def test_signatures_are_alike(ours: Any, theirs: Any) -> None:
    kinds = of_all_fields(ours), of_all_fields(theirs)
    assert str(inspect.signature(kinds[0])) == str(inspect.signature(kinds[1]))
    assert kinds[0].__init__.__annotations__ == kinds[1].__init__.__annotations__
    assert kinds[0].__match_args__ == kinds[1].__match_args__
    assert kinds[0](1, asked=b"").each_its_own is not kinds[0](1, asked=b"").each_its_own


@pytest.mark.parametrize(("places", "names"), CALLS)
def test_the_written_init_does_what_is_done_by_hand(places: Any, names: Any) -> None:
    kind = of_all_fields(mutable)
    found = []
    for written in (False, True):
        assert inspect.isfunction(vars(kind)["__init__"]) == written
        try:
            found.append(vars(kind(*copy.deepcopy(places), **names)))
        except TypeError as error:
            found.append(str(error))
        inspect.signature(kind)
    assert found[0] == found[1]


def test_an_init_is_written_when_a_class_has_had_a_few_instances() -> None:
    kind = of_all_fields(mutable)

    class Below(kind):  # type: ignore[misc, valid-type]
        """Has the `__init__` of the class above."""

    assert "given" not in repr(vars(kind)["__init__"])
    made = [Below(1, asked=b"")]
    assert "given" not in repr(vars(kind)["__init__"])
    made += [Below(1, asked=b"") for _ in range(FEW_CALLS)]
    assert all(one == made[0] for one in made)
    assert inspect.isfunction(vars(kind)["__init__"]) and "__init__" not in vars(Below)


def test_what_may_change_has_no_hash_unless_it_is_equal_to_itself_alone() -> None:
    @mutable
    class Equal:
        a: int

    @mutable(eq=False)
    class Itself:
        a: int

    one = Equal(1)
    one.a = 2
    assert one == Equal(2) and repr(one).endswith("Equal(a=2)")
    with pytest.raises(TypeError, match="unhashable"):
        hash(one)
    assert Itself(1) != Itself(1) and len({Itself(1), Itself(1)}) == 2


def test_an_init_of_the_class_itself_stays() -> None:
    @frozen
    class Own:
        a: int

        def __init__(self) -> None:
            object.__setattr__(self, "a", 7)

    assert Own().a == 7
