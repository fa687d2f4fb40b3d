"""Temporary folders of nodes, each held by a lock: one that nobody holds was left behind, and goes.

A node that is killed together with all that cleans up after it, or whose machine goes down, leaves its
folder. The next one that makes a folder of the kind there removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable

LOCK = ".lock"
"""File in each folder, locked as long as the folder is wanted."""


def new_held_folder(base: str, prefix: str, remove: Callable[[str], object]) -> tuple[str, int]:
    """Make a folder below `base`: its path, and the descriptor that holds it until it is closed.

    Those of the same `prefix` that nobody holds are removed first, by `remove`. OSError where none can be
    made.
    """
    _remove_left(base, prefix, remove)
    folder = tempfile.mkdtemp(prefix=prefix, dir=base)
    lock = os.open(f"{folder}/{LOCK}.new", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.rename(f"{folder}/{LOCK}.new", f"{folder}/{LOCK}")  # seen once it is held
    return folder, lock


def _remove_left(base: str, prefix: str, remove: Callable[[str], object]) -> None:
    with contextlib.suppress(OSError):
        for name in os.listdir(base):
            if name.startswith(prefix):
                _remove_if_left(os.path.join(base, name), remove)


def _remove_if_left(folder: str, remove: Callable[[str], object]) -> None:
    with contextlib.suppress(OSError):
        lock = os.open(f"{folder}/{LOCK}", os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove(folder)
        finally:
            os.close(lock)


def remove_folder(folder: str) -> None:
    """Remove a folder in which scripts may have taken rights away."""
    for each, _, _ in os.walk(folder):
        with contextlib.suppress(OSError):
            os.chmod(each, 0o700)
    shutil.rmtree(folder, ignore_errors=True)
