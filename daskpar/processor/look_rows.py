"""What the processors of a node do just now, as plain rows for people who watch."""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic

from daskpar.processor.processor_handle import ProcessorHandle, makes_sense_of
from daskpar.processor.protocol import LookRow, ProcessorSettings
from daskpar.processor.resource_usage import processor_seconds, resident_bytes


def look_rows(processors: Iterable[ProcessorHandle], settings: ProcessorSettings) -> list[LookRow]:
    """A row for each processor that has a process."""
    rows: list[LookRow] = []
    for processor in processors:
        last = processor.longest()
        if makes_sense_of(processor, last) and processor.pid:
            age = max(monotonic() - last.since, 0.0)
            use = resident_bytes(processor.pid), processor_seconds(processor.pid)
            place = (settings.step, settings.node, processor.number, processor.pid)
            rows.append((*place, last.phase, last.index, age, *use, *processor.calls()))
    return rows
