"""System functions for code of ours that runs in the process of a script, held where no patch reaches them.

Scripts freeze clocks, put a fake file system in the place of `os`, make sockets "cooperative", and they do it
by assigning to names in modules, those of every loaded module included. What is an attribute of a class stays
as it was when this module was imported, which is before any script.
"""

from __future__ import annotations

import _socket
import fcntl
import os
import pickle
import resource
import sys
import time
from typing import Any


class _OwnCalls:
    """Each is the function of that name in the standard library; `wall_clock` is `time.time`."""

    __slots__ = ()

    monotonic = staticmethod(time.monotonic)
    process_time = staticmethod(time.process_time)
    wall_clock = staticmethod(time.time)
    sleep = staticmethod(time.sleep)

    close = staticmethod(os.close)
    exit = staticmethod(os._exit)
    fchmod = staticmethod(os.fchmod)
    fstat = staticmethod(os.fstat)
    ftruncate = staticmethod(os.ftruncate)
    get_inheritable = staticmethod(os.get_inheritable)
    getpid = staticmethod(os.getpid)
    lseek = staticmethod(os.lseek)
    open = staticmethod(os.open)
    stat = staticmethod(os.stat)
    write = staticmethod(os.write)
    lockf = staticmethod(fcntl.lockf)
    lstat = staticmethod(os.lstat)
    mkdir = staticmethod(os.mkdir)
    read = staticmethod(os.read)
    rename = staticmethod(os.rename)
    rmdir = staticmethod(os.rmdir)
    scandir: Any = staticmethod(os.scandir)
    unlink = staticmethod(os.unlink)
    fcntl = staticmethod(fcntl.fcntl)
    getrlimit = staticmethod(resource.getrlimit)
    setrlimit = staticmethod(resource.setrlimit)

    getrecursionlimit = staticmethod(sys.getrecursionlimit)
    setrecursionlimit = staticmethod(sys.setrecursionlimit)
    dumps = staticmethod(pickle.dumps)
    loads = staticmethod(pickle.loads)
    # Of the type in C: a script may give the class in Python other methods.
    sendall: Any = staticmethod(_socket.socket.sendall)
    recv: Any = staticmethod(_socket.socket.recv)


OWN = _OwnCalls()

HIGHEST, ROOM = 1024, 24
"""Descriptors that `moved_up` gives lie so far below 1024, or below the limit where that is lower: out of
the way of programs that count on low numbers, and never the next free one when one of them has been
closed.
"""


def moved_up(fd: int) -> int:
    """The same file under a high number, not inherited by programs; `fd` is closed."""
    soft, _ = OWN.getrlimit(resource.RLIMIT_NOFILE)
    lowest = max(3, min(soft if soft > 0 else HIGHEST, HIGHEST) - ROOM)
    try:
        high: int = OWN.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, lowest)
    except OSError:
        return fd  # a limit that a script has lowered
    OWN.close(fd)
    return high
