"""Which processes of this machine run in an environment."""

from __future__ import annotations

import os


def users_of(prefix: str) -> list[int]:
    """Processes that were started from the environment in `prefix`, activated in it, or told to work on it.

    Those of other users are not seen, nor any where there is no `/proc`.
    """
    inside, place = os.fsencode(os.path.join(prefix, "")), os.fsencode(prefix)
    found = []
    for pid in _processes():
        if pid == os.getpid():
            continue
        named = any(part == place or part.startswith(inside) for part in _parts(pid, "cmdline"))
        if named or any(_on_path(part, inside) for part in _parts(pid, "environ")):
            found.append(pid)
    return found


def _on_path(variable: bytes, inside: bytes) -> bool:
    name, _, value = variable.partition(b"=")
    return name == b"PATH" and any(folder.startswith(inside) for folder in value.split(b":"))


def _processes() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []


def _parts(pid: int, what: str) -> list[bytes]:
    try:
        with open(f"/proc/{pid}/{what}", "rb") as file:
            return file.read().split(b"\0")
    except OSError:
        return []  # it has ended, or is somebody else's
