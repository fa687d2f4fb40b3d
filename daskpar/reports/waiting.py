"""Decides what a step is waiting for, where it is one call that takes long: pure, fed with plain values."""

from __future__ import annotations

from collections.abc import Iterable

from daskpar.events import LongCall
from daskpar.reports.wording import number, one_line
from daskpar.value_classes import frozen

PATIENCE_SECONDS = 5.0
"""Without a result for so long, and for much longer than usual, the calls under way are named."""


@frozen
class Quiet:
    """How still it is around a step."""

    left: int
    """Mini-batches without a final outcome."""
    running: int
    """Processors busy."""
    since_result: float
    """Seconds since the last result, or since the start of the first call."""
    per_second: float
    """Its pace until the last result; 0 where there was none yet."""


def awaited(calls: Iterable[LongCall], quiet: Quiet) -> LongCall | None:
    """The call that a step waits for: the oldest one, where nothing else is left to do or nothing ends."""
    oldest = min((call for call in calls if call.index >= 0), key=lambda call: call.since, default=None)
    if oldest is None:
        return None
    only_these = 0 < quiet.left <= max(quiet.running, 1)
    # Calls that began together end together: so many results are missing before any is late.
    missing = max(3.0, 1.5 * quiet.running)
    usual = missing / quiet.per_second if quiet.per_second > 0 else 0.0
    return oldest if only_these or quiet.since_result > max(PATIENCE_SECONDS, usual) else None


NAME_CHARACTERS = 30
"""Of a mini-batch's name in a line of progress."""


def waiting_text(call: LongCall, now: float, *, named: bool = False) -> str:
    """`waiting for mini-batch 7 (41 s of 60 s)`, also with its try, and where `named` with what it holds."""
    age = max(int(now - call.since), 0)
    limit = "" if call.limit is None else f" of {call.limit:g} s"
    what = "loading " if call.doing == "loading" else ""
    again = f", try {call.tries + 1}" if call.tries else ""
    name = f": {one_line(call.name, NAME_CHARACTERS)}" if named and call.name else ""
    return f"waiting for {what}mini-batch {number(call.index)}{name} ({age} s{limit}{again})"


def waiting_texts(call: LongCall, now: float) -> tuple[str, ...]:
    """The same, then shorter ones for a narrow terminal: `mini-batch 7 (41 s of 60 s)`, `7: 41 of 60 s`."""
    text = waiting_text(call, now)
    limit = "" if call.limit is None else f" of {call.limit:g}"
    shortest = f"{number(call.index)}: {max(int(now - call.since), 0)}{limit} s"
    return waiting_text(call, now, named=True), text, text.removeprefix("waiting for "), shortest


def starting_text(calls: Iterable[LongCall], now: float) -> str:
    """`starting (import, init)`, with how long the first `init()` has taken where that is long."""
    oldest = min((call for call in calls if call.doing == "init"), key=lambda call: call.since, default=None)
    if oldest is None:
        return "starting (import, init)"
    limit = "" if oldest.limit is None else f" of {oldest.limit:g} s"
    return f"starting (import, init: {max(int(now - oldest.since), 0)} s{limit})"
