"""The one ordered output while its step runs: what is committed without a gap from the front on is copied ahead of the end.

Only a head start: on any trouble it is given up without a word, and the assembly at the end begins anew and says what is wrong.
"""

from __future__ import annotations

import os
import shutil
import stat
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from daskpar.data.locations import is_url
from daskpar.outputs import writing
from daskpar.outputs.assembly import Begun, header_line
from daskpar.outputs.ledger import Ledger
from daskpar.outputs.sources import Source

NAME = "output.growing"
LOOK_SECONDS = 0.2
SYNC_BYTES = 64 << 20
"""Copied bytes after which the disk is asked to have them: at the end there is little left to wait for."""
SPARE_BYTES = 64 << 20
"""Of the disk, which the copy leaves free beside what is expected."""


@dataclass
class Growing:
    """Copies rows of `ledger` from `parts` into a file in the step's `folder`, as long as it is entered; `take` hands the file over.

    `with_header`: the file begins with the names of the columns, so nothing is copied before they are known.
    """

    ledger: Ledger
    folder: Path
    target: str
    with_header: bool = False

    def __post_init__(self) -> None:
        self._begun: Begun | None = None
        self._given_up = is_url(self.target) or not may_be_moved(self.folder, Path(os.path.realpath(self.target)).parent)
        self._unsynced = 0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._grow, name=f"daskpar-output-{self.folder.name}", daemon=True)

    def __enter__(self) -> Growing:
        with suppress(OSError):
            (self.folder / NAME).unlink(missing_ok=True)  # of an earlier process
        if not self._given_up:
            self._thread.start()
        return self

    def take(self) -> Begun | None:
        """The file as far as it is, from now on the caller's; None where there is none."""
        self._stop()
        begun, self._begun = self._begun, None
        return begun

    def __exit__(self, *_: object) -> None:
        self._stop()
        if self._begun is not None:
            self._begun.close()

    def _stop(self) -> None:
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()

    def _grow(self) -> None:
        try:
            while not self._ending.wait(LOOK_SECONDS) and not self._given_up:
                self.advance()
        except Exception:  # what was copied in part can't be gone on with
            self._given_up = True
        if self._given_up and self._begun is not None:
            self._begun.close()
            self._begun = None

    def advance(self) -> None:
        """Copy what has become complete since the last look; called on the thread of its own."""
        done = self._begun.mini_batches if self._begun is not None else 0
        with self.ledger.lock:
            stop = self.ledger.commits.final_until(done)
            runs = list(self.ledger.commits.runs(done, stop))
            expected = self._expected_bytes()
            columns = self.ledger.columns
            self._given_up = self.ledger.revoked
        self._given_up = self._given_up or shutil.disk_usage(self.folder).free < expected + SPARE_BYTES
        if stop == done or self._given_up or (self.with_header and columns is None):
            return
        if self._begun is None:
            self._begun = begin(self.folder / NAME, columns if self.with_header else None)
        begun = self._begun
        with Source(runs, self.ledger.commits.part_names, self.folder / "parts") as source:
            for size in source.copy_to(begun.fd):
                begun.size_bytes += size
                self._unsynced += size
        begun.mini_batches = stop
        if self._unsynced >= SYNC_BYTES:
            os.fsync(begun.fd)
            self._unsynced = 0

    def _expected_bytes(self) -> int:
        """What is probably still to be written, in part files and in the output: where the disk is small, the rows go before the copy."""
        commits = self.ledger.commits
        done = commits.counts().done
        whole = commits.size_bytes * commits.count // done if done else 0
        return 2 * whole - commits.size_bytes - (self._begun.size_bytes if self._begun is not None else 0)


def begin(path: Path, columns: Sequence[str] | None) -> Begun:
    """A file without mini-batches yet."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    begun = Begun(path=path, fd=fd)
    if columns is not None:
        first = header_line(columns)
        writing.write_all(fd, first)
        begun.size_bytes = len(first)
    return begun


def may_be_moved(source: Path, target: Path) -> bool:
    """Whether a file made in the folder `source` is, once moved to the folder `target`, as if it had been made there."""
    try:
        here, there = source.stat(), target.stat()
        # A folder may hand its group, or rights of its own, to files that are made in it.
        plain = not there.st_mode & stat.S_ISGID and not _default_rights(source) and not _default_rights(target)
        return plain and here.st_dev == there.st_dev and not here.st_mode & stat.S_ISGID
    except OSError:
        return False


def _default_rights(folder: Path) -> bool:
    try:
        return "system.posix_acl_default" in os.listxattr(folder)
    except (OSError, AttributeError):  # a file system, or a system, without them
        return False
