"""The lock of a run directory: held by the driver's process alone, gone with it, however it ends."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import pwd
import socket
import threading
import time
from pathlib import Path

from daskpar import atomic
from daskpar.errors import RunDirectoryError

_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}

_Key = tuple[int, int, int]
_held: set[_Key] = set()
"""What this process holds, for file systems without locks: what the file says is no help among threads."""
_of_held = threading.Lock()


class Lock:
    """An flock on the file `lock`, which holds the name of its holder.

    Its descriptor is close-on-exec: no child process inherits it.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @classmethod
    def take(cls, folder: Path, advice: str = atomic.ADVICE) -> Lock:
        """Lock the run directory `folder`; RunDirectoryError names the holder when it is in use.

        `advice`: what to do where the disk refuses.
        """
        while True:
            with atomic.explained(f"The run directory {folder} can't be locked", advice):
                fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
            try:
                _lock(fd, folder)
            except BaseException:
                os.close(fd)
                raise
            lock = cls(fd)
            try:
                # Who had it may have removed the run: the next one would lock another file.
                if _is_at(folder / "lock", fd):
                    with atomic.explained(f"The run directory {folder} can't be locked"):
                        os.ftruncate(fd, 0)
                        atomic.write_all(fd, _who().encode())
                    return lock
            except BaseException:
                lock.release()
                raise
            lock.release()

    def release(self) -> None:
        """Give the run directory free; may be called twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with _of_held:
                _held.discard(_key(fd))
            os.close(fd)


def holder(folder: Path) -> str | None:
    """Who uses the run directory now, readable; None when nobody does."""
    try:
        fd = os.open(folder / "lock", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        is_free = error.errno in _UNSUPPORTED and not _is_held_here(fd) and not _still_runs(fd)
        return None if is_free else _readable(fd)
    finally:
        os.close(fd)
    return None


def _lock(fd: int, folder: Path) -> None:
    for patience in (0.05, 0.1, 0.2, 0.0):
        if _try_lock(fd):
            return
        time.sleep(patience)  # `holder` locks it for a moment to look
    raise RunDirectoryError(
        f"The run directory {folder} is in use by {_readable(fd)}. Wait until "
        "that ends, or use another run directory (--run-dir, run_dir in Python)."
    )


def _try_lock(fd: int) -> bool:
    with _of_held:
        if _key(fd) in _held:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _UNSUPPORTED or _still_runs(fd):
                return False
            # a file system without locks: what the file says has to do
        _held.add(_key(fd))
        return True


def _is_held_here(fd: int) -> bool:
    with _of_held:
        return _key(fd) in _held


def _key(fd: int) -> _Key:
    """The file, and this process: a child that was forked holds nothing."""
    found = os.fstat(fd)
    return os.getpid(), found.st_dev, found.st_ino


def _is_at(path: Path, fd: int) -> bool:
    """Whether an open file is still the one at `path`."""
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(fd))
    except FileNotFoundError:
        return False


def _who() -> str:
    return (
        json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "user": _user(), "since": time.time()})
        + "\n"
    )


def _user() -> str:
    """The name of this process's user, in words where it has none (in a container)."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return os.environ.get("USER") or f"user {os.getuid()}"


def _holder_facts(fd: int) -> dict[str, object]:
    try:
        value = json.loads(os.pread(fd, 4096, 0) or b"{}")
    except ValueError:
        return {}  # just being written
    return value if isinstance(value, dict) else {}


def _readable(fd: int) -> str:
    facts = _holder_facts(fd)
    if "pid" not in facts:
        return "another process"
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(str(facts.get("since", 0)))))
    return f"process {facts['pid']} of {facts.get('user', '?')} on {facts.get('host', '?')} since {since}"


def _still_runs(fd: int) -> bool:
    facts = _holder_facts(fd)
    if (
        facts.get("host") != socket.gethostname()
        or not isinstance(pid := facts.get("pid"), int)
        or pid == os.getpid()
    ):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
