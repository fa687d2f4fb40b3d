"""What the GPUs of a step were used for: the mean and the last of their samples, and the most memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from daskpar.events import ResourceSample

SHOWN = 64
"""GPUs that the page and the report name."""

Row = list[Any]
"""[node, name of the device, its kind, % now, % on average, MB used now, MB at most, MB there are]; None:
nobody knows."""


class GpuUse:
    """Of one step, by node and device."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, str], tuple[Row, int]] = {}

    def add(self, sample: ResourceSample) -> None:
        """Take in a sample of a node."""
        for each in sample.gpus:
            key = (sample.node, str(each.get("Gpu")))
            if key in self._found or len(self._found) < SHOWN:
                self._found[key] = self._row(key, each)

    def _row(self, key: tuple[int, str], each: Mapping[str, object]) -> tuple[Row, int]:
        now, used, total = (
            _number(each.get(name)) for name in ("Gpu Percent", "Memory Used (MB)", "Memory Total (MB)")
        )
        before, number = self._found.get(key, (None, 0))
        mean, most = now, used
        if before is not None:
            mean = before[4] if now is None else ((before[4] or 0.0) * number + now) / (number + 1)
            most = max(before[6] or 0.0, used or 0.0)
        return [*key, str(each.get("Name", "")), now, mean, used, most, total], number + (now is not None)

    def rows(self) -> list[Row]:
        """One for each GPU, in order."""
        return [row for _, (row, _) in sorted(self._found.items())]


def _number(value: object) -> float | None:
    return round(float(value), 3) if isinstance(value, int | float) else None
