"""Sizes in bytes as people write and read them: kb, mb and gb are steps of 1024, but for disks."""

from __future__ import annotations

import re

UNITS = {"": 1, "kb": 1024, "mb": 1024**2, "gb": 1024**3}
"""Unit as it is written -> bytes."""
_NAMES = {size: name for name, size in UNITS.items()}
_SMALLER = {"kb": "", "mb": "kb", "gb": "mb"}
# One blank before the unit is allowed, as in Azure ML; 18 digits stay below 2**63.
_SIZE = re.compile(r"(\d{1,18}) ?(kb|mb|gb)?", re.IGNORECASE | re.ASCII)
_FRACTION = re.compile(r"(\d{0,18}\.\d{1,18}) ?(kb|mb|gb)", re.IGNORECASE | re.ASCII)
_HOW_TO_WRITE = (
    'Write a whole number of files, like "10", or a size for tables: a number and kb, mb or gb, like "100kb".'
)


def parse_size(written: object) -> tuple[int, int]:
    """Number and unit in bytes of `10`, `"10"`, `"10kb"` or `"1 MB"`; the unit is 1 where none is written.

    Raises ValueError, whose text says how a size is written, for anything else.
    """
    if isinstance(written, int) and not isinstance(written, bool) and written >= 0:
        return written, 1
    text = written.strip() if isinstance(written, str) else ""
    if match := _SIZE.fullmatch(text):
        return int(match[1]), UNITS[(match[2] or "").lower()]
    if match := _FRACTION.fullmatch(text):
        whole = f"{round(float(match[1]) * 1024)}{_SMALLER[match[2].lower()]}"
        raise ValueError(f'A size is a whole number: write "{whole}".')
    raise ValueError(_HOW_TO_WRITE)


def written_size(number: int, unit: int) -> str:
    """A size as a spec has it, `10` or `10kb`: what `parse_size` reads back."""
    return f"{number}{_NAMES[unit]}"


def readable_size(size_bytes: float) -> str:
    """`812 B`, `1.5 MB`: the largest unit below the size, in steps of 1024 as mini-batch sizes are."""
    value = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1023.95 or unit == "TB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("unreachable: the last unit takes every size")


def disk_size(size_bytes: int) -> str:
    """`1,234.5 MB`: millions of bytes, as disks and what is free on them are counted."""
    return f"{size_bytes / 1e6:,.1f} MB"
