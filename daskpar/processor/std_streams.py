"""Standard output and standard error of a child process: to files of its own, and written without raising."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TextIO

from daskpar.masking import hidden


def redirect(path: str | Path, target: int) -> None:
    """Make file descriptor `target` append to the file at `path`; its folder is made."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    os.dup2(fd, target)
    os.close(fd)


def text_stream(fd: int) -> TextIO:
    """A text stream that writes each line at once."""
    return os.fdopen(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def write_stderr(text: str) -> None:
    """Write a line to standard error; never raises."""
    try:
        print(hidden(text), file=sys.stderr, flush=True)
    except (OSError, ValueError, AttributeError):
        pass  # a full disk, or a script that has closed or replaced it: the text is in the failure too


def flush_streams() -> None:
    """Write out what has been printed; never raises."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass  # a script may have closed or replaced it
