"""What our code in a script's process stands on, and how it is put right where the script has changed it.

Descriptors, limits and loaded modules belong to the whole process: a script may close, lower or unload them
for reasons of its own. What can be mended is mended while our code runs; where it can't be, the processor
ends.
"""

from __future__ import annotations

import resource
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from daskpar.own_calls import OWN

DEPTH = 400
"""Calls within calls that our code may need (pickle, the readers of tables)."""
LOST_DESCRIPTORS = 121
"""Exit code of a processor whose descriptors have been closed."""
LOST_LIMITS = 122
"""Exit code of one that can't write any more because of a limit that its script has set."""
_LIMITS = (resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE)


class OwnGround:
    """Taken down before the script is imported. `sock`: the control socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._fd = sock.fileno()
        self._file = self._identity()
        self._limits = {kind: OWN.getrlimit(kind) for kind in _LIMITS}
        self._modules: dict[str, object] = {}

    def check(self) -> None:
        """End this process where the control socket is another file by now: nothing must be written there."""
        try:
            whole = self._identity() == self._file
        except OSError:
            whole = False
        if not whole:
            OWN.exit(LOST_DESCRIPTORS)

    def _identity(self) -> tuple[int, int]:
        found = OWN.fstat(self._fd)
        return found.st_dev, found.st_ino

    def lowered_limits(self) -> bool:
        """Whether the script has lowered a limit of files for good."""
        return any(OWN.getrlimit(kind)[1] != hard for kind, (_, hard) in self._limits.items())

    def restore_modules(self) -> None:
        """Put our modules back where a script has unloaded them: pickle looks classes up there."""
        modules = sys.modules
        for name, module in self._modules.items():
            if modules.get(name) is not module:
                modules[name] = module  # type: ignore[assignment]

    def remember_modules(self) -> None:
        """Those that are loaded now are the ones to put back."""
        self._modules = {
            name: module for name, module in sys.modules.items() if name.partition(".")[0] == "daskpar"
        }

    @contextmanager
    def restored(self) -> Iterator[None]:
        """While it lasts, our code has its modules, the limits of before and room for calls within calls."""
        self.restore_modules()
        depth = OWN.getrecursionlimit()
        if depth < DEPTH:
            OWN.setrecursionlimit(DEPTH)
        changed = {}
        for kind, (soft, _) in self._limits.items():
            now = OWN.getrlimit(kind)
            if now[0] != soft:
                changed[kind] = now
                OWN.setrlimit(kind, (_lower(soft, now[1]), now[1]))
        try:
            yield
        finally:
            for kind, before in changed.items():
                OWN.setrlimit(kind, before)
            if depth < DEPTH:
                try:
                    OWN.setrecursionlimit(depth)
                except RecursionError:
                    pass


def _lower(one: int, other: int) -> int:
    """The lower one of two limits; RLIM_INFINITY is -1."""
    if one == resource.RLIM_INFINITY:
        return other
    return one if other == resource.RLIM_INFINITY else min(one, other)
