"""Reads from what a script raised how long its service asks it to wait: `retry_after`, of a 429 or 503."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any

from daskpar.own_calls import OWN

LEAST_WAIT = 0.05
"""What is asked for is never taken for less: a service that says 0 is not asked without a pause."""


def seconds_to_wait(error: BaseException) -> float | None:
    """Seconds that `error.retry_after` asks for; None where it has no such attribute, or it says nothing.

    A number, a timedelta, a datetime, or a text as in the header Retry-After: a number or a date of HTTP.
    For a group of exceptions, as a TaskGroup raises it, the longest of its own, if all of them ask for one.
    """
    if isinstance(error, BaseExceptionGroup) and not hasattr(error, "retry_after"):
        waits = [seconds_to_wait(each) for each in error.exceptions]
        asked = [wait for wait in waits if wait is not None]
        return max(asked) if len(asked) == len(waits) else None
    try:
        value: Any = getattr(error, "retry_after", None)
        if value is None or isinstance(value, bool):
            return None
        seconds = _seconds(value)
    except Exception:  # a property of the script's own may raise anything
        return None
    return max(seconds, LEAST_WAIT) if math.isfinite(seconds) else None


def _seconds(value: Any) -> float:
    """What a value of `retry_after` says; ValueError or TypeError where it says no time."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            from email.utils import parsedate_to_datetime

            value = parsedate_to_datetime(value)
    if isinstance(value, datetime):
        return value.timestamp() - OWN.wall_clock()
    return float(value)


class Patience:
    """How long one try of a mini-batch may be put off; `most`: seconds from its first refusal on."""

    def __init__(self, most: float) -> None:
        self._most = most
        self._since: float | None = None
        self.refusals = 0
        """How often it was put off."""

    def wait_for(self, error: BaseException, now: float) -> float | None:
        """Seconds to wait before `run()` is called again; None where `error` is a failure like others."""
        seconds = seconds_to_wait(error)
        if seconds is None:
            return None
        if self._since is None:
            self._since = now
        # The calls count too: a service that says "at once" each time is not asked for ever.
        if now + seconds - self._since > self._most:
            return None
        self.refusals += 1
        return seconds

    def spent(self, now: float) -> str:
        """What is to be said of a failure after it; empty where it was never put off."""
        if self._since is None:
            return ""
        times = "once" if self.refusals == 1 else f"{self.refusals} times"
        return (
            f" (put off {times} in {now - self._since:.0f} s, as its retry_after asked; "
            f"--rate_limit_patience is {self._most:g} s)"
        )
