"""Catches what others write to the terminal while lines are redrawn on it, so that it is shown above them."""

from __future__ import annotations

import io
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO


class CapturedStream(io.TextIOBase):
    """Stands in for a terminal stream: whole lines go to `show`, a line's beginning waits for its end.

    Everything but writing is the stream's own (`fileno` for faulthandler, `encoding`, ...).
    """

    def __init__(self, stream: TextIO, show: Callable[[str], None]) -> None:
        self.original = stream
        self._show = show
        self._begun = ""
        # Reentrant: a signal handler may print in the middle of `write`.
        self._lock = threading.RLock()

    def write(self, text: str) -> int:
        with self._lock:
            *lines, self._begun = (self._begun + text).split("\n")
        if lines:
            self._show("\n".join(lines))
        return len(text)

    def show_rest(self) -> None:
        """Show the last line, which has no line break yet."""
        with self._lock:
            rest, self._begun = self._begun, ""
        if rest:
            self._show(rest)

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self.original.isatty()

    def fileno(self) -> int:
        return self.original.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self.original.encoding

    def close(self) -> None:
        """The terminal is not ours to close."""


@contextmanager
def captured_streams(stream: TextIO, show: Callable[[str], None]) -> Iterator[None]:
    """While it lasts, what is written to the same terminal as `stream` goes to `show`, line by line.

    Captured are `sys.stderr`, `sys.stdout` and the streams of log handlers; nothing is lost at the end.
    """
    captured: dict[int, CapturedStream] = {}

    def capture(original: TextIO) -> CapturedStream:
        return captured.setdefault(id(original), CapturedStream(original, show))

    handlers: list[tuple[logging.StreamHandler[Any], CapturedStream]] = []
    # Which streams are terminals is looked at before any of them is replaced.
    names = [name for name in ("stdout", "stderr") if _same_terminal(getattr(sys, name), stream)]
    for handler in _stream_handlers():
        if _same_terminal(handler.stream, stream):
            handlers.append((handler, capture(handler.stream)))
            handler.setStream(handlers[-1][1])
    for name in names:
        setattr(sys, name, capture(getattr(sys, name)))
    try:
        yield
    finally:
        for capturing in captured.values():
            capturing.show_rest()
        # A stream that other code has put there in the meantime stays.
        for name in names:
            if isinstance(current := getattr(sys, name), CapturedStream):
                setattr(sys, name, current.original)
        for handler, capturing in handlers:
            if handler.stream is capturing:
                handler.setStream(capturing.original)


def _stream_handlers() -> list[logging.StreamHandler[Any]]:
    loggers = [logging.getLogger(), *logging.Logger.manager.loggerDict.values()]
    found = {
        id(handler): handler
        for logger in loggers
        if isinstance(logger, logging.Logger)
        for handler in logger.handlers
    }
    return [handler for handler in found.values() if isinstance(handler, logging.StreamHandler)]


def _same_terminal(one: Any, other: TextIO) -> bool:
    if one is other:
        return True
    try:
        return bool(one.isatty() and other.isatty())
    except (AttributeError, ValueError):  # no stream, or a closed one
        return False
