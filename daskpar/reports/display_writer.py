"""The base class of the display's writers: there is one for each kind of stream."""

from __future__ import annotations

from typing import TextIO

from daskpar.events import Event
from daskpar.reports.colour import coloured, simpler_signs
from daskpar.reports.progress_view import ProgressView

REDRAW_SECONDS = 0.2


class DisplayWriter:
    """Turns new messages and the state of the steps into text, and writes it to a stream."""

    period = REDRAW_SECONDS
    """Seconds between two looks at the state."""
    redraws = False
    """Whether it moves the cursor back: then no other code may write between two drawings."""

    def __init__(self, stream: TextIO, *, colours: bool = False, simple: bool = False) -> None:
        self.stream = stream
        self._colours = colours
        self._simple = simple

    def paint(self, text: str) -> str:
        """A text of ours as this stream shows it: coloured, or in signs of ASCII alone."""
        text = simpler_signs(text) if self._simple else text
        return coloured(text) if self._colours else text

    def heard(self, event: Event) -> None:
        """Called with each event, for writers that show more than the view keeps."""

    def text(self, messages: list[str], view: ProgressView, now: float) -> str:
        """What to write at the time `now` (seconds since the epoch); empty for nothing."""
        raise AssertionError("every kind of writer has its own")

    def ending(self) -> str:
        """What to write last."""
        return ""

    def write(self, text: str) -> None:
        """Write in one piece: less can come in between."""
        if not text:
            return
        try:
            self.stream.write(text)
        except UnicodeEncodeError:
            code = self.stream.encoding or "ascii"
            self.stream.write(simpler_signs(text).encode(code, "replace").decode(code))
        self.stream.flush()
