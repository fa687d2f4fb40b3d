"""A store that is away while an input is fetched whole is waited for, as long as that may help."""

from __future__ import annotations

import pytest

from daskpar.errors import DataUnreached, InputError
from daskpar.processor.fetching.fetch_patience import while_unreached


class Store:
    """Answers each try by the next error of a list, the last one for ever; a file may come before it."""

    def __init__(self, *errors: Exception | None, comes: bool = False) -> None:
        self.errors, self.comes = list(errors), comes
        self.tries = self.files = 0
        self.now = 0.0
        self.warned: list[str] = []

    def fetch(self) -> None:
        self.tries += 1
        self.files += self.comes
        error = self.errors.pop(0) if len(self.errors) > 1 else self.errors[0]
        if error is not None:
            raise error

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def run(self) -> None:
        while_unreached(
            self.fetch, self.warned.append, lambda: self.files, clock=lambda: self.now, wait=self.wait
        )


def test_one_that_comes_back_costs_nothing() -> None:
    store = Store(DataUnreached("s3://a: down"), ConnectionError("reset"), None)
    store.run()
    assert (store.tries, store.now) == (3, 1.5)
    assert store.warned == ["s3://a: down. It is tried again, while something comes within 300 s"]


def test_what_is_not_there_is_not_waited_for() -> None:
    store = Store(DataUnreached("down"), InputError("s3://a does not exist"))
    with pytest.raises(InputError, match="does not exist"):
        store.run()
    assert store.tries == 2


def test_one_that_stays_away_is_given_up() -> None:
    store = Store(DataUnreached("down"))
    with pytest.raises(DataUnreached):
        store.run()
    assert 300 <= store.now < 320


def test_a_slow_one_has_all_the_time() -> None:
    """A file each time, and an error each time."""
    store = Store(*[DataUnreached("throttled")] * 2000, None, comes=True)
    store.run()
    assert store.now == 1000 and store.tries == 2001
