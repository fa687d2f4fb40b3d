"""Reads a rate of calls as people write it: `300/min`, `5/s`, `10000 per hour`."""

from __future__ import annotations

import re

_UNITS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
}
_RATE = re.compile(
    r"\s*(?P<number>[0-9][0-9_,]*(?:\.[0-9]+)?|\.[0-9]+)\s*(?:/|\bper\b)\s*"
    r"(?P<every>[0-9]+(?:\.[0-9]+)?)?\s*(?P<unit>[a-z]+)\s*",
    re.IGNORECASE,
)
HINT = "Write a number and a unit of time: 300/min, 5/s, 10000/h."


def calls_per_second(text: str) -> float:
    """The rate that `text` says, in calls a second. Raises ValueError, whose text says what is wrong."""
    found = _RATE.fullmatch(text)
    if found is None:
        if re.fullmatch(r"\s*[0-9.,_]+\s*", text):
            raise ValueError(f"{text.strip()} of what? A rate is so many in a time.")
        raise ValueError("it is no rate.")
    unit = _UNITS.get(found["unit"].lower())
    if unit is None:
        raise ValueError(f"{found['unit']!r} is no unit of time (s, min, h, day).")
    number = float(re.sub("[_,]", "", found["number"]))
    span = unit * float(found["every"] or 1)
    if number <= 0 or span <= 0:
        raise ValueError("at a rate of 0 nothing would ever be called.")
    return number / span
