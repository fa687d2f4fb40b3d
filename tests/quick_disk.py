"""Nothing waits until what was written is on the disk: no test cuts the power, and a small job asks for it 36 times."""

from __future__ import annotations

import os
from typing import Any


def install() -> None:
    """In this process and in what it forks from now on."""
    os.fsync = os.fdatasync = _known  # tests of what is asked for put their own in its place


def _known(file: Any) -> None:
    """An error where there is no such descriptor, as from the real one."""
    os.fstat(file if isinstance(file, int) else file.fileno())
