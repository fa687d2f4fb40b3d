"""What others write to the terminal while lines are redrawn on it: it is said above those lines, and nothing
of it is lost.
"""

from __future__ import annotations

import io
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO


class Beside(io.TextIOBase):
    """Stands in for a terminal stream: whole lines go to `say`, a line's beginning waits for its end.

    Everything but writing is the stream's own (`fileno` for faulthandler, `encoding`, ...).
    """

    def __init__(self, stream: TextIO, say: Callable[[str], None]) -> None:
        self._stream = stream
        self._say = say
        self._begun = ""
        self._lock = threading.RLock()

    def write(self, text: str) -> int:
        with self._lock:
            *lines, self._begun = (self._begun + text).split("\n")
        if lines:
            self._say("\n".join(lines))
        return len(text)

    def rest(self) -> str:
        """What has no line end yet."""
        with self._lock:
            rest, self._begun = self._begun, ""
        return rest

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    def close(self) -> None:
        """The terminal is not ours to close."""


@contextmanager
def written_beside(stream: TextIO, say: Callable[[str], None]) -> Iterator[None]:
    """While it lasts, `sys.stderr`, `sys.stdout` and log handlers that write to the same terminal as `stream`
    write by way of `say`.
    """
    changed: list[tuple[Any, Beside]] = []
    stands_in: dict[int, Beside] = {}

    def stand_in(original: TextIO) -> Beside:
        return stands_in.setdefault(id(original), Beside(original, say))

    names = [name for name in ("stdout", "stderr") if _same_terminal(getattr(sys, name), stream)]
    for handler in _stream_handlers():
        if _same_terminal(handler.stream, stream):
            beside = stand_in(handler.stream)
            changed.append((handler, beside))
            handler.setStream(beside)
    for name in names:
        setattr(sys, name, stand_in(getattr(sys, name)))
    try:
        yield
    finally:
        for beside in stands_in.values():
            if rest := beside.rest():
                say(rest)
        for name in names:
            if isinstance(here := getattr(sys, name), Beside):
                setattr(sys, name, here._stream)
        for handler, beside in changed:
            if handler.stream is beside:
                handler.setStream(beside._stream)


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
