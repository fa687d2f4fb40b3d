"""A tiny process beside each fork server, which ends what the server leaves behind when it is killed itself.

The kernel kills the children of a fork server with it, but not what scripts have started in sessions of
their own. All of these have the server's mark in their environment, and the guardian, which sleeps until the
server or its node has gone, looks for it. It removes their temporary files as well.
"""

from __future__ import annotations

import os
import select

from daskpar.processor import leftovers, linux

GRACE_SECONDS = 5.0
"""What a fork server gets to end in order once its node is gone; one that is stopped never would."""


def start(mark: str, server_socket: int, node: int = 0) -> int:
    """Fork the guardian of this process; the descriptor that this process must keep, and its children must
    close.

    `mark`: NAME=value, as in the environment of all below; `node`: process of the server's node, 0 where that
    is the parent. Returns -1 where there is nothing to look for it in.
    """
    if not os.path.isdir("/proc/self") or not hasattr(os, "pidfd_open"):
        return -1
    server = os.getpid()
    # Opened before there is a guardian: by the time that one runs, the node may have gone.
    watched = _opened(node or os.getppid())
    alive, held = os.pipe()
    os.set_inheritable(held, False)
    try:
        pid = os.fork()
    except OSError:
        _close(alive, held, watched)
        return -1
    if pid:
        _close(alive, watched)
        return held
    try:
        os.setsid()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2, server_socket):
            os.dup2(nowhere, fd)
        os.close(held)
        _watch(alive, server, watched)
        linux.kill_marked(mark)
        leftovers.remove_server_folder(mark)
    finally:
        os._exit(0)


def _opened(pid: int) -> int:
    """A descriptor that tells when a process ends; -1 where it has ended, or can't be watched."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        return -1


def _close(*descriptors: int) -> None:
    for fd in descriptors:
        if fd >= 0:
            os.close(fd)


def _watch(alive: int, server: int, node: int) -> None:
    """Return when the server has gone; end it when its node has gone and it does not follow.

    `node`: as from `_opened`. Without one, only the server is waited for: it sees the end of its node itself.
    """
    ready, _, _ = select.select([alive] if node < 0 else [alive, node], [], [])
    if alive not in ready and not select.select([alive], [], [], GRACE_SECONDS)[0]:
        linux.kill_group(server)
        select.select([alive], [], [], GRACE_SECONDS)
