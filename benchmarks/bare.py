"""`python -m daskpar` without its safety net, to measure what the net costs: no deadlines, logs, progress,
report or journal.

Takes the same arguments. What it leaves out can't be left out by a user.
"""

from __future__ import annotations

from typing import Any

import daskpar.outputs.journal
import daskpar.processor.timeouts
import daskpar.reports.watchers
from daskpar.__main__ import main


def nothing(*_: Any, **__: Any) -> None:
    """In place of what is left out."""


def never(*_: Any, **__: Any) -> bool:
    """In place of a question whose answer would cost something."""
    return False


def strip() -> None:
    """Take the net away in this process, where the driver and the node of a local run both live."""
    daskpar.reports.watchers.watchers = lambda *_, **__: []
    daskpar.outputs.journal.Journal.append = nothing
    daskpar.outputs.journal.Journal.sync = nothing
    daskpar.processor.timeouts.is_overdue = never


if __name__ == "__main__":
    strip()
    main()
