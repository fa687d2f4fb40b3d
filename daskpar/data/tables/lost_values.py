"""Reports what the partitions of a Dask collection lost, as a whole."""

from __future__ import annotations

import threading

from daskpar.data.notices import LossCounter, loss_message


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
