"""Reads how many GPUs a processor gets: `1`, `2`, or a part of one, `0.5`."""

from __future__ import annotations

from daskpar.jobspec.problems import Problems
from daskpar.jobspec.scalars import as_number, quoted
from daskpar.jobspec.yaml_source import Value

LEAST = 0.01
HINT = "Write a whole number (2: each processor has two GPUs), or a part (0.5: two processors share one)."


def gpu_share(value: Value, problems: Problems) -> float | None:
    """GPUs for each processor: a whole number from 1 on, or a part of one."""
    number = as_number(value.data)
    whole = number is not None and number >= 1 and float(number).is_integer()
    if number is None or not (whole or LEAST <= number < 1):
        problems.error(value.place, f"has to be GPUs for each processor, not {quoted(value.data)}.", HINT)
        return None
    return float(number)
