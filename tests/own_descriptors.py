"""What this process holds open, by what it is open on.

A count would not do: tests share a process with earlier ones, whose garbage (the loop of a cluster that ended, say) is
collected at any time, so descriptors close while a test runs. What a test itself leaves open is *more* of something.
"""

from __future__ import annotations

import os
from collections import Counter
from contextlib import suppress


def own_descriptors() -> Counter[str]:
    """How many descriptors are open on each thing: `pipe:[4711]`, `socket:[4712]`, `/dev/null`, the path of a file."""
    found: Counter[str] = Counter()
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # that of the listing itself, or one that another thread has just closed
            found[os.readlink(f"/proc/self/fd/{number}")] += 1
    return found


def opened_since(before: Counter[str]) -> Counter[str]:
    """What is open more often than it was in `before`, which `own_descriptors` gave."""
    return own_descriptors() - before
