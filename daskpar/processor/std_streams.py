"""Standard output and standard error of a child process: to files of its own, and written without raising."""

from __future__ import annotations

import io
import os
import re
import sys
from pathlib import Path
from typing import TextIO

from daskpar.masking import hidden
from daskpar.own_calls import OWN


def redirect(path: str | Path, target: int) -> None:
    """Make file descriptor `target` append to the file at `path`; its folder is made."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    os.dup2(fd, target)
    os.close(fd)


def text_stream(fd: int) -> TextIO:
    """A text stream that keeps nothing back, as that of `python -u`.

    Prints keep their order with what C code and child processes write, and the half line before a kill or a
    crash, which often says most, is not lost with the process.
    """
    raw = os.fdopen(fd, "wb", buffering=0, closefd=False)
    return io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", write_through=True)


def write_stderr(text: str) -> None:
    """Write a line to standard error; never raises."""
    # Past `sys.stderr`, which is the script's to replace; after what it holds.
    flush_streams()
    try:
        OWN.write(2, f"{hidden(text)}\n".encode(errors="backslashreplace"))
    except OSError:
        pass  # a full disk, or a script that has closed it: the text is in the failure too


OUR_MARK = "daskpar: mini-batch "
"""How what we write of a failure into a script's log begins; scripts print lines on mini-batches, too."""


def failure_in_log(where: str, message: str, trace: str) -> str:
    """A failure for the log of the script, in which only its end is an empty line.

    `where`: the mini-batch, from its number on.
    """
    text = f"{OUR_MARK}{where}: {message}\n{trace}".rstrip("\n")
    return re.sub(r"\n(?=\n)", "\n ", text) + "\n"


def log_sizes() -> tuple[int, int] | None:
    """Bytes of the files that stdout and stderr go to, all that was printed included; None for no files."""
    flush_streams()
    try:
        return OWN.fstat(1).st_size, OWN.fstat(2).st_size
    except OSError:  # closed by the script
        return None


def flush_streams() -> None:
    """Write out what has been printed; never raises.

    A stream that is not Python's own but a script's class is left to the script: it may raise anything, or
    hang.
    """
    for stream in (getattr(sys, "stdout", None), getattr(sys, "stderr", None)):
        if type(stream) is io.TextIOWrapper:
            try:
                stream.flush()
            except BaseException:  # closed; or what lies below it is a script's
                pass
