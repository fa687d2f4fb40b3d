"""How log files are written: text is added to a file in one write, or a small file is replaced as a whole."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from daskpar import atomic
from daskpar.masking import hidden
from daskpar.reports.wording import log_line

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
"""From the least to the most severe."""


def append(path: Path, text: str) -> None:
    """Add text to a log file in one write, making its folder where needed.

    Nothing is held open between two calls: a run has thousands of these files.
    """
    data = hidden(text).encode("utf-8", "backslashreplace")  # names of files that are no text
    try:
        handle = path.open("ab", buffering=0)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("ab", buffering=0)
    with handle:
        handle.write(data)


def replace(path: Path, text: str) -> None:
    """Write a whole small file, so that a reader sees the old or the new one.

    Unlike `atomic.replace_file` it does not wait for the disk: logs need not outlast a power cut, and the job
    must not wait for them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic.writing(path, durable=False) as fd:
        atomic.write_all(fd, hidden(text).encode("utf-8", "backslashreplace"))


class SystemLog:
    """Writes lines of the driver's own into files of `sys/`; those less severe than `level` are left out."""

    def __init__(self, level: str) -> None:
        self.level = level
        """One of `LEVELS`."""

    def write(self, path: Path, now: float, level: str, *texts: str) -> None:
        """Add a line for each text, with the time `now` (seconds since the epoch)."""
        if LEVELS.index(level) >= LEVELS.index(self.level):
            who = (os.getpid(), threading.get_ident())
            append(path, "".join(log_line(now, level, *who, text) for text in texts))
