"""The temporary folder of a node that does not see the run directory: what it is sent, and what it writes.

It goes with the run, and when its worker is killed: a shell that sleeps beside the worker removes it then.
Were that killed too, whoever makes the next one there finds that nobody holds the lock of this one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
import threading

from daskpar import atomic
from daskpar.processor.held_folders import new_held_folder

PREFIX = "daskpar-node-"
REMOVE_SECONDS = 2.0
"""How long the end of a run waits for it; it goes on by itself."""
MTIME = "DASKPAR.mtime_ns"
"""Header of a file in an archive: the time of its last change."""
_REMOVE = """
if read _; then
    rm -rf -- "$0"
else
    for n in 1 2 3 4 5 6 7 8 9 10 11 12; do rm -rf -- "$0"; sleep 1; done
fi
"""
"""Waits for a line: all processes have ended. Without one its worker was killed, and for a moment there may
be processes that make anew what they miss.
"""


class NodeFolder:
    """A new folder below `base`. OSError where none can be made."""

    def __init__(self, base: str) -> None:
        self.path, self._lock_file = new_held_folder(
            base, PREFIX, lambda left: shutil.rmtree(left, ignore_errors=True)
        )
        self._unpacked: set[str] = set()
        self._lock = threading.Lock()
        self._remover = subprocess.Popen(
            ["/bin/sh", "-c", _REMOVE, self.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )

    def has(self, parcel: str) -> bool:
        """Whether it was unpacked here."""
        return parcel in self._unpacked

    def take_piece(self, parcel: str, sender: str, offset: int, data: bytes) -> None:
        """A piece of a parcel; `sender` tells those apart that send the same one at the same time."""
        fd = os.open(self._packed(parcel, sender), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            atomic.write_all_at(fd, data, offset)
        finally:
            os.close(fd)

    def unpack(self, parcel: str, sender: str, target: str) -> None:
        """Lay out a parcel in the folder `target` below this one; all of its pieces are here.

        ValueError where it is not what was sent.
        """
        packed = self._packed(parcel, sender)
        try:
            with self._lock:
                if parcel in self._unpacked:
                    return
                if digest_of(packed) != parcel.rpartition("-")[2]:
                    raise ValueError(f"{parcel} has not arrived as it was sent")
                fresh = tempfile.mkdtemp(prefix=".unpacking-", dir=self.path)
                with tarfile.open(packed) as archive:
                    # Not there in early releases of Python 3.11.
                    archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
                    archive.extractall(fresh)
                    for member in archive:
                        time = int(member.pax_headers.get(MTIME, 0))
                        if time and member.isreg():
                            os.utime(os.path.join(fresh, member.name), ns=(time, time))
                place = os.path.join(self.path, target)
                os.makedirs(os.path.dirname(place), exist_ok=True)
                shutil.rmtree(place, ignore_errors=True)
                os.rename(fresh, place)
                self._unpacked.add(parcel)
        finally:
            with contextlib.suppress(OSError):
                os.unlink(packed)

    def remove(self) -> None:
        """Remove it with all that it holds; may be called again."""
        if self._lock_file < 0:
            return
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self._remover.communicate(b"\n", timeout=REMOVE_SECONDS)
        os.close(self._lock_file)
        self._lock_file = -1

    def _packed(self, parcel: str, sender: str) -> str:
        return os.path.join(self.path, f".{parcel}.{sender}.tar")


def digest_of(path: str) -> str:
    """A text that tells a file's content from any other's."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
