"""Waiting for what another process or thread does."""

from __future__ import annotations

import time
from collections.abc import Callable
from subprocess import Popen
from typing import Any

PATIENCE = 60.0
"""Seconds; far more than anything takes that is waited for, since machines that run tests may be slow."""


def until(
    condition: Callable[[], Any],
    what: str = "it",
    *,
    process: Popen[Any] | None = None,
    seconds: float = PATIENCE,
) -> None:
    """Return as soon as `condition()` is true; fail after `seconds`, or where the `process` that is to make it true has ended."""
    end = time.monotonic() + seconds
    while not condition():
        if process is not None and process.poll() is not None and not condition():
            output = process.stdout.read() if process.stdout else ""
            raise AssertionError(
                f"the process ended with {process.returncode}, and {what} had not come: {output}"
            )
        assert time.monotonic() < end, f"{what} did not come within {seconds:g} s"
        time.sleep(0.005)
