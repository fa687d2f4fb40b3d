"""Finds processors whose memory has grown too much since `init()`: a leak ends before the memory does."""

from __future__ import annotations

from collections.abc import Iterable

from daskpar.processor.processor_handle import ProcessorHandle
from daskpar.processor.resource_usage import resident_bytes

CHECK_SECONDS = 0.2
"""How often the memory of busy processors is looked at; also at the end of each block."""


class GrowthWatchdog:
    """Watches the processors of one step on one node; `most`: bytes, None for no limit."""

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._next_check = 0.0

    def ready(self, processor: ProcessorHandle) -> None:
        """`init()` has returned: growth counts from here."""
        if self._most is not None:
            processor.bytes_after_init = resident_bytes(processor.pid)

    def has_outgrown(self, processor: ProcessorHandle) -> bool:
        """Whether a processor is larger than it may be."""
        return (
            self._most is not None
            and processor.ready
            and resident_bytes(processor.pid) - processor.bytes_after_init > self._most
        )

    def due(self, processors: Iterable[ProcessorHandle], now: float) -> list[ProcessorHandle]:
        """Those that have outgrown their limit, where it is time to look."""
        if self._most is None or now < self._next_check:
            return []
        self._next_check = now + CHECK_SECONDS
        return [one for one in processors if not one.replaced_for and self.has_outgrown(one)]
