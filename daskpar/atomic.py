"""How a run writes its own files: whole or not at all, and with clear messages when the disk refuses."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from daskpar.errors import DaskparError, InfrastructureLost, RunDirectoryError

PIECE_BYTES = 4 << 20
"""What is read or copied at once."""

OWNER_FOLDER, OWNER_FILE = 0o700, 0o600
"""Modes of what nobody but its owner may read: a run directory, and the files in it that hold values of the
user's (settings, arguments, variables), wherever the directory is and whatever its own mode.
"""
NEW_FILE = 0o666
"""Mode of all other files, less what the user's umask takes away."""

_FULL = {errno.ENOSPC, errno.EDQUOT}
ADVICE = "What is committed is kept: put that right, then `python -m daskpar resume` goes on from here."


def write_all(fd: int, data: bytes | bytearray | memoryview) -> None:
    """Write all of `data` at the descriptor's position; the one place where a run's own files get bytes from
    memory.
    """
    view = memoryview(data).cast("B")
    while view:
        view = view[os.write(fd, view) :]


def write_all_at(fd: int, data: bytes | bytearray | memoryview, offset: int) -> None:
    """Write all of `data` from the byte `offset` on; the descriptor's position stays."""
    view = memoryview(data).cast("B")
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written


def sync_folder(folder: str | Path) -> None:
    """Make a rename in `folder` outlast a power cut, where the file system knows how."""
    # Some network file systems refuse to sync a folder, and some folders may not be read; the rename itself
    # is done.
    with contextlib.suppress(OSError):
        fd = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


@contextlib.contextmanager
def replacing(
    path: Path, *, durable: bool = True, shared: bool = False, temporary: Path | None = None
) -> Iterator[Path]:
    """A temporary path in the folder of `path`, for a new file that gets the name `path` at the end.

    Whoever reads `path` sees the old or the new content whole, after a crash too. After a power cut that
    holds only where it is `durable`, which takes the time of a sync. On an error inside, the temporary file
    is removed and `path` stays as it was. `shared`: several processes may write the file at once, so each has
    a temporary path of its own. Raises OSError.
    """
    if temporary is None:
        # One name where it can be: what a crash leaves, the next write replaces.
        own = f".{os.getpid()}" if shared else ""
        temporary = path.with_name(f".{path.name}{own}.tmp")
    try:
        yield temporary
        if durable:
            sync_file(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


@contextlib.contextmanager
def writing(
    path: Path, *, durable: bool = True, temporary: Path | None = None, mode: int = NEW_FILE
) -> Iterator[int]:
    """As `replacing`, with a descriptor on the empty new file."""
    with replacing(path, durable=False, temporary=temporary) as fresh, open_new(fresh, mode) as fd:
        yield fd
        if durable:
            os.fsync(fd)
    if durable:
        sync_folder(path.parent)


def replace_file(path: Path, data: bytes, *, mode: int = NEW_FILE) -> None:
    """Give `path` the content `data`, so that a reader, or a crash, sees the old or the new content whole.

    Raises InfrastructureLost or RunDirectoryError in clear words; the old content then stays.
    """
    with explained(f"{path} can't be written"), writing(path, mode=mode) as fd:
        write_all(fd, data)


def replace_json(path: Path, value: object, *, mode: int = NEW_FILE) -> None:
    """`replace_file` with readable JSON."""
    try:
        data = json.dumps(value, indent=2, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        data = json.dumps(value, indent=2).encode()  # names of files that are no text are escaped
    replace_file(path, data + b"\n", mode=mode)


def sync_file(path: Path) -> None:
    """Make the content of the file at `path` outlast a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def take_rights(fd: int, path: Path) -> None:
    """Give the open file the owner, group and mode of the file at `path` that it will replace, as far as this
    user may; else its own.
    """
    try:
        old = os.stat(path)
    except FileNotFoundError:
        return
    for owner, group in ((-1, old.st_gid), (old.st_uid, -1)):
        # Only root gives files away, and only to a group of this user's they may go.
        with contextlib.suppress(OSError):
            os.fchown(fd, owner, group)
    with contextlib.suppress(OSError):  # some network file systems have no modes
        os.fchmod(fd, stat.S_IMODE(old.st_mode))


@contextlib.contextmanager
def open_new(path: Path | str, mode: int = NEW_FILE) -> Iterator[int]:
    """A descriptor on an empty file at `path`, closed at the end."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        if mode == OWNER_FILE:  # a file that a crash left there may have another
            os.fchmod(fd, mode)
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def explained(what: str, advice: str = ADVICE) -> Iterator[None]:
    """Turn an OSError inside into one of ours: `what` says what could not be done, `advice` what to do about
    a disk that says no.
    """
    try:
        yield
    except OSError as error:
        raise in_words(error, what, advice) from error


def in_words(error: OSError, what: str, advice: str = ADVICE) -> DaskparError:
    """The error for the user: a full, read-only or failing disk is lost infrastructure, anything else is a
    wrong place to write.
    """
    if error.errno in _FULL:
        return InfrastructureLost(f"{what}: the disk is full ({error.strerror}). {advice}")
    if error.errno == errno.EFBIG:
        return InfrastructureLost(
            f"{what}: the file would exceed the file-size limit (`ulimit -f`). {advice}"
        )
    if error.errno == errno.EROFS:
        return InfrastructureLost(f"{what}: the file system is read-only. {advice}")
    if error.errno in (errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENXIO):
        return InfrastructureLost(f"{what}: the disk fails ({error.strerror}). {advice}")
    if error.errno in (errno.EPERM, errno.EXDEV, errno.EBUSY):
        # Not for want of rights, which is EACCES: a file that can't be changed, a rename between two mounts.
        return InfrastructureLost(f"{what}: the file system refuses it ({error.strerror}). {advice}")
    return RunDirectoryError(f"{what}: {error.strerror or error}. {advice}")
