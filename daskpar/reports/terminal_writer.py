"""Progress on a terminal: the lines of running steps are redrawn in place, messages scroll up above them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TextIO

from daskpar.cells import rows_of
from daskpar.reports.display_writer import DisplayWriter
from daskpar.reports.progress_view import ProgressView, frame

_CLEAR_BELOW = "\x1b[J"
_UP = "\x1b[{}A"


class TerminalWriter(DisplayWriter):
    """Redraws the lines of running steps in place.

    Between two drawings the cursor stands at the start of the line below: what the terminal itself writes
    there (`^C`) is cleared by the next drawing, and a program that is killed leaves a clean line.
    """

    redraws = True

    def __init__(
        self,
        stream: TextIO,
        size: Callable[[], os.terminal_size] | None = None,
        *,
        colours: bool = False,
        simple: bool = False,
    ) -> None:
        super().__init__(stream, colours=colours, simple=simple)
        self._size = size or (lambda: terminal_size(stream))
        self._drawn: list[str] = []
        self._width = 0

    def text(self, messages: list[str], view: ProgressView, now: float) -> str:
        width, height = self._size()
        lines = frame(view, now, width, height)
        if not messages and lines == self._drawn and width == self._width:
            return ""
        back = self._back(width)
        self._drawn, self._width = lines, width
        return back + "".join(f"{line}\n" for line in [*messages, *map(self.paint, lines)])

    def ending(self) -> str:
        back = self._back(self._size()[0]) if self._drawn else ""
        self._drawn = []
        return back

    def _back(self, width: int) -> str:
        """To the first drawn line, and clear from there."""
        if not self._drawn:
            return "\r" + _CLEAR_BELOW if self._width else ""
        # A terminal that became narrower has folded long lines into several.
        rows = rows_of("\n".join(self._drawn), width)
        return "\r" + _UP.format(rows) + _CLEAR_BELOW


def can_redraw(stream: TextIO) -> bool:
    """Whether the stream is a terminal that moves its cursor."""
    try:
        return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb")
    except ValueError:  # closed
        return False


def terminal_size(stream: TextIO) -> os.terminal_size:
    """Columns and lines of the stream's terminal; 80 × 24 where it does not say."""
    try:
        size = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        return os.terminal_size((80, 24))
    # A terminal of a container may say 0 × 0.
    return os.terminal_size((size.columns or 80, size.lines or 24))
