"""Shows how far a run is where the user looks: on a terminal, in a notebook, or in plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import TextIO

from daskpar.events import Event, Watcher
from daskpar.printable import printable
from daskpar.reports.colour import speaks_utf8, wants_colour
from daskpar.reports.display_writer import DisplayWriter
from daskpar.reports.notebook_writer import NotebookWriter, in_notebook
from daskpar.reports.plain_text_writer import PlainTextWriter
from daskpar.reports.progress_view import ProgressView
from daskpar.reports.stream_capture import captured_streams, original_of
from daskpar.reports.terminal_writer import TerminalWriter, can_redraw


class Display(Watcher):
    """Shows the progress of all running steps and each message once.

    A thread of its own writes, so that nothing waits for a terminal.
    """

    def __init__(
        self,
        writer: DisplayWriter,
        clock: Callable[[], float] | None = None,
        *,
        summary_follows: bool = False,
    ) -> None:
        self._writer = writer
        self._clock = clock or steady_clock()
        self._view = ProgressView(summary_follows=summary_follows)
        self._messages: list[str] = []
        self._lock = threading.RLock()  # a signal handler may add a message in the middle of `add_message`
        self._end = threading.Event()
        self._drawn_last = False
        self._thread: threading.Thread | None = None
        self._capture = ExitStack()

    @classmethod
    def of_process(cls, stream: TextIO | None = None, *, summary_follows: bool = False) -> Display:
        """The display that suits this process: notebook, terminal (stderr), or a stream that goes to a file
        or pipe. `summary_follows`: as for `ProgressView`.
        """
        return cls(writer_of_process(stream), summary_follows=summary_follows)

    def handle(self, event: Event) -> None:
        """Take in any event; the view (`progress_view`) decides what is shown of it."""
        # How long things take is shown, and the clock of the machine may be set meanwhile.
        event = replace(event, time=self._clock())
        with self._lock:
            self._view.handle(event)
            self._writer.heard(event)
            self._messages += [self._writer.paint(printable(text)) for text in self._view.take_messages()]
        if self._thread is None:
            self._start_thread()

    def close(self) -> None:
        self._capture.close()
        self._end.set()
        if self._thread is not None:
            self._thread.join(5.0)  # a terminal that is stopped (Ctrl-S) must not hold up the end

    def add_message(self, text: str) -> None:
        """Write text of other code (`stream_capture`) as it is, above the redrawn lines; from any thread."""
        with self._lock:
            late = self._drawn_last
            if not late:
                self._messages.append(text)
        if late:  # written by code that was stopped in the middle while the display ended
            self._writer.write(f"{text}\n")

    def draw(self) -> None:
        """Write what is new since the last call."""
        with self._lock:
            messages, self._messages = self._messages, []
            text = self._writer.text(messages, self._view, self._clock())
        self._writer.write(text)  # may take long: not while others wait for the lock

    def _start_thread(self) -> None:
        if self._writer.redraws:
            self._capture.enter_context(captured_streams(self._writer.stream, self.add_message))
        self._thread = threading.Thread(target=self._draw_until_end, name="daskpar-display", daemon=True)
        self._thread.start()

    def _draw_until_end(self) -> None:
        try:
            while not self._end.is_set():
                self.draw()
                self._end.wait(self._writer.period)
            with self._lock:
                text, self._messages = self._writer.text(self._messages, self._view, self._clock()), []
                text += self._writer.ending()
                self._drawn_last = True
            self._writer.write(text)
        except (OSError, ValueError):
            pass  # the terminal is gone: the job goes on without a display


def steady_clock() -> Callable[[], float]:
    """A clock that shows the time of day now and goes on steadily when that of the machine is set."""
    began = time.time() - time.monotonic()
    return lambda: began + time.monotonic()


def writer_of_process(stream: TextIO | None = None) -> DisplayWriter:
    """The writer that suits this process, or `stream` in it."""
    if in_notebook():
        return NotebookWriter(sys.stdout if stream is None else stream)
    # Another run of this process may have captured it.
    out = original_of(sys.stderr if stream is None else stream)
    kind = TerminalWriter if can_redraw(out) else PlainTextWriter
    return kind(out, colours=wants_colour(out), simple=not speaks_utf8())
