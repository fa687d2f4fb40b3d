"""The few kernel calls that Python has no name for, and ways to kill processes with all that they started.

Elsewhere than on Linux the calls do nothing, and process groups have to do.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import tempfile
from collections.abc import Iterable
from time import monotonic, sleep

TRACKER_SECONDS = 1.0
"""What a resource tracker gets to remove the shared memory of killed processes, while a successor waits for
it; it takes some ms.
"""
LAST_TRACKER_SECONDS = 5.0
"""The same where nothing waits: on a busy machine one that has just been started may take a second."""
_LOOKS = 20
"""At a process whose threads end meanwhile."""
_PDEATHSIG, _SET_CHILD_SUBREAPER = 1, 36
LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(parent: int) -> None:
    """Be killed when the parent dies; at once when it has died already."""
    # PR_SET_PDEATHSIG (prctl(2)); a parent that died before the call is noticed by its number.
    if LIBC is not None:
        LIBC.prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


def become_subreaper() -> None:
    """Inherit orphaned descendants, so that none can slip away."""
    if LIBC is not None:
        LIBC.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def prefer_for_oom_kill() -> None:
    """Let the kernel, short of memory, kill this process before others."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("500")
    except OSError:
        pass


def anonymous_file(name: str) -> int:
    """A file that no file system shows, close-on-exec; it is gone when nobody has it open."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name, os.MFD_CLOEXEC)
    fd, path = tempfile.mkstemp()
    os.unlink(path)
    return fd


def wait_for_end(pid: int, seconds: float) -> None:
    """Wait until a child has ended, up to so many seconds; not at all where the kernel does not tell."""
    try:
        fd = os.pidfd_open(pid)
    except (AttributeError, OSError):
        return
    try:
        look = select.poll()
        look.register(fd, select.POLLIN)
        look.poll(seconds * 1000)
    finally:
        os.close(fd)


def children_of(pid: int) -> list[int]:
    """Direct children; none for a process that is gone."""
    found: list[int] = []
    for _ in range(_LOOKS):
        found, threads_ended = [], False
        try:
            threads = os.listdir(f"/proc/{pid}/task")
        except OSError:
            return []
        for thread in threads:
            try:
                with open(f"/proc/{pid}/task/{thread}/children") as file:
                    found += map(int, file.read().split())
            except OSError:  # its children are another thread's by now, perhaps of one that was looked at
                threads_ended = True
        if not threads_ended:
            break
    return found


def descendants_of(pid: int) -> list[int]:
    """Children, their children and so on, as of now, in whatever sessions and groups."""
    found = children_of(pid)
    for child in found:
        found += children_of(child)  # grows while it is walked
    return found


def trackers_among(pids: Iterable[int]) -> set[int]:
    """Those processes that are resource trackers, of Python's multiprocessing or of joblib.

    A tracker removes the shared memory and the semaphores of its processes once all of these have ended, and
    ends: it alone knows what is theirs, so it must not be killed with them.
    """
    found = set()
    for pid in pids:
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if b"resource_tracker import main" in file.read(4096):
                    found.add(pid)
        except OSError:
            pass
    return found


def kill(pid: int) -> None:
    """SIGKILL one process, if it is there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def kill_group(pid: int) -> None:
    """SIGKILL the process group that `pid` leads, and `pid`; nothing when `pid` is 0."""
    if pid <= 0:  # not known yet; to kill(2), 0 means our own group
        return
    for kill in (os.killpg, os.kill):
        try:
            kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass


def kill_marked(mark: str) -> None:
    """SIGKILL every process of this user that was started with `mark` (NAME=value) in its environment,
    wherever it has gone, until none is left; resource trackers after `LAST_TRACKER_SECONDS`.
    """
    end = monotonic() + LAST_TRACKER_SECONDS
    rounds = 20  # one that forks just then has a child the next time
    while rounds:
        found = {pid for pid in _processes() if _has_mark(pid, mark.encode())}
        spared = trackers_among(found) if monotonic() < end else set()
        for pid in found - spared:
            kill(pid)
        if not found:
            return
        if found == spared:
            sleep(0.01)
        else:
            rounds -= 1


def _processes() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]
    except OSError:
        return []  # elsewhere than on Linux


def _has_mark(pid: int, mark: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return mark in file.read().split(b"\0")
    except OSError:
        return False


def kill_tree(pid: int) -> None:
    """SIGKILL `pid`, its group and every descendant, those in sessions of their own included.

    Resource trackers stay until they have done their work (see `trackers_among`); their fork server sees to
    that. Daemons have left the tree and stay; they end with the fork server.
    """
    if pid <= 0:
        return
    below = descendants_of(pid)
    spared = trackers_among(below)
    if spared:
        kill(pid)
    else:
        kill_group(pid)
    for child in below:
        if child not in spared:
            kill(child)


def members_of_group(group: int, below: int) -> list[int]:
    """Descendants of process `below` that are in the process group `group`."""
    found = []
    for pid in descendants_of(below):
        try:
            if os.getpgid(pid) == group:
                found.append(pid)
        except OSError:
            pass
    return found
