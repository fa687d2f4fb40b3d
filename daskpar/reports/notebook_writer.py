"""Progress in a notebook: one line that changes below the cell, messages above it."""

from __future__ import annotations

import sys
from typing import TextIO

from daskpar.reports.display_writer import DisplayWriter
from daskpar.reports.progress_view import ProgressView, plain_line

NOTEBOOK_SECONDS = 1.0


class NotebookWriter(DisplayWriter):
    """Writes all running steps into one line.

    Carriage returns alone: notebooks understand them, and no other movement of the cursor.
    """

    period = NOTEBOOK_SECONDS

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._drawn = ""

    def text(self, messages: list[str], view: ProgressView, now: float) -> str:
        line = "  |  ".join(plain_line(step, now) for step in view.steps.values() if step.has_progress)
        if not messages and line == self._drawn:
            return ""
        wiped = self._wipe()
        self._drawn = line
        return wiped + "".join(f"{text}\n" for text in messages) + line

    def ending(self) -> str:
        wiped = self._wipe()
        self._drawn = ""
        return wiped

    def _wipe(self) -> str:
        return "\r" + " " * len(self._drawn) + "\r" if self._drawn else ""


def in_notebook() -> bool:
    """Whether this is an IPython kernel, as of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None
    return shell is not None and hasattr(shell, "kernel")
