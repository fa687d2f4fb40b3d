"""The one ordered output while its step runs: what is committed without a gap from the front on is copied
ahead of the end.

Only a head start: on any trouble it is given up without a word, and the assembly at the end begins anew and
says what is wrong.
"""

from __future__ import annotations

import os
import shutil
import stat
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from daskpar import atomic
from daskpar.locations import is_url
from daskpar.outputs.assembly import Begun, header_line, temporary_beside
from daskpar.outputs.ledger import Ledger
from daskpar.outputs.part_reader import Source

NAME = "output.growing"
LOOK_SECONDS = 0.2
COPY_BYTES = 16 << 20
"""Rows copied at once, unless one mini-batch has more: the end of the step waits for no more than these."""
SYNC_BYTES = 64 << 20
"""Copied bytes after which the disk is asked to have them: at the end there is little left to wait for."""
SPARE_SHARE, SPARE_LEAST, SPARE_MOST = 0.1, 1 << 30, 16 << 30
"""Of the disk, but within these bytes: what the copy leaves free beside twice what is expected, for the
script's own files go before it.
"""


class Growing:
    """Copies rows of `ledger` from `parts` into a file in the step's `folder`, as long as it is entered;
    `take` hands the file over.

    `with_header`: the file begins with the names of the columns, so nothing is copied before they are known.
    """

    def __init__(self, ledger: Ledger, folder: Path, target: str, with_header: bool = False) -> None:
        self._ledger = ledger
        self._folder = folder
        self._target = target
        self._with_header = with_header
        self._begun: Begun | None = None
        self._unsynced = 0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._grow, name=f"daskpar-output-{folder.name}", daemon=True)

    def __enter__(self) -> Growing:
        if not is_url(self._target) and may_be_moved(self._folder, Path(os.path.realpath(self._target))):
            self._thread.start()
        return self

    def take(self) -> Begun | None:
        """The file as far as it is, from now on the caller's; None where there is none."""
        self._stop()
        begun, self._begun = self._begun, None
        return begun

    def __exit__(self, *_: object) -> None:
        self._stop()
        self._give_up()

    def _stop(self) -> None:
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()

    def _give_up(self) -> None:
        begun, self._begun = self._begun, None
        if begun is not None:
            begun.close()

    def _grow(self) -> None:
        try:
            while not self._ending.wait(LOOK_SECONDS):
                while self.advance() and not self._ending.is_set():
                    pass
        except Exception:  # what was copied in part can't be gone on with
            self._give_up()

    def advance(self) -> bool:
        """Copy some of what has become complete; whether there was any. Called on the thread of its own.
        OSError where it can't go on.
        """
        done = self._begun.mini_batches if self._begun is not None else 0
        with self._ledger.lock:
            commits = self._ledger.commits
            stop = commits.final_until(done, COPY_BYTES)
            runs = list(commits.runs(done, stop))
            expected = self._expected_bytes()
            columns = self._ledger.columns
        if stop == done or (self._with_header and columns is None):
            return False
        disk = shutil.disk_usage(self._folder)
        if disk.free < 2 * expected + min(max(SPARE_LEAST, SPARE_SHARE * disk.total), SPARE_MOST):
            raise OSError("the room on the disk is wanted for other things")
        if self._begun is None:
            self._begun = begin(self._folder / NAME, columns if self._with_header else None)
        with Source(runs, commits.part_names, self._folder / "parts") as source:
            self._copy(source, self._begun, stop, sum(int(found.lengths.sum()) for found in runs))
        return True

    def _copy(self, source: Source, begun: Begun, stop: int, total: int) -> None:
        copied = 0
        for size in source.copy_to(begun.fd):
            copied += size
            if copied < total and self._ending.is_set():  # in the middle of a very large mini-batch
                os.ftruncate(begun.fd, begun.size_bytes)
                os.lseek(begun.fd, begun.size_bytes, os.SEEK_SET)
                return
        begun.size_bytes += copied
        begun.mini_batches = stop
        self._unsynced += copied
        if self._unsynced >= SYNC_BYTES:
            os.fsync(begun.fd)
            self._unsynced = 0

    def _expected_bytes(self) -> int:
        """What is probably still to be written, in part files and in the output."""
        commits = self._ledger.commits
        done = commits.counts().done
        whole = commits.size_bytes * commits.count // done if done else 0
        return 2 * whole - commits.size_bytes - (self._begun.size_bytes if self._begun is not None else 0)


def begin(path: Path, columns: Sequence[str] | None) -> Begun:
    """A file without mini-batches yet, after a line with the names of the `columns`, if any."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    begun = Begun(path=path, fd=fd)
    try:
        if columns is not None:
            first = header_line(columns)
            atomic.write_all(fd, first)
            begun.size_bytes = len(first)
    except BaseException:
        begun.close()
        raise
    return begun


def remove_stale(folder: Path) -> None:
    """Remove what a process that was killed has left in a step's folder."""
    with suppress(OSError):
        (folder / NAME).unlink(missing_ok=True)


def may_be_moved(folder: Path, target: Path) -> bool:
    """Whether a file made in `folder` can be moved to the path `target`, and is then as if it had been made
    there.
    """
    trial, moved = folder / NAME, temporary_beside(target, folder / "parts")
    try:
        # A folder may hand its group, or rights of its own, to files that are made in it.
        if any(
            place.stat().st_mode & stat.S_ISGID or _default_rights(place) for place in (folder, target.parent)
        ):
            return False
        with atomic.open_new(trial):
            pass
        os.rename(trial, moved)  # two mounts of one disk refuse it, and so may quotas
        moved.unlink()
    except OSError:
        remove_stale(folder)
        return False
    return True


def _default_rights(folder: Path) -> bool:
    try:
        return "system.posix_acl_default" in os.listxattr(folder)
    except (OSError, AttributeError):  # a file system, or a system, without them
        return False
