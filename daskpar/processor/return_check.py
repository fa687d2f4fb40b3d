"""Decides what a return of `run()` means for its mini-batch: its number of elements against that of items.

Pure decisions; where nobody asks for returns, none is made.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sized
from typing import Any

from daskpar.results import Reason, TryStatus
from daskpar.value_classes import frozen

WHAT_TO_RETURN = "return a DataFrame, list, tuple, Series, array or generator with one element for each item"


@frozen
class TryResult:
    """How a try ended."""

    status: TryStatus
    reason: Reason = Reason.NONE
    failed_items: int = 0
    message: str = ""


SUCCEEDED = TryResult(TryStatus.SUCCEEDED)


def why_not_countable(returned: Any) -> str:
    """Why the elements of `returned` can't be counted, as one sentence; empty when they can."""
    kind = type(returned)
    if kind is list or kind is tuple:
        return ""
    pandas = sys.modules.get("pandas")
    if pandas is not None and kind is pandas.DataFrame:
        return ""  # what follows would say so too, and look at many classes for it
    if returned is None:
        return f"run() returned None: {WHAT_TO_RETURN}"
    if isinstance(returned, str | bytes | bytearray | memoryview):
        return f"run() returned one {kind.__name__}: {WHAT_TO_RETURN}; for a single line, a list with it"
    if isinstance(returned, Mapping):
        return f"run() returned a mapping ({kind.__name__}): {WHAT_TO_RETURN}"
    # An array of no dimension has `__len__`, which raises.
    if isinstance(returned, Sized | Iterator) and getattr(returned, "shape", None) != ():
        return ""
    return f"run() returned a {kind.__name__}, which has no number of elements: {WHAT_TO_RETURN}"


def compare_counts(*, items: int, returned: int) -> TryResult:
    """The result of a try that returned so many elements for so many items."""
    if returned >= items:
        return SUCCEEDED
    message = f"run() returned {returned} elements for {items} items"
    return TryResult(TryStatus.FAILED, Reason.SHORT, items - returned, message)
