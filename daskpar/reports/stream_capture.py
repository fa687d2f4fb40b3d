"""Catches what others write to the terminal while lines are redrawn on it, so that it is shown above them."""

from __future__ import annotations

import io
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO
from weakref import WeakValueDictionary


class CapturedStream(io.TextIOBase):
    """Stands in for a terminal stream: whole lines go to the newest of those who show them, a line's
    beginning waits for its end.

    Several runs of a process may show them at once, and end in any order. Where there is nobody any more, all
    goes to the stream itself: code that began meanwhile may write here for good. Everything but writing is
    the stream's own (`fileno` for faulthandler, `encoding`, ...).
    """

    def __init__(self, stream: TextIO) -> None:
        self.original = stream
        self._shows: tuple[Callable[[str], None], ...] = ()
        self._begun = ""
        # Reentrant: a signal handler may print in the middle of `write`.
        self._lock = threading.RLock()

    def write(self, text: str) -> int:
        with self._lock:
            show = self._shows[-1] if self._shows else None
            lines: list[str] = []
            if show is not None:
                *lines, self._begun = (self._begun + text).split("\n")
        if show is None:
            return self.original.write(text)
        if lines:
            show("\n".join(lines))
        return len(text)

    def flush(self) -> None:
        if not self._shows:
            self.original.flush()

    def add(self, show: Callable[[str], None]) -> None:
        """From now on lines go to `show`."""
        with self._lock:
            self._shows += (show,)

    def remove(self, show: Callable[[str], None]) -> bool:
        """Lines go to the others; whether there are any.

        The newest is shown a last line that has no line break yet.
        """
        rest = ""
        with self._lock:
            if self._shows[-1] is show:
                rest, self._begun = self._begun, ""
            self._shows = left = tuple(each for each in self._shows if each is not show)
        if rest:
            show(rest)
        return bool(left)

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


_captured: WeakValueDictionary[int, CapturedStream] = WeakValueDictionary()
"""Id of a terminal stream -> what stands in for it, or did and is still held by somebody."""
_lock = threading.Lock()
"""Held while streams are replaced. Not while they are written to: who shows lines may have locks too."""


def original_of(stream: TextIO) -> TextIO:
    """The stream itself, where `stream` stands in for it: for those who redraw lines on it."""
    return stream.original if isinstance(stream, CapturedStream) else stream


@contextmanager
def captured_streams(stream: TextIO, show: Callable[[str], None]) -> Iterator[None]:
    """While it lasts, what is written to the same terminal as `stream` goes to `show`, line by line, unless
    another capture of it began later.

    Captured are `sys.stderr`, `sys.stdout` and the streams of log handlers; nothing is lost at the end.
    """

    def showing(text: str) -> None:  # one of its own for each capture
        show(text)

    with _lock:
        captured = _replace(original_of(stream))
        for capturing in captured:
            capturing.add(showing)
    try:
        yield
    finally:
        with _lock:
            for capturing in captured:
                if not capturing.remove(showing):
                    _restore(capturing)


def _replace(stream: TextIO) -> list[CapturedStream]:
    """Put what stands in for it in the place of each stream on the same terminal."""
    captured: dict[int, CapturedStream] = {}

    def capture(original: TextIO) -> CapturedStream:
        found = _captured.get(id(original))
        if found is None:
            found = _captured[id(original)] = CapturedStream(original)
        return captured.setdefault(id(original), found)

    # Which streams are terminals is looked at before any of them is replaced.
    names = {name: original_of(getattr(sys, name)) for name in ("stdout", "stderr")}
    names = {name: original for name, original in names.items() if _same_terminal(original, stream)}
    for handler in _stream_handlers():
        original = original_of(handler.stream)
        if _same_terminal(original, stream):
            handler.setStream(capture(original))
    for name, original in names.items():
        setattr(sys, name, capture(original))
    return list(captured.values())


def _restore(capturing: CapturedStream) -> None:
    """Put the stream itself in its places; one that other code has put there in the meantime stays."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is capturing:
            setattr(sys, name, capturing.original)
    for handler in _stream_handlers():
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
