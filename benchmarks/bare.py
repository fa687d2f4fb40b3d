"""Runs `python -m daskpar` without deadlines, logs, progress, report and journal, to measure what they cost.

Takes the same arguments. A user can't leave these parts out.
"""

from __future__ import annotations

from typing import Any

import daskpar.outputs.journal
import daskpar.processor.timeouts
import daskpar.reports.watchers
from daskpar.__main__ import main


def nothing(*_: Any, **__: Any) -> None:
    """Stand in for a function that is left out."""


def never(*_: Any, **__: Any) -> bool:
    """Stand in for a test that is left out."""
    return False


def strip() -> None:
    """Leave the parts out in this process, in which both the driver and the node of a local run live."""
    daskpar.reports.watchers.watchers = lambda *_, **__: []
    daskpar.outputs.journal.Journal.append = nothing
    daskpar.outputs.journal.Journal.sync = nothing
    daskpar.processor.timeouts.is_overdue = never


if __name__ == "__main__":
    strip()
    main()
