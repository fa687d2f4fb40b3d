"""Parts as files in a folder that all nodes and the driver see at the same path."""

from __future__ import annotations

import os
import secrets
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

from daskpar import atomic
from daskpar.atomic import explained
from daskpar.errors import RunDirectoryError
from daskpar.own_calls import OWN, moved_up
from daskpar.rows.part_store import PartStore, StoredPart, Written
from daskpar.value_classes import frozen

WRITE_BYTES = 256 << 10
"""Written and then checked at once: what was just read is in the processor's cache."""


@frozen
class SharedFolder(PartStore):
    """The parts in `folder`, which need not exist before `prepare`."""

    folder: Path

    def __reduce__(self) -> tuple[Callable[[str], SharedFolder], tuple[str]]:
        # Pythons differ in where they have the class of a path.
        return _at, (str(self.folder),)

    @property
    def identity(self) -> str:
        return os.path.realpath(self.folder)

    def prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    def writer(self, processor: str) -> PartFile:
        return PartFile(str(self.folder), processor)

    def keep(self, part: str, offset: int, data: bytes) -> None:
        """Of a node that does not see the folder. Not synced, as what processors write here themselves."""
        path = self._path(part)
        with explained(f"Rows can't be written to {path}"):
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
            try:
                atomic.write_all_at(fd, data, offset)
            finally:
                os.close(fd)

    def open(self, part: str) -> OpenPartFile:
        return OpenPartFile(os.open(self._path(part), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW))

    def size(self, part: str) -> int:
        try:
            return os.stat(self._path(part), follow_symlinks=False).st_size
        except FileNotFoundError:
            return 0

    def place_of(self, part: str) -> str:
        return str(self._path(part))

    def _path(self, part: str) -> Path:
        # A journal may come from somebody else, and must not make us read a file elsewhere.
        if os.path.basename(part) != part or part in ("", ".", "..") or "\0" in part:
            raise RunDirectoryError(
                f"{self.folder.parent} is damaged: its journal names the part {part!r}, no file of it."
            )
        return self.folder / part

    def exists(self) -> bool:
        return self.folder.is_dir()

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def _at(folder: str) -> SharedFolder:
    return SharedFolder(Path(folder))


class PartFile:
    """The file of one processor, made at its first row.

    Its name carries a random token, so that no two processors ever share one. Nothing is buffered while user
    code runs.

    The descriptor stands open beside user code, which may write to it, close it, give its number to another
    file or cut the file short (by a loop over all numbers, /proc/self/fd, a forked child). So the file says
    where rows lie, no count of our own; and where it is not the one that was opened, or has lost rows, a new
    file is begun, so that no place in a file ever belongs to two flushes. What was damaged by then, or
    has bytes of others in it, is found by its checksum when the rows are joined.
    """

    def __init__(self, folder: str, processor: str) -> None:
        self._folder = folder
        self._processor = processor
        self.size = 0
        """Where the last rows end."""
        self._fd = -1
        self._identity = (0, 0)
        self._mode = 0o666 & ~_umask()
        self._name_anew()

    @property
    def place(self) -> str:
        """Path of the file."""
        return os.path.join(self._folder, self.name)

    def append(self, data: bytes | memoryview, before: int = 0) -> Written:
        """Write `data` at the end. OSError when the disk refuses: the file is then as before."""
        start = self._size_if_ours()
        if start is None:
            start = self._begin()
        left, crc = memoryview(data), before
        try:
            while left:
                done = OWN.write(self._fd, left[:WRITE_BYTES])
                crc = zlib.crc32(left[:done], crc)
                left = left[done:]
        except OSError:
            OWN.ftruncate(self._fd, start)
            raise
        end = OWN.lseek(self._fd, 0, os.SEEK_CUR)
        self.size = max(self.size, end)  # it may have been cut short since we looked: the next rows see that
        # Not synced: after a power cut the checksums tell which rows are gone, and these are run again.
        return Written(end - len(data), crc)

    def close(self) -> None:
        """Close the file; for a writer in a process of ours, where no script has its descriptors."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _size_if_ours(self) -> int | None:
        """Length of the file; None where there is none yet, or the descriptor is no longer that of our file
        with all of its rows.
        """
        found = self._ours()
        if not found or found.st_size < self.size:
            return None
        try:
            named = OWN.stat(self.place)
        except FileNotFoundError:
            return None  # removed, or moved away
        except OSError:
            return found.st_size  # a script that has given up its rights may not look; the descriptor is ours
        return found.st_size if (named.st_dev, named.st_ino) == self._identity else None

    def _ours(self) -> os.stat_result | None:
        """Of the descriptor, where it is still that of the file that we opened."""
        try:
            found = OWN.fstat(self._fd) if self._fd >= 0 else None
        except OSError:
            return None  # closed
        return found if found and (found.st_dev, found.st_ino) == self._identity else None

    def _begin(self) -> int:
        """Open a new file; the length of it, 0."""
        if self._fd >= 0:
            self._name_anew()
            if self._ours():  # else its number may be the script's by now
                OWN.close(self._fd)
                self._fd = -1
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._fd = moved_up(OWN.open(self.place, flags, 0o666))
        made = OWN.fstat(self._fd)
        if made.st_mode & 0o777 != self._mode:
            # A script has changed the umask since: the driver must be able to read the file.
            OWN.fchmod(self._fd, self._mode)
        self._identity, self.size = (made.st_dev, made.st_ino), 0
        return 0

    def _name_anew(self) -> None:
        self.name = f"{self._processor}-{secrets.token_hex(8)}.part"


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

    def close(self) -> None:
        os.close(self._fd)
