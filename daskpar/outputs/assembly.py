"""Writes the one ordered output of a step from its committed rows; it gets its name only once it is whole."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Protocol

from daskpar import atomic
from daskpar.errors import InfrastructureLost, UsageError
from daskpar.locations import filesystem, is_url
from daskpar.outputs.commits import Commits
from daskpar.outputs.meter import Meter, OnProgress
from daskpar.outputs.part_reader import PartReader
from daskpar.outputs.upload import upload
from daskpar.rows.part_store import PartStore
from daskpar.rows.row_format import RowFormat, RowJoiner, Schema
from daskpar.rows.text_format import PLAIN_TEXT
from daskpar.sizes import disk_size
from daskpar.value_classes import frozen, mutable

SPACE_ADVICE = "Free some space, then `python -m daskpar resume` puts the output together."


@frozen(kw_only=True)
class Assembled:
    """What was put together."""

    path: str
    size_bytes: int
    seconds: float
    notes: tuple[str, ...] = ()
    """Sentences about what a reader of the output should know."""


@mutable(kw_only=True)
class CopiedStart:
    """The start of an output, written while the step ran: the rows of its first mini-batches."""

    path: Path
    fd: int
    """Open at the end of what is there; closed by whoever takes it over."""
    joiner: RowJoiner | None = None
    """Makes the output of the rows, and may hold back the last of them; None where they are copied."""
    mini_batches: int = 0
    taken_bytes: int = 0
    """Of the head, and of the rows as they are in the parts."""
    _stamp: tuple[int, int] = (0, 0)

    def fits(self, schema: Schema | None) -> bool:
        """Whether the output of rows with this schema begins so."""
        return self.joiner is None or self.joiner.fits(schema)

    def add(self, rows: PartReader) -> Iterator[int]:
        """Write the next rows; yields the bytes of the parts that were taken in with each piece."""
        if self.joiner is None:
            yield from rows.copy_to(self.fd)
            return
        for data in rows.ranges():
            atomic.write_all(self.fd, self.joiner.add(data))
            yield len(data)

    def end(self) -> int:
        """Write what is left after the last rows; the size of the output."""
        if self.joiner is not None:
            atomic.write_all(self.fd, self.joiner.end())
        return os.fstat(self.fd).st_size

    def written(self) -> None:
        """What is there now is what this process has written."""
        self._stamp = self._found()

    def untouched(self) -> bool:
        """Whether nobody else has written to it, or cut it short, since."""
        return self._found() == self._stamp

    def _found(self) -> tuple[int, int]:
        found = os.fstat(self.fd)
        return found.st_size, found.st_mtime_ns

    def close(self) -> None:
        """Close it, and remove it where it has no other name yet."""
        os.close(self.fd)
        with suppress(OSError):
            self.path.unlink()


def assemble(
    commits: Commits,
    store: PartStore,
    target: str,
    *,
    row_format: RowFormat = PLAIN_TEXT,
    schema: Schema | None = None,
    progress: OnProgress | None = None,
    start: CopiedStart | None = None,
) -> Assembled:
    """Write all committed rows to `target` (absolute path or URL) in mini-batch order, as `row_format` joins
    them.

    `start` is a file on the disk of `target` that has the head and the rows of the first mini-batches; it is
    not used where it was made for rows of another schema.

    `target` is replaced in one step once everything is on the disk; before, and on any error, it is as it
    was. The parts stay: they are removed after the step is known to be complete. Raises InfrastructureLost
    when the disk is too small, full or failing; RowsDamaged when committed rows are gone or are not what was
    written; UsageError when there is no place for a file at `target`.
    """
    began = time.monotonic()
    head = row_format.head(schema) if row_format.concatenated else b""
    total = commits.size_bytes + len(head)  # an estimate where the ranges are not concatenated
    meter = Meter(total, progress)
    if start is not None and not start.fits(schema):
        start.close()
    elif start is not None:
        with closing(start):
            check_space(store, target, total - start.taken_bytes)
            size = _finish(start, commits, store, Path(os.path.realpath(target)), meter)
        if size is not None:
            return Assembled(path=target, size_bytes=size, seconds=time.monotonic() - began)
    check_space(store, target, total)
    ranges = commits.part_ranges(merged=row_format.concatenated)
    with PartReader(ranges, commits.part_names, store) as rows:
        content = _Concatenated(head, rows) if row_format.concatenated else _Joined(row_format, rows, schema)
        if is_url(target):
            upload(content.pieces(), target, meter, token_of(store))
            size = meter.end()
        else:
            size = _write(content, Path(os.path.realpath(target)), meter, store)
    return Assembled(path=target, size_bytes=size, seconds=time.monotonic() - began)


class _Content(Protocol):
    """The bytes of the output, to be taken once, in one of two ways."""

    def copy_to(self, target: int) -> Iterator[int]:
        """Write all at the position of the descriptor `target`; yields the bytes of each piece."""

    def pieces(self) -> Iterator[bytes]:
        """All, a piece at a time."""


class _Concatenated:
    """The ranges as they are, after a head."""

    def __init__(self, head: bytes, rows: PartReader) -> None:
        self._head = head
        self._rows = rows

    def copy_to(self, target: int) -> Iterator[int]:
        atomic.write_all(target, self._head)
        yield len(self._head)
        yield from self._rows.copy_to(target)

    def pieces(self) -> Iterator[bytes]:
        yield self._head
        yield from self._rows.pieces()


class _Joined:
    """What the format makes of the ranges."""

    def __init__(self, row_format: RowFormat, rows: PartReader, schema: Schema | None) -> None:
        self._row_format = row_format
        self._rows = rows
        self._schema = schema

    def copy_to(self, target: int) -> Iterator[int]:
        for piece in self.pieces():
            atomic.write_all(target, piece)
            yield len(piece)

    def pieces(self) -> Iterator[bytes]:
        yield from self._row_format.join(self._rows.ranges(), self._schema)


def check_space(store: PartStore, target: str, size_bytes: int) -> None:
    """Make the folders above `target` and see that a file of `size_bytes` can be written there, next to the
    one that is there now.

    Raises UsageError where `target` is no place for a file, InfrastructureLost where the disk is read-only or
    too small.
    """
    if is_url(target):
        filesystem(target)
        return
    path = Path(os.path.realpath(target))
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            what = "a folder" if path.is_dir() else "no regular file"
            raise UsageError(
                f"The output {target} can't be written: there is {what} at that path. "
                "Give the path of a file (append_row_to)."
            )
    except FileNotFoundError:
        pass
    except NotADirectoryError:
        raise UsageError(
            f"The output {target} can't be written: one of the folders in its path is a file."
        ) from None
    with atomic.explained(f"The output {target} can't be written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_path(path, store)
        with atomic.open_new(temporary):
            pass
        temporary.unlink()
    check_free(target, size_bytes)


def check_free(target: str, size_bytes: int) -> None:
    """InfrastructureLost where the disk of the file or folder `target` has no room for `size_bytes` more."""
    if shortage := space_warning(target, size_bytes):
        raise InfrastructureLost(f"{shortage} {SPACE_ADVICE}")


def space_warning(target: str, size_bytes: int) -> str:
    """One sentence when the disk of `target` has no room for `size_bytes` more, else an empty text."""
    if is_url(target):
        return ""
    folder = Path(os.path.realpath(target))
    while not folder.is_dir():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free >= size_bytes:
        return ""
    needed = f"The output {target} needs {disk_size(size_bytes)} beside its parts"
    return f"{needed}, and its disk has {disk_size(free)} free."


def _finish(start: CopiedStart, commits: Commits, store: PartStore, target: Path, meter: Meter) -> int | None:
    """Add the rest to what was written and give it its name; its size, or None where that can't be done, and
    the output has to be written anew.
    """
    meter.add(start.taken_bytes)
    try:
        if not start.untouched():
            raise OSError("somebody else has written to it")
        rest = commits.part_ranges(start.mini_batches, merged=start.joiner is None)
        with PartReader(rest, commits.part_names, store) as rows:
            for size in start.add(rows):
                meter.add(size)
        written = start.end()
        atomic.take_rights(start.fd, target)
        os.fsync(start.fd)
        os.replace(start.path, target)
    except OSError:
        meter.begin_anew()
        return None
    atomic.sync_folder(target.parent)
    meter.end()
    return written


def _write(content: _Content, target: Path, meter: Meter, store: PartStore) -> int:
    with (
        atomic.explained(f"The output {target} can't be written"),
        atomic.writing(target, temporary=temporary_path(target, store)) as fd,
    ):
        atomic.take_rights(fd, target)
        for size in content.copy_to(fd):
            meter.add(size)
    return meter.end()


def temporary_path(target: Path, store: PartStore) -> Path:
    """Where the output is written before it has its name."""
    # One for each run and target: what a killed assembly leaves, the next one replaces.
    return target.with_name(f".{target.name[:200]}.{token_of(store)}.tmp")


def token_of(store: PartStore) -> str:
    """A short name of the run's step, for what it writes beside the output."""
    return hashlib.blake2b(os.fsencode(store.identity), digest_size=6).hexdigest()
