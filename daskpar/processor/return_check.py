"""What a return of `run()` means for its mini-batch: pure, by the table of the design.

A return is measured by its number of elements against the mini-batch's items, unless nobody asks for returns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sized
from dataclasses import dataclass
from typing import Any

from daskpar.results import Reason, TryStatus

WHAT_TO_RETURN = "return a DataFrame, list, tuple, Series, array or generator with one element for each item"


@dataclass(frozen=True)
class Verdict:
    """How a try ended."""

    status: int
    reason: int = Reason.NONE
    failed_items: int = 0
    message: str = ""


SUCCEEDED = Verdict(TryStatus.SUCCEEDED)


def countable(returned: Any) -> str:
    """Why `returned` is nothing that can be counted, in one sentence; empty when it can."""
    kind = type(returned)
    if kind is list or kind is tuple:
        return ""
    if returned is None:
        return f"run() returned None: {WHAT_TO_RETURN}"
    if isinstance(returned, str | bytes | bytearray | memoryview):
        return f"run() returned one {kind.__name__}: {WHAT_TO_RETURN}; for a single line, a list with it"
    if isinstance(returned, Mapping):
        return f"run() returned a mapping ({kind.__name__}): {WHAT_TO_RETURN}"
    if isinstance(returned, Sized | Iterator) and getattr(returned, "shape", None) != ():
        return ""
    return f"run() returned a {kind.__name__}, which has no number of elements: {WHAT_TO_RETURN}"


def judge(*, items: int, returned: int) -> Verdict:
    """The verdict on `returned` elements for `items` items."""
    if returned >= items:
        return SUCCEEDED
    gap = items - returned
    return Verdict(
        TryStatus.FAILED, Reason.SHORT, gap, f"run() returned {returned} elements for {items} items"
    )
