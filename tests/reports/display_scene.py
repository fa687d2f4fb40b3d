"""A fake terminal, and a writer of the display that is used without its thread."""

from __future__ import annotations

import io
import re

from daskpar.events import Event, Progress, StepKind, StepStarted, Warned
from daskpar.reports.display_writer import DisplayWriter
from daskpar.reports.progress_view import ProgressView
from daskpar.results import Counts

from .conftest import START


class FakeTerminal(io.StringIO):
    """A terminal that keeps what is written; `screen` is what a user would see."""

    def isatty(self) -> bool:
        return True

    def screen(self) -> list[str]:
        lines, row = [""], 0
        for token in re.findall(r"\x1b\[\d*[A-Z]|\r|\n|[^\x1b\r\n]+", self.getvalue()):
            if token == "\n":
                row += 1
                lines += [""] * (row + 1 - len(lines))
            elif token == "\r":
                pass  # columns are not followed: every drawing writes whole lines
            elif token.endswith("J"):
                lines = [*lines[:row], ""]
            elif token.endswith("A"):
                row -= int(token[2:-1])
                assert row >= 0, "the cursor left the screen"
            else:
                lines[row] = token
        return lines


def step(name: str = "score") -> StepStarted:
    return StepStarted(time=START, step=name, kind=StepKind.PARALLEL, folder="/run")


def progress(done: int, name: str = "score", doing: str = "") -> Progress:
    return Progress(
        time=START + done,
        step=name,
        counts=Counts(planned=20, succeeded=done, items=10 * done),
        running=2,
        doing=doing,
    )


def warned(text: str) -> Warned:
    return Warned(time=START, step="score", text=text)


class Scene:
    """A writer that writes when it is told to, at chosen times."""

    def __init__(self, writer: DisplayWriter) -> None:
        self.writer = writer
        self.view = ProgressView()

    def show(self, *events: Event, now: float = 0.0) -> None:
        for event in events:
            self.view.handle(event)
        self.writer.write(self.writer.text(self.view.take_messages(), self.view, START + now))
