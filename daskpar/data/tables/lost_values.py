"""Counts the values that became null or were left out because they do not fit their column, and words it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from daskpar.data.columns.text_values import LostValues


@dataclass
class LossCounter:
    """Lost values by column and cause."""

    found: dict[tuple[str, str], LostValues] = field(default_factory=dict)

    def add(self, column: str, cause: str, lost: LostValues | None) -> None:
        """Count values that were lost for one of three causes.

        `convert`: no value of the column's kind; `late`: a column that the sample did not have; `invalid`:
        lines that were left out (no column).
        """
        if lost:
            known = self.found.get((column, cause))
            self.found[column, cause] = known + lost if known else lost

    def merge(self, other: LossCounter) -> None:
        """Add what another counted."""
        for (column, cause), lost in other.found.items():
            self.add(column, cause, lost)

    def take_messages(self) -> list[str]:
        """A message for each column and cause, the largest count first; counting begins anew."""
        found, self.found = sorted(self.found.items(), key=lambda item: -item[1].count), {}
        return [loss_message(column, cause, lost) for (column, cause), lost in found]


class LossReporter:
    """Says what the partitions of one table lost, and never floods.

    A count is reported when it is new, whenever it is ten times as large, and in full once every partition
    has been read. Partitions may be read in threads, and more than once.
    """

    def __init__(self, partitions: int) -> None:
        self._missing = set(range(partitions))
        self._of: dict[int, LossCounter] = {}
        self._total = LossCounter()
        self._reported: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()

    @property
    def complete(self) -> bool:
        """Whether every partition has been read."""
        return not self._missing

    def add(self, partition: int, losses: LossCounter) -> list[str]:
        """Count what reading a partition lost; messages for the totals that are worth reporting now."""
        with self._lock:
            self._missing.discard(partition)
            if partition not in self._of:  # Dask may read it again: it counts once
                self._total.merge(losses)
                self._of[partition] = losses
            factor = 10 if self._missing else 1
            news = {
                key: lost
                for key, lost in self._total.found.items()
                if lost.count > (before := self._reported.get(key, 0)) and lost.count >= factor * before
            }
            self._reported |= {key: lost.count for key, lost in news.items()}
        return [loss_message(*key, lost) for key, lost in news.items()]


def loss_message(column: str, cause: str, lost: LostValues) -> str:
    """One sentence on what was lost: column, count, an example, and what to do where there is something."""
    count, example = f"{lost.count:,} value{'s' if lost.count != 1 else ''}", f"e.g. {lost.example!r}"
    if cause == "late":
        late = f"{count} of {column!r}, a column that the inference sample did not have, are left out"
        return f"{late}, {example}: declare it in `columns:`"
    if cause == "invalid":
        return f"{lost.count:,} invalid lines are left out, {example}"
    return f"{count} of column {column!r} became null because they are no values of its kind, {example}"
