"""The size of a run's cluster: what its steps can use, grown at once, and given up when a step begins that needs less."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from daskpar.engine.sizing import Sizing
from waiting import until


class Started(SimpleNamespace):
    def __init__(self, asked: int, bounds: tuple[int, int] | None = None, error: str = "") -> None:
        super().__init__(asked=asked, bounds=bounds, resizable=asked > 0, trouble=SimpleNamespace(text=error))
        self.sizes: list[tuple[int, tuple[str, ...]]] = []

    def resize(self, nodes: int, there: tuple[str, ...]) -> None:
        self.sizes.append((nodes, there))
        if self.trouble.text:
            raise RuntimeError(self.trouble.text)


def test_a_cluster_grows_at_once_and_shrinks_between_steps():
    told: list[int] = []
    started = Started(asked=4)
    sizing = Sizing(told.append, there=lambda: ("a", "b"), started=started)
    assert sizing.asked == 4
    sizing.want("first", 4)
    until(lambda: told == [4])
    sizing.want("first", 1)  # its last mini-batch
    until(lambda: told == [4, 1])
    assert started.sizes == []
    sizing.release("first")
    until(lambda: told == [4, 1, 0])
    sizing.want("second", 2)
    until(lambda: started.sizes == [(2, ("a", "b"))])
    sizing.want("third", 3)
    until(lambda: len(started.sizes) == 2 and sizing.asked == 3)


@pytest.mark.parametrize(
    ("started", "asked", "trouble"),
    [
        (None, 0, ""),
        (Started(0), 0, ""),
        (Started(0, bounds=(1, 3)), 3, ""),
        (Started(2, error="the queue is closed"), 9, "the queue is closed"),
    ],
    ids=["not ours", "its size is written down", "adapts", "refuses"],
)
def test_what_was_asked_for_is_known_where_we_or_adapt_ask(started, asked, trouble):
    told: list[int] = []
    sizing = Sizing(told.append, started=started)
    sizing.want("step", 9)
    until(lambda: told == [9] and sizing.asked == asked)
    assert sizing.trouble == trouble
