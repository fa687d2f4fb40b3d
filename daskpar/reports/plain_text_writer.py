"""Progress in a file or pipe: plain lines, at each change of phase and every few seconds."""

from __future__ import annotations

from typing import TextIO

from daskpar.reports.display_writer import DisplayWriter
from daskpar.reports.progress_view import ProgressView, plain_line

PLAIN_SECONDS = 5.0
"""Between two plain lines of a step at the start; then ever longer, so that a long job does not fill its log.
"""
PLAIN_SECONDS_MOST = 60.0


class PlainTextWriter(DisplayWriter):
    """Writes a line for a step when its phase changes, and now and then, seldomer the longer it takes."""

    period = 0.5

    def __init__(self, stream: TextIO, *, colours: bool = False, simple: bool = False) -> None:
        super().__init__(stream, colours=colours, simple=simple)
        self._shown: dict[str, tuple[float, str]] = {}
        """Step -> time and phase of its last line."""

    def text(self, messages: list[str], view: ProgressView, now: float) -> str:
        lines = list(messages)
        for step in view.steps.values():
            phase = step.doing.split(" ")[0]  # without its per cent
            last, before = self._shown.get(step.name, (step.started, ""))
            if phase != before or now - last >= plain_pause(now - step.started):
                self._shown[step.name] = (now, phase)
                if step.has_progress:
                    lines.append(self.paint(plain_line(step, now)))
        return "".join(f"{line}\n" for line in lines)


def plain_pause(age: float) -> float:
    """Seconds until the next plain line of a step of this age (seconds)."""
    return min(max(PLAIN_SECONDS, age / 20), PLAIN_SECONDS_MOST)
