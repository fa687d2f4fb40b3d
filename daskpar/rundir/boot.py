"""Identifies the current boot of this machine: after a new boot, bytes that were not synced may be gone."""

from __future__ import annotations

import os
import subprocess
from functools import cache

_LINUX = "/proc/sys/kernel/random/boot_id"


@cache
def boot_id() -> str:
    """A text that is the same until this machine boots again.

    Empty where the system has none, which is taken as another boot each time.
    """
    try:
        with open(_LINUX) as file:
            return file.read().strip()
    except OSError:
        return _boot_session()


def _boot_session() -> str:
    if os.uname().sysname != "Darwin":
        return ""
    answer = subprocess.run(
        ["sysctl", "-n", "kern.bootsessionuuid"], capture_output=True, text=True, check=False
    )
    return answer.stdout.strip()


def same_boot(earlier: str) -> bool:
    """Whether what was written during the boot `earlier` is certainly still there."""
    return bool(earlier) and earlier == boot_id()
