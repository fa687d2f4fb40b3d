"""Parts as files in a folder that all nodes and the driver see at the same path."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import zlib
from dataclasses import dataclass
from pathlib import Path

from daskpar import atomic
from daskpar.own_calls import OWN, moved_up
from daskpar.rows.part_store import PartStore, StoredPart, Written


@dataclass(frozen=True)
class SharedFolder(PartStore):
    """The parts in `folder`, which need not exist before `prepare`."""

    folder: Path

    @property
    def identity(self) -> str:
        return os.path.realpath(self.folder)

    def prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    def writer(self, processor: str) -> PartFile:
        return PartFile(str(self.folder), processor)

    def open(self, part: str) -> OpenPartFile:
        return OpenPartFile(os.open(self.folder / part, os.O_RDONLY | os.O_CLOEXEC))

    def size(self, part: str) -> int:
        try:
            return os.stat(self.folder / part).st_size
        except FileNotFoundError:
            return 0

    def place_of(self, part: str) -> str:
        return str(self.folder / part)

    def exists(self) -> bool:
        return self.folder.is_dir()

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


class PartFile:
    """The file of one processor, made at its first row.

    Its name carries a random token, so that no two processors ever share one. Nothing is buffered while user
    code runs.
    """

    def __init__(self, folder: str, processor: str) -> None:
        self._folder = folder
        self.name = f"{processor}-{secrets.token_hex(8)}.part"
        self.size = 0
        self._fd = -1
        self._mode = 0o666 & ~_umask()

    @property
    def place(self) -> str:
        """Path of the file."""
        return os.path.join(self._folder, self.name)

    def append(self, data: bytes) -> Written:
        """Write `data` at the end. OSError when the disk refuses: the file is then as before."""
        if self._fd < 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
            self._fd = moved_up(OWN.open(self.place, flags, 0o666))
            opened = OWN.fstat(self._fd)
            self._inode = opened.st_ino
            if opened.st_mode & 0o777 != self._mode:
                # A script has changed the umask since: the driver must be able to read the file.
                OWN.fchmod(self._fd, self._mode)
        elif OWN.fstat(self._fd).st_ino != self._inode:
            raise OSError(errno.EBADF, "its descriptor has been closed, and is another file's by now")
        view, offset = memoryview(data), self.size
        try:
            while view:
                view = view[OWN.write(self._fd, view) :]
        except OSError:
            OWN.ftruncate(self._fd, offset)
            raise
        self.size += len(data)
        # Not synced: after a power cut the checksums tell which rows are gone, and these are run again.
        return Written(offset, zlib.crc32(data))


def _umask() -> int:
    """The file mode creation mask of this process."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


class OpenPartFile(StoredPart):
    """A part file by its descriptor."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self._fd, length, offset)

    def copy_to(self, target: int, offset: int, length: int) -> int:
        return atomic.copy_range(self._fd, target, offset, length)

    def close(self) -> None:
        os.close(self._fd)
