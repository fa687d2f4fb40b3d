"""Progress where the user looks: redrawn lines on a terminal, one changing line in a notebook, plain lines
elsewhere.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TextIO

from daskpar.events import Event, Watcher
from daskpar.reports.progress_view import View, frame, plain_line
from daskpar.reports.stream_capture import written_beside
from daskpar.reports.wording import printable

REDRAW_SECONDS = 0.2
NOTEBOOK_SECONDS = 1.0
PLAIN_SECONDS = 5.0
"""Between two plain lines of a step at the start; then ever longer, so that a long job does not fill its log.
"""
PLAIN_SECONDS_MOST = 60.0

_CLEAR_BELOW = "\x1b[J"
_UP = "\x1b[{}A"
_SIMPLER = str.maketrans({"█": "#", "░": "-", "…": "~"})
"""For terminals that know no more than ASCII."""


class Display(Watcher):
    """Shows the progress of all running steps and says each remark once; one writer thread, so that nothing
    waits for a terminal.
    """

    def __init__(self, paper: Paper, clock: Callable[[], float] = time.time) -> None:
        self._paper = paper
        self._clock = clock
        self._view = View()
        self._sayings: list[str] = []
        self._lock = threading.RLock()  # a signal handler may speak in the middle of `say`
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        self._beside = ExitStack()

    @classmethod
    def of_process(cls, stream: TextIO | None = None) -> Display:
        """The display that suits this process: notebook, terminal (stderr), or a stream that goes to a file
        or pipe.
        """
        out = sys.stderr if stream is None else stream
        if in_notebook():
            return cls(Notebook(sys.stdout if stream is None else stream))
        return cls(Terminal(out) if can_redraw(out) else Lines(out))

    def hear(self, event: Event) -> None:
        with self._lock:
            self._sayings += [printable(text) for text in self._view.hear(event)]
        if self._thread is None:
            self._begin()

    def close(self) -> None:
        self._beside.close()
        self._end.set()
        if self._thread is not None:
            self._thread.join(5.0)  # a terminal that is stopped (Ctrl-S) must not hold up the end

    def say(self, text: str) -> None:
        """Write a text of another's as it is, above the lines that are redrawn; from any thread."""
        with self._lock:
            self._sayings.append(text)

    def _begin(self) -> None:
        if self._paper.redraws:
            self._beside.enter_context(written_beside(self._paper.stream, self.say))
        self._thread = threading.Thread(target=self._write, name="daskpar-display", daemon=True)
        self._thread.start()

    def draw(self) -> None:
        """Write what is due now."""
        with self._lock:
            said, self._sayings = self._sayings, []
            text = self._paper.text(said, self._view, self._clock())
        if text:
            self._paper.put(text)

    def _write(self) -> None:
        try:
            while not self._end.is_set():
                self.draw()
                self._end.wait(self._paper.period)
            self.draw()
            with self._lock:
                text = self._paper.ending()
            self._paper.put(text)
        except (OSError, ValueError):
            pass  # the terminal is gone: the job goes on without a display


class Paper:
    """Something to write on; `text` is what to write for new remarks and the state of the steps at a time."""

    period = REDRAW_SECONDS
    """Seconds between two looks at the state."""
    redraws = False
    """Whether it moves the cursor back: then nobody else may write between two drawings."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def put(self, text: str) -> None:
        """Write in one piece: less can come in between."""
        if text:
            try:
                self.stream.write(text)
            except UnicodeEncodeError:
                code = self.stream.encoding or "ascii"
                self.stream.write(text.translate(_SIMPLER).encode(code, "replace").decode(code))
            self.stream.flush()

    def text(self, said: list[str], view: View, now: float) -> str:
        """What to write now; empty for nothing."""
        raise AssertionError("every kind of paper has its own")

    def ending(self) -> str:
        """What to write last."""
        return ""


class Terminal(Paper):
    """Redraws the lines of running steps in place, remarks scroll up above them.

    Between two drawings the cursor stands at the start of the line below: what the terminal itself writes
    there (`^C`) is cleared by the next drawing, and a program that is killed leaves a clean line.
    """

    redraws = True

    def __init__(self, stream: TextIO, size: Callable[[], os.terminal_size] | None = None) -> None:
        super().__init__(stream)
        self._size = size or (lambda: terminal_size(stream))
        self._drawn: list[str] = []
        self._width = 0

    def text(self, said: list[str], view: View, now: float) -> str:
        width, height = self._size()
        lines = frame(view, now, width, height)
        if not said and lines == self._drawn and width == self._width:
            return ""
        back = self._back(width)
        self._drawn, self._width = lines, width
        return back + "".join(f"{line}\n" for line in [*said, *lines])

    def _back(self, width: int) -> str:
        """To the first drawn line; lines of a terminal that became narrower were folded by it into several."""
        if not self._drawn:
            return "\r" + _CLEAR_BELOW if self._width else ""
        rows = sum(max(-(-len(line) // max(width, 1)), 1) for line in self._drawn)
        return "\r" + _UP.format(rows) + _CLEAR_BELOW

    def ending(self) -> str:
        back = self._back(self._size()[0]) if self._drawn else ""
        self._drawn = []
        return back


class Lines(Paper):
    """Plain lines: a step's progress when its phase changes and every few seconds, seldomer the longer it
    takes.
    """

    period = 0.5

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._shown: dict[str, tuple[float, str]] = {}

    def text(self, said: list[str], view: View, now: float) -> str:
        lines = list(said)
        for step in view.steps.values():
            phase = step.doing.split(" ")[0]
            last, before = self._shown.get(step.name, (step.started, ""))
            if phase != before or now - last >= plain_pause(now - step.started):
                self._shown[step.name] = (now, phase)
                if step.planned or step.doing:
                    lines.append(plain_line(step, now))
        return "".join(f"{line}\n" for line in lines)


class Notebook(Paper):
    """One line that changes in the cell's output: carriage returns, which notebooks understand; no cursor
    movements, which they do not.
    """

    period = NOTEBOOK_SECONDS

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._drawn = ""

    def text(self, said: list[str], view: View, now: float) -> str:
        line = "  |  ".join(
            plain_line(step, now) for step in view.steps.values() if step.planned or step.doing
        )
        if not said and line == self._drawn:
            return ""
        wipe = "\r" + " " * len(self._drawn) + "\r" if self._drawn else ""
        self._drawn = line
        return wipe + "".join(f"{text}\n" for text in said) + line

    def ending(self) -> str:
        wipe = "\r" + " " * len(self._drawn) + "\r" if self._drawn else ""
        self._drawn = ""
        return wipe


def plain_pause(age: float) -> float:
    """Seconds until the next plain line of a step of this age."""
    return min(max(PLAIN_SECONDS, age / 20), PLAIN_SECONDS_MOST)


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
    return os.terminal_size((size.columns or 80, size.lines or 24))


def in_notebook() -> bool:
    """Whether this is an IPython kernel, as of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None
    return shell is not None and hasattr(shell, "kernel")
