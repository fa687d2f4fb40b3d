"""The one ordered output of a step, put together from committed rows by copying bytes; it has its name only
once it is whole.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import shutil
import stat
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daskpar import atomic
from daskpar.errors import InfrastructureLost, UsageError
from daskpar.locations import filesystem, is_url
from daskpar.outputs.commits import Commits
from daskpar.outputs.part_reader import Source
from daskpar.sizes import disk_size

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all) a few times a second; may raise to stop the assembly."""

_WHOLE_AT_CLOSE = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci", "r2", "hf"}
"""Stores where an object appears when its upload is finished, and an abandoned upload leaves nothing."""
_PROGRESS_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class Assembled:
    """What was put together."""

    path: str
    size_bytes: int
    seconds: float


@dataclass(kw_only=True)
class Begun:
    """The first mini-batches of an output, copied while the step ran."""

    path: Path
    fd: int
    """Open at the end of what is there; closed by whoever takes it over."""
    mini_batches: int = 0
    size_bytes: int = 0

    def close(self) -> None:
        """Close it, and remove it where it has no other name yet."""
        os.close(self.fd)
        with suppress(OSError):
            self.path.unlink()


def header_line(columns: Sequence[str]) -> bytes:
    """The first line of an aggregated file whose DataFrames have these columns: as pandas writes it,
    separated by spaces.
    """
    text = io.StringIO()
    csv.writer(text, delimiter=" ", lineterminator="\n").writerow(columns)
    return text.getvalue().encode()


def assemble(
    commits: Commits,
    parts: Path,
    target: str,
    *,
    header: Sequence[str] | None = None,
    progress: Progress | None = None,
    begun: Begun | None = None,
) -> Assembled:
    """Write all committed rows to `target` (absolute path or URL) in mini-batch order, after a line with the
    column names `header`.

    `begun` is a file on the disk of `target` that has the header and the rows of the first mini-batches
    already.

    `target` is replaced in one step once everything is on the disk; before, and on any error, it is as it
    was. The part files stay: `remove_parts` comes after the step is known to be complete. Raises
    InfrastructureLost when the disk is too small, full or failing, or committed rows are gone; UsageError
    when there is no place for a file at `target`.
    """
    began = time.monotonic()
    first = header_line(header) if header is not None else b""
    total = commits.size_bytes + len(first)
    meter = _Meter(total, progress)
    if begun is not None:
        with closing(begun):
            check_space(parts, target, total - begun.size_bytes)
            finished = _finish(begun, commits, parts, Path(os.path.realpath(target)), meter)
        if finished:
            return Assembled(path=target, size_bytes=total, seconds=time.monotonic() - began)
    check_space(parts, target, total)
    with Source(commits.runs(), commits.part_names, parts) as source:
        if is_url(target):
            _upload(source, target, first, meter, _token(parts))
        else:
            _write(source, Path(os.path.realpath(target)), first, meter, parts)
    return Assembled(path=target, size_bytes=total, seconds=time.monotonic() - began)


def check_space(parts: Path, target: str, size_bytes: int) -> None:
    """Make the folders above `target` and see that a file of `size_bytes` can be written there beside what is
    there now.

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
                f"The output {target} can't be written: there is {what} at that path. Give the path of a file (append_row_to)."
            )
    except FileNotFoundError:
        pass
    except NotADirectoryError:
        raise UsageError(
            f"The output {target} can't be written: one of the folders in its path is a file."
        ) from None
    with atomic.explained(f"The output {target} can't be written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_beside(path, parts)
        with atomic.open_new(temporary):
            pass
        temporary.unlink()
    if shortage := space_warning(target, size_bytes):
        raise InfrastructureLost(
            f"{shortage} Free some space, then `python -m daskpar resume` puts the output together."
        )


def space_warning(target: str, size_bytes: int) -> str:
    """One sentence when the disk of `target` has no room for `size_bytes` more, else an empty text."""
    if is_url(target):
        return ""
    folder = Path(os.path.realpath(target)).parent
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free >= size_bytes:
        return ""
    return f"The output {target} needs {disk_size(size_bytes)} beside its parts, and its disk has {disk_size(free)} free."


def remove_parts(parts: Path) -> None:
    """Remove the part files of a step whose output is complete. Never raises: what can't be removed only
    takes up space.
    """
    shutil.rmtree(parts, ignore_errors=True)


def _finish(begun: Begun, commits: Commits, parts: Path, target: Path, meter: _Meter) -> bool:
    """Add the rest to what was begun and give it its name; False where that can't be done, and the output has
    to be written anew.
    """
    meter.add(begun.size_bytes)
    try:
        with Source(commits.runs(begun.mini_batches), commits.part_names, parts) as source:
            for size in source.copy_to(begun.fd):
                meter.add(size)
        atomic.take_rights(begun.fd, target)
        os.fsync(begun.fd)
        os.replace(begun.path, target)
    except OSError:
        meter.begin_anew()
        return False
    atomic.sync_folder(target.parent)
    meter.end()
    return True


def _write(source: Source, target: Path, first: bytes, meter: _Meter, parts: Path) -> None:
    temporary = temporary_beside(target, parts)
    with atomic.explained(f"The output {target} can't be written"):
        try:
            with atomic.open_new(temporary) as fd:
                atomic.take_rights(fd, target)
                atomic.write_all(fd, first)
                for size in source.copy_to(fd):
                    meter.add(size)
                os.fsync(fd)
            os.replace(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        atomic.sync_folder(target.parent)
    meter.end()


def _upload(source: Source, target: str, first: bytes, meter: _Meter, token: str) -> None:
    files, path = filesystem(target)
    whole_at_close = target.partition("://")[0].lower() in _WHOLE_AT_CLOSE
    name = path if whole_at_close else f"{path}.{token}.tmp"
    try:
        files.makedirs(files._parent(path), exist_ok=True)
    except (OSError, NotImplementedError):
        pass  # a store without folders; if it is more than that, opening the file says so
    try:
        _send(source, files, name, first, meter, whole_at_close)
        if not whole_at_close:
            files.mv(name, path)
    except OSError as error:
        raise InfrastructureLost(
            f"The output {target} can't be written: {error}. What is committed is kept; `python -m daskpar resume` tries again."
        ) from error
    meter.end()


def _send(source: Source, files: Any, name: str, first: bytes, meter: _Meter, whole_at_close: bool) -> None:
    # Leaving a `with` block would finish the upload on an error too, and so would the garbage collector.
    file = files.open(name, mode="wb", autocommit=not whole_at_close)
    try:
        file.write(first)
        for data in source.pieces():
            file.write(data)
            meter.add(len(data))
        file.close()
        if whole_at_close:
            file.commit()
    except BaseException:
        _abandon(file, files, name, whole_at_close)
        raise


def _abandon(file: Any, files: Any, name: str, whole_at_close: bool) -> None:
    try:
        if whole_at_close:
            file.discard()
            file.closed = True
        else:
            file.close()
            files.rm(name)
    except Exception:
        pass  # the error that led here is the one to tell


def temporary_beside(target: Path, parts: Path) -> Path:
    """Where the output is written before it has its name; one for each run and target: what a killed assembly
    leaves, the next replaces.
    """
    return target.with_name(f".{target.name[:200]}.{_token(parts)}.tmp")


def _token(parts: Path) -> str:
    return hashlib.blake2b(os.fsencode(os.path.realpath(parts)), digest_size=6).hexdigest()


class _Meter:
    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total = total
        self._done = 0
        self._progress = progress
        self._told = time.monotonic()

    def add(self, size: int) -> None:
        self._done += size
        now = time.monotonic()
        if self._progress is not None and now - self._told >= _PROGRESS_SECONDS:
            self._told = now
            self._progress(self._done, self._total)

    def begin_anew(self) -> None:
        self._done = 0

    def end(self) -> None:
        if self._progress is not None:
            self._progress(self._total, self._total)
