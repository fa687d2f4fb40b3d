"""Makes one file appear in a second place: as a copy that shares blocks where it can, or as a link."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat

_FICLONE = 0x40049409
"""ioctl_ficlone(2): the copy shares the blocks of the original until either is written to."""
_PIECE = 64 << 20
"""Bytes of one copy_file_range(2)."""
NO_LINKS = {errno.EOPNOTSUPP, errno.ENOTSUP, errno.EPERM, errno.ENOSYS}
"""How file systems say that they have no symbolic links: some shares, FAT, object stores behind FUSE."""
_NO_CLONE = {errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.EXDEV, errno.ENOSYS, errno.EPERM}


def link_file(source: str, target: str, *, hard: bool = True) -> bool:
    """Make `target` a hard link to `source`, or a symbolic one; whether the next one may be a hard one.

    `hard`: whether hard ones are tried. They are for one file system, and for files that are one's own.
    """
    real = os.path.realpath(source) if os.path.islink(source) else source
    if hard:
        try:
            os.link(real, target)
            return True
        except (FileNotFoundError, FileExistsError):
            raise
        except OSError as error:
            hard = error.errno in (
                errno.EMLINK,
                errno.EPERM,
            )  # this file alone has too many, or another owner
    os.symlink(os.path.abspath(real), target)
    return hard


def copy_file(source: str, target: str) -> None:
    """Copy a file with its times and rights; the copy can be written to."""
    with open(source, "rb", buffering=0) as read, open(target, "xb", buffering=0) as written:
        if not _cloned(read.fileno(), written.fileno()) and not _copied_in_kernel(
            read.fileno(), written.fileno()
        ):
            shutil.copyfileobj(read, written, _PIECE >> 6)
    shutil.copystat(source, target)
    os.chmod(target, stat.S_IMODE(os.stat(source).st_mode) | stat.S_IRUSR | stat.S_IWUSR)


def _cloned(source: int, target: int) -> bool:
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno in _NO_CLONE:
            return False
        raise
    return True


def _copied_in_kernel(source: int, target: int) -> bool:
    """Whether the kernel could copy; where it could not, nothing is written yet."""
    written = False
    while True:
        try:
            count = os.copy_file_range(source, target, _PIECE)
        except OSError as error:
            if error.errno in _NO_CLONE and not written:
                return False
            raise
        if count == 0:
            # Some file systems that are made up on the fly give nothing in this way, and all by reading.
            return written
        written = True
