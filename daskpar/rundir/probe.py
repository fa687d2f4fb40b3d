"""Checks that every node reaches the run directory: one node writes a file there, the others read it."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

from daskpar import atomic

PATIENCE_SECONDS = 10.0
"""Network file systems show a new file to other machines only after a while."""


def write_probe(run_directory: str, token: str) -> str:
    """Write the file that the other nodes look for; runs on one node.

    Returns what is wrong, in one sentence, or an empty text.
    """
    path = _path(run_directory, token)
    try:
        if not os.path.isfile(os.path.join(run_directory, "run.json")):
            return f"{socket.gethostname()} does not see the run directory {run_directory}. {_ADVICE}"
        with atomic.open_new(path) as fd:
            atomic.write_all(fd, token.encode())
            os.fsync(fd)
    except OSError as error:
        return (
            f"{socket.gethostname()} can't write in the run directory "
            f"{run_directory}: {error.strerror}. {_ADVICE}"
        )
    return ""


def read_probe(run_directory: str, token: str, patience: float = PATIENCE_SECONDS) -> str:
    """Look for the file of `write_probe`; runs on every other node, the driver included.

    Returns what is wrong, in one sentence, or an empty text.
    """
    end = time.monotonic() + patience
    while True:
        try:
            if _path(run_directory, token).read_text() == token:
                return ""
        except OSError:
            pass
        if time.monotonic() >= end:
            return (
                f"{socket.gethostname()} does not see in {run_directory} what "
                f"another node has written there. {_ADVICE}"
            )
        time.sleep(0.1)


def clear_probe(run_directory: str, token: str) -> None:
    """Take the file away again."""
    _path(run_directory, token).unlink(missing_ok=True)


def _path(run_directory: str, token: str) -> Path:
    return Path(run_directory) / f".probe-{token}"


_ADVICE = (
    "The run directory must lie on a file system that all nodes share, at the "
    "same path: choose one with --run-dir."
)
