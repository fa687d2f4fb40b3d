"""Writes the start of the one ordered output while its step runs: what is committed without a gap, copied as
it is, or joined where the format has a joiner.

On any trouble, rows that are not what was written among it, the copy is given up without a message; the
assembly at the end then begins anew and says what is wrong.
"""

from __future__ import annotations

import os
import shutil
import stat
import threading
from contextlib import suppress
from pathlib import Path

from daskpar import atomic
from daskpar.locations import is_url
from daskpar.outputs.assembly import CopiedStart, temporary_path
from daskpar.outputs.ledger import Ledger
from daskpar.outputs.part_reader import PartReader
from daskpar.rows.part_store import PartStore
from daskpar.rows.row_format import RowJoiner

NAME = "output.early"
LOOK_SECONDS = 0.2
COPY_BYTES = 16 << 20
"""Rows copied at once, unless one mini-batch has more: the end of the step waits for no more than these."""
JOIN_BYTES = 4 << 20
"""The same of rows that are joined, which takes longer."""
SYNC_BYTES = 16 << 20
"""Copied bytes after which the disk is told to write them: at the end there is little left to wait for."""
SPARE_SHARE, SPARE_LEAST, SPARE_MOST = 0.1, 1 << 30, 16 << 30
"""Of the disk, but within these bytes: what the copy leaves free on top of twice what is expected, because
the script's own files are more important.
"""
SMALL_SHARE = 0.01
"""Of what is free: an output as small as this takes no room from anybody, however full the disk is."""


class EarlyCopy:
    """Copies the committed rows of `ledger` into a file in the step's `folder` while it is entered.

    `take` hands the file over. Nothing is copied where the output could not be made of it by a rename, and
    nothing before the head of the output is known. Where later rows have another schema, so that the output
    begins otherwise, it begins anew. With `into_folder`, the output is a folder of files and nothing is
    copied.
    """

    def __init__(self, ledger: Ledger, folder: Path, target: str, *, into_folder: bool = False) -> None:
        self._ledger = ledger
        self._folder = folder
        self._target = target
        self._into_folder = into_folder
        self._start: CopiedStart | None = None
        self._unsynced = 0
        self._thrown_away = 0
        """Bytes of rows that were joined in vain, their schema having changed."""
        self._ending = threading.Event()
        self._look = threading.Event()
        self._advancing = threading.Lock()
        self._thread = threading.Thread(
            target=self._copy_until_the_end, name=f"daskpar-output-{folder.name}", daemon=True
        )

    def __enter__(self) -> EarlyCopy:
        if (
            not self._into_folder
            and not is_url(self._target)
            and may_be_moved(self._folder, Path(os.path.realpath(self._target)), self._ledger.store)
        ):
            self._ledger.on_complete = self._look.set
            self._thread.start()
        return self

    def take(self) -> CopiedStart | None:
        """The file as far as it is, from now on the caller's; None where there is none."""
        self._stop()
        start, self._start = self._start, None
        return start

    def __exit__(self, *_: object) -> None:
        self._stop()
        self._give_up()

    def _stop(self) -> None:
        self._ending.set()
        self._look.set()
        if self._thread.is_alive():
            self._thread.join()

    def _give_up(self) -> None:
        start, self._start = self._start, None
        if start is not None:
            start.close()

    def _copy_until_the_end(self) -> None:
        try:
            while not self._ending.is_set():
                self._look.wait(LOOK_SECONDS)
                self._look.clear()
                while not self._ending.is_set() and self.advance():
                    pass
        except Exception:  # a file that was copied in part can't be continued
            self._give_up()

    def advance(self) -> bool:
        """Write some of what has become complete; whether there was any; from any thread. OSError where it
        can't go on.
        """
        with self._advancing:
            return self._advance()

    def _advance(self) -> bool:
        ledger = self._ledger
        copied = ledger.row_format.concatenated
        done = self._start.mini_batches if self._start is not None else 0
        with ledger.lock:
            commits = ledger.commits
            stop = commits.whole_flushes(
                done, commits.final_until(done, COPY_BYTES if copied else JOIN_BYTES)
            )
            ranges = list(commits.part_ranges(done, stop, merged=copied))
            expected, committed = self._expected_bytes(), commits.size_bytes
            schema = ledger.schema
        if stop == done or (ledger.row_format.needs_schema and schema is None):
            return False
        disk = shutil.disk_usage(self._folder)
        if not leaves_room(expected, disk.free, disk.total):
            raise OSError("the space on the disk is needed for other things")
        if self._start is None:
            if self._thrown_away > committed:
                return False  # or a schema that changes all the time would cost more than joining at the end
            joiner = None if copied else ledger.row_format.joiner(schema)
            if joiner is None and not copied:
                raise OSError("the format is joined at the end")
            self._start = begin(self._folder / NAME, ledger.row_format.head(schema), joiner)
        elif not self._start.untouched():
            raise OSError("somebody else has written to the copy")
        elif not self._start.fits(schema):
            self._thrown_away += self._start.taken_bytes
            self._give_up()
            return True
        with PartReader(ranges, commits.part_names, ledger.store) as rows:
            self._add(rows, self._start, stop, sum(int(found.lengths.sum()) for found in ranges))
        return True

    def _add(self, rows: PartReader, start: CopiedStart, stop: int, total: int) -> None:
        taken, begun = 0, os.lseek(start.fd, 0, os.SEEK_CUR)
        for size in start.add(rows):
            taken += size
            # In the middle of a very large mini-batch; what was given to a joiner can't be taken back.
            if taken < total and self._ending.is_set() and start.joiner is None:
                os.ftruncate(start.fd, begun)
                os.lseek(start.fd, begun, os.SEEK_SET)
                start.written()
                return
        start.taken_bytes += taken
        start.mini_batches = stop
        start.written()
        self._unsynced += os.lseek(start.fd, 0, os.SEEK_CUR) - begun
        # The last of it, too, while the nodes end their processors.
        if self._unsynced >= SYNC_BYTES or stop == self._ledger.commits.count:
            os.fsync(start.fd)
            self._unsynced = 0

    def _expected_bytes(self) -> int:
        """What is probably still to be written, in parts and in the output."""
        commits = self._ledger.commits
        done = commits.counts().done
        whole = commits.size_bytes * commits.count // done if done else 0
        return 2 * whole - commits.size_bytes - (self._start.taken_bytes if self._start is not None else 0)


def leaves_room(expected: int, free: int, total: int) -> bool:
    """Whether a disk of `total` bytes, `free` of them free, has room for `expected` bytes and for what the
    script may write itself.
    """
    spare = min(max(SPARE_LEAST, SPARE_SHARE * total), SPARE_MOST)
    return expected <= SMALL_SHARE * free or free >= 2 * expected + spare


def begin(path: Path, head: bytes, joiner: RowJoiner | None = None) -> CopiedStart:
    """A file without mini-batches yet, which begins with `head`."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    start = CopiedStart(path=path, fd=fd, joiner=joiner)
    try:
        atomic.write_all(fd, head)
        start.taken_bytes = len(head)
        start.written()
    except BaseException:
        start.close()
        raise
    return start


def remove_stale(folder: Path) -> None:
    """Remove what a process that was killed has left in a step's folder."""
    with suppress(OSError):
        (folder / NAME).unlink(missing_ok=True)


def may_be_moved(folder: Path, target: Path, store: PartStore) -> bool:
    """Whether a file made in `folder` can be moved to the path `target`, and is then as if it had been made
    there.
    """
    trial, moved = folder / NAME, temporary_path(target, store)
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
