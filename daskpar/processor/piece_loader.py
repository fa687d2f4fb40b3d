"""The items of a divided mini-batch that are run by themselves, as `run()` gets them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from daskpar.batches.plan import Plan
from daskpar.data.notices import Notice
from daskpar.errors import InputChanged

Span = tuple[int, int]
"""Items [start, stop) of a mini-batch."""


def piece_in_words(span: Span) -> str:
    """A piece in a few words, for messages: positions count from 0."""
    start, stop = span
    return f"item {start}" if stop - start == 1 else f"items {start} to {stop - 1}"


class PieceLoader:
    """Loads one piece of a mini-batch, wherever a `Plan` loads whole ones.

    Pieces of files look at their own files alone, so that one that is gone is no trouble of its neighbours.
    """

    def __init__(self, plan: Plan, span: Span) -> None:
        self._plan = plan
        self._span = span

    def load(self, i: int) -> Any:
        """The items of mini-batch `i`: paths, or rows with a fresh RangeIndex.

        Raises as `Plan.load`, and InputChanged where there are fewer items than before.
        """
        start, stop = self._span
        if not self._plan.tabular:
            return self._plan.load(i, self._span)
        frame: Any = self._plan.load(i)
        if stop > len(frame):
            raise InputChanged(
                f"mini-batch {i} has {len(frame)} rows, and had more when its items were told apart",
                path=self._plan.table.origin,
            )
        return frame.iloc[start:stop].reset_index(drop=True)

    def keys(self, i: int) -> dict[str, Any] | None:
        """As `Plan.keys`."""
        return self._plan.keys(i)

    def items(self, i: int) -> int:
        """Items of the piece."""
        return self._span[1] - self._span[0]

    def describe(self, i: int) -> str:
        """The piece in words; files by their names."""
        if self._plan.tabular:
            return f"{piece_in_words(self._span)} of {self._plan.describe(i)}"
        return self._plan.describe(i, self._span)

    def notices(self, repeated: Collection[int]) -> tuple[Notice, ...]:
        """None: those of the mini-batch were told with its last try."""
        self._plan.notices(repeated)
        return ()
