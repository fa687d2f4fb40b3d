"""Kills the largest processor of a node that runs out of memory, before the kernel picks a process."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from daskpar.processor import linux
from daskpar.processor.exit_reasons import KillReason
from daskpar.processor.processor_handle import ProcessorHandle
from daskpar.processor.resource_usage import free_memory, proportional_bytes, resident_bytes

CHECK_SECONDS = 0.2
"""How often the memory is looked at."""
MEMORY_FLOOR = 0.05
"""Share of the memory below which the largest processor is killed."""


class MemoryWatchdog:
    """Watches the memory of one node; `limit`: what its processors may take together, in bytes (None: no
    limit).
    """

    def __init__(self, limit: int | None = None) -> None:
        self._limit = limit
        self._next_check = 0.0

    def check(self, processors: Collection[ProcessorHandle], now: float) -> None:
        """Kill the largest processor when too little memory is left."""
        if now < self._next_check or any(p.killed_for == KillReason.MEMORY for p in processors):
            return  # one at a time: the memory of the last one may not be free yet
        self._next_check = now + CHECK_SECONDS
        living = {p.number: p for p in processors if p.pid and not p.killed_for}
        victim = self._victim_of_limit(living) if self._limit else None
        if victim is None:
            available, total = free_memory()
            if available >= MEMORY_FLOOR * total:
                return
            sizes = {number: _tree_bytes(p.pid) for number, p in living.items()}
            victim = memory_victim(available, total, sizes)
        if victim is not None:
            living[victim].killed_for = KillReason.MEMORY
            linux.kill_tree(living[victim].pid)

    def _victim_of_limit(self, living: Mapping[int, ProcessorHandle]) -> int | None:
        assert self._limit is not None
        sizes = {number: _tree_bytes(p.pid) for number, p in living.items()}
        if sum(sizes.values()) <= (1 - MEMORY_FLOOR) * self._limit:
            return None
        # Pages that processors share, such as what the fork server has imported, are counted in each: it
        # takes longer to count them once.
        sizes = {number: _tree_bytes(p.pid, proportional_bytes) for number, p in living.items()}
        return memory_victim(self._limit - sum(sizes.values()), self._limit, sizes)


def memory_victim(available: int, total: int, sizes: Mapping[int, int]) -> int | None:
    """Which processor (a key of `sizes`, in bytes) to kill when `available` of `total` bytes are left.

    None where enough is left or nobody can be killed.
    """
    if total <= 0 or available >= MEMORY_FLOOR * total or not sizes:
        return None
    return max(sizes, key=lambda key: sizes[key])


def _tree_bytes(pid: int, measure: Callable[[int], int] | None = None) -> int:
    """Memory of a processor and of all that its script has started, in bytes."""
    return sum(map(measure or resident_bytes, [pid, *linux.descendants_of(pid)]))
