"""Tells a broken GPU from mini-batches that are bad for any: pure, from how tries on each device end.

A GPU that fails at whatever it is given is left out, if others do what it can't: several mini-batches in a
row have failed on it with its errors, and some of these have succeeded on another one since; or processes of
the script do not start on it, and do on others. The last GPU of a node is never left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field

from daskpar.value_classes import mutable

ROW = 3
"""Different mini-batches, or starts, that fail on a GPU in a row, by which it looks broken."""


@mutable
class _Record:
    failed: set[int] = field(default_factory=set)
    """Mini-batches, since the last success."""
    elsewhere: int = 0
    """Those of them that have succeeded on another GPU."""
    starts: int = 0
    """Processes that did not start, since one did."""


@mutable
class GpuHealth:
    """The GPUs of one node: `devices` are the texts that processors get."""

    devices: tuple[str, ...]
    left_out: set[str] = field(default_factory=set)
    _records: dict[str, _Record] = field(default_factory=dict)
    _have_started: set[str] = field(default_factory=set)

    @property
    def in_doubt(self) -> bool:
        """Whether any GPU has failed since it succeeded last: only then successes need to be told."""
        return bool(self._records)

    def failed(self, device: str, mini_batches: Iterable[int]) -> None:
        """Tries have ended with an error of the GPU."""
        if device in self.devices:
            self._records.setdefault(device, _Record()).failed.update(mini_batches)

    def succeeded(self, device: str, mini_batches: Iterable[int]) -> None:
        """Tries have succeeded there."""
        self._records.pop(device, None)
        done = set(mini_batches)
        for record in self._records.values():
            record.elsewhere += len(record.failed & done)

    def not_started(self, device: str) -> None:
        """A process has failed at its start with an error of the GPU."""
        if device in self.devices:
            self._records.setdefault(device, _Record()).starts += 1

    def started(self, device: str) -> None:
        """A process has started there."""
        self._have_started.add(device)
        if (record := self._records.get(device)) is not None:
            record.starts = 0

    def found_broken(self) -> list[tuple[str, str]]:
        """GPUs that are left out from now on, each with a sentence that says why."""
        found = []
        for device, record in list(self._records.items()):
            others = set(self.devices) - self.left_out - {device}
            if not others or device in self.left_out:
                continue
            if len(record.failed) >= ROW and record.elsewhere:
                why = f"the last {len(record.failed)} mini-batches failed on it, and succeed on others"
            elif record.starts >= ROW and self._have_started & others:
                why = f"the last {record.starts} processes failed at their start on it, and start on others"
            else:
                continue
            self.left_out.add(device)
            del self._records[device]
            found.append((device, why))
        return found
