"""How commands say something: text that can't steer the terminal, in colour where wanted, or JSON."""

from __future__ import annotations

import errno
import json
import os
import select
import sys
from typing import TextIO

from daskpar.errors import DaskparError
from daskpar.masking import hidden
from daskpar.printable import printable

JSON_VERSION = 1
"""Of the shapes that `--json` prints: in the same version keys may be added, none is changed or removed."""


def say(text: str, stream: TextIO | None = None) -> None:
    """Print a text, on the output if not said otherwise; all commands do it here.

    It can't steer the terminal. A reader that has gone (`| head`, a closed terminal) changes no exit code,
    nor do errors that can't be written. Raises DaskparError where output can't be written.
    """
    stream = stream or sys.stdout
    write(_painted(printable(text), stream) + "\n", stream)


def say_json(value: dict[str, object]) -> None:
    """Print a value as JSON, on one line in a pipe and indented on a terminal."""
    whole = _without_secrets({"version": JSON_VERSION, **value})
    indent = 2 if sys.stdout.isatty() else None
    write(json.dumps(whole, indent=indent, ensure_ascii=True, default=_as_text) + "\n", sys.stdout)


def _as_text(value: object) -> str:
    """What JSON has no form for, such as a path."""
    return hidden(str(value))


def _without_secrets(value: object) -> object:
    if isinstance(value, dict):
        return {name: _without_secrets(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_secrets(each) for each in value]
    return hidden(value) if isinstance(value, str) else value


def write(text: str, stream: TextIO) -> None:
    """Write a text as it is; as for `say`."""
    try:
        try:
            stream.write(text)
        except UnicodeEncodeError:
            from daskpar.reports.colour import simpler_signs

            code = stream.encoding or "ascii"
            stream.write(simpler_signs(text).encode(code, "backslashreplace").decode(code))
        stream.flush()
    except OSError as error:
        # What the stream still holds goes nowhere, else Python would complain when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        _left.add(stream.fileno())
        if stream is not sys.stderr and error.errno not in (errno.EPIPE, errno.EIO):
            raise DaskparError(f"its output could not be written: {error.strerror}") from error


def is_gone(stream: TextIO) -> bool:
    """Whether nobody reads any more what is written there: a write has said so (see `write`), or the other
    end of the pipe is closed. What goes to /dev/null was never meant to be read.
    """
    try:
        fd = stream.fileno()
    except (OSError, ValueError):
        return False
    if fd in _left:
        return True
    ends = select.poll()
    ends.register(fd, 0)
    return any(what & (select.POLLERR | select.POLLHUP) for _, what in ends.poll(0))


_left: set[int] = set()
"""Descriptors whose readers have gone; they lead nowhere now."""


def report(error: DaskparError) -> int:
    """Print what went wrong; the exit code that stands for it."""
    say(f"daskpar: {error}", sys.stderr)
    return error.exit_code


def _painted(text: str, stream: TextIO) -> str:
    if not (os.environ.get("FORCE_COLOR") or stream.isatty()):
        return text
    from daskpar.reports.colour import coloured, wants_colour

    return coloured(text) if wants_colour(stream) else text
