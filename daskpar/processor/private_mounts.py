"""Makes folders read-only for one process and all that it starts, by mounts that nobody else sees.

The process gets a mount namespace of its own (mount_namespaces(7)), which ends with the last process in it:
nothing stays mounted. That takes the right to mount. An ordinary user would need a user namespace first, in
which files of others belong to `nobody`, `sudo` fails and groups have no names: scripts would no longer see
themselves as they are, so there it is not done.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import threading
from collections.abc import Iterable, Iterator

from daskpar.processor import linux
from daskpar.value_classes import frozen

_CLONE_NEWNS = 0x20000
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 0x40000
_SYS_MOUNT_SETATTR = 442
"""The same on all machines; Linux 5.12 and newer."""
_AT_FDCWD, _AT_RECURSIVE, _MOUNT_ATTR_RDONLY = -100, 0x8000, 1


@frozen(kw_only=True)
class Guard:
    """What is read-only for a process and its children, and what in there is not."""

    read_only: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()
    """Folders that may lie below those."""

    def apply(self) -> None:
        """Make it so for this process, which must have one thread and change its folder afterwards.

        OSError where the kernel refuses.
        """
        steps = list(self.steps())
        if not steps:
            return
        _own_namespace()
        for path, read_only in steps:
            _bind(path)
            _set_read_only(path, read_only)

    def steps(self) -> Iterator[tuple[str, bool]]:
        """Real path and whether it becomes read-only, from the top down; writable ones only inside others."""
        read_only = _real(self.read_only)
        writable = _real(self.writable) - read_only
        for path in sorted(read_only | writable):
            above = [other for other in read_only | writable if path.startswith(f"{other}/")]
            nearest = max(above, key=len, default="")
            if path in read_only or nearest in read_only:
                yield path, path in read_only


NO_GUARD = Guard()
"""Nothing is read-only."""


def _real(paths: Iterable[str]) -> set[str]:
    # What is not there can't be changed either; whoever reads it says so.
    return {os.path.realpath(path) for path in paths if os.path.exists(path)}


@functools.cache
def can_mount() -> bool:
    """Whether `Guard.apply` works here, for the processes that this one starts: it is tried once.

    In a thread, whose own namespace ends with it.
    """
    if sys.platform != "linux" or linux.LIBC is None:
        return False
    found = []

    def attempt() -> None:
        here = os.path.dirname(os.path.abspath(__file__))
        try:
            _own_namespace()
            _bind(here)
            _set_read_only(here, True)
            found.append(bool(os.statvfs(here).f_flag & os.ST_RDONLY))
        except OSError:
            pass

    thread = threading.Thread(target=attempt, name="daskpar-try-mounts")
    thread.start()
    thread.join()
    return any(found)


def _own_namespace() -> None:
    assert linux.LIBC is not None
    _check(linux.LIBC.unshare(_CLONE_NEWNS), "a mount namespace")
    # Else what is mounted here would spread to the namespace that this one was copied from.
    _check(linux.LIBC.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None), "/")


def _bind(path: str) -> None:
    assert linux.LIBC is not None
    name = os.fsencode(path)
    _check(linux.LIBC.mount(name, name, None, _MS_BIND | _MS_REC, None), path)


class _Attributes(ctypes.Structure):
    """struct mount_attr of mount_setattr(2)."""

    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def _set_read_only(path: str, read_only: bool) -> None:
    """Only this attribute: those that the file system was mounted with (nosuid, noexec) stay."""
    assert linux.LIBC is not None
    change = (
        _Attributes(_MOUNT_ATTR_RDONLY, 0, 0, 0) if read_only else _Attributes(0, _MOUNT_ATTR_RDONLY, 0, 0)
    )
    flags = _AT_RECURSIVE if read_only else 0  # what is mounted below the input is read-only as well
    _check(
        linux.LIBC.syscall(
            ctypes.c_long(_SYS_MOUNT_SETATTR),
            ctypes.c_long(_AT_FDCWD),
            ctypes.c_char_p(os.fsencode(path)),
            ctypes.c_long(flags),
            ctypes.byref(change),
            ctypes.c_size_t(ctypes.sizeof(change)),
        ),
        path,
    )


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)
