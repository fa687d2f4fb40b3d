"""Writes the committed rows of a step as a folder of files: `part-00000.parquet`, `part-00001.parquet`, ...

In the order of their names they hold what one file would hold, each with whole mini-batches; where they are
cut depends on nothing but the rows. Nothing else that a reader could take for rows is left in the folder.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from daskpar import atomic
from daskpar.errors import InfrastructureLost, UsageError
from daskpar.jobspec.row_formats import CSV, FILE_ENDINGS, JSONL, PARQUET, PART_BYTES
from daskpar.locations import filesystem, is_url, read_bytes, remote_errors
from daskpar.outputs.assembly import Assembled, check_free, token_of
from daskpar.outputs.commits import Commits
from daskpar.outputs.meter import Meter, OnProgress
from daskpar.outputs.part_reader import READ_BYTES, PartReader
from daskpar.outputs.upload import TRY_AGAIN, upload
from daskpar.rows.part_store import PartStore
from daskpar.rows.row_format import RowFormat, Schema

_OURS = re.compile(r"part-\d{5,}\.(csv|jsonl|parquet)")
_MLTABLE = "MLTable"
_MADE_BY = "# Made by daskpar for the part files beside it.\n"
_READ = {
    CSV: """  - read_delimited:
      delimiter: ","
      encoding: utf8
      header: all_files_same_headers
      support_multi_line: true
""",
    JSONL: """  - read_json_lines:
      encoding: utf8
""",
    PARQUET: "  - read_parquet\n",
}
_NAMED = 3
"""Other files in the folder that a note names."""
_placing = threading.Lock()


def part_name(number: int, row_format: RowFormat) -> str:
    """The name of the file with this number."""
    return f"part-{number:05}{FILE_ENDINGS[row_format.name]}"


def part_files(folder: str) -> list[str]:
    """The part files in a folder, in order: paths or URLs."""
    if is_url(folder):
        files, inner = filesystem(folder)
        try:
            with remote_errors():
                found = {name.rstrip("/").rpartition("/")[2] for name in files.ls(inner, detail=False)}
        except FileNotFoundError:
            return []
    else:
        try:
            found = set(os.listdir(folder))
        except (FileNotFoundError, NotADirectoryError):
            return []
    return [f"{folder.rstrip('/')}/{name}" for name in sorted(found, key=_number) if _OURS.fullmatch(name)]


def _number(name: str) -> tuple[int, str]:
    """`part-100000` comes after `part-99999`."""
    return len(name), name


def is_folder_of_rows(place: str) -> bool:
    """Whether the rows at `place` are a folder of part files, not one file."""
    if is_url(place):
        return bool(part_files(place))
    return os.path.isdir(place)


def assemble_folder(
    commits: Commits,
    store: PartStore,
    folder: str,
    *,
    row_format: RowFormat,
    schema: Schema | None = None,
    part_bytes: int = PART_BYTES,
    with_mltable: bool = False,
    progress: OnProgress | None = None,
) -> Assembled:
    """Write all committed rows into `folder` (absolute path or URL), as `assemble` writes one file.

    A file ends with the mini-batch in which its rows in the parts come to `part_bytes`; there is one at
    least. Part files of an earlier run are replaced, those that are too many removed, once all new ones are
    on the disk: before, and on any error, what was there is as it was. In a store of objects each file is
    replaced when it is complete. `with_mltable`: an `MLTable` that names them is written beside them. Raises
    as `assemble`.
    """
    began = time.monotonic()
    check_folder(store, folder, commits.size_bytes)
    meter = Meter(commits.size_bytes, progress)
    with PartReader(commits.part_ranges(merged=False), commits.part_names, store) as rows:
        contents = (
            _pieces(row_format, ranges, schema) for ranges in in_files(rows.ranges(), max(1, part_bytes))
        )
        write = _write_remote if is_url(folder) else _write_local
        write(contents, folder, row_format, meter, store)
    if with_mltable:
        _write_mltable(folder, row_format)
    size = meter.end()
    notes = () if is_url(folder) else _other_files(folder, with_mltable)
    return Assembled(path=folder, size_bytes=size, seconds=time.monotonic() - began, notes=notes)


def in_files(ranges: Iterable[bytes], most_bytes: int) -> Iterator[Iterator[bytes]]:
    """The ranges of each file; each is to be used up before the next is taken. One file at least."""
    waiting = iter(ranges)
    first = next(waiting, None)

    def of_one() -> Iterator[bytes]:
        nonlocal first
        size = 0
        while first is not None:
            data, first = first, None
            size += len(data)
            yield data
            del data
            first = next(waiting, None)
            if size >= most_bytes:
                return

    yield of_one()
    while first is not None:
        yield of_one()


def _pieces(row_format: RowFormat, ranges: Iterator[bytes], schema: Schema | None) -> Iterator[bytes]:
    """The content of one file, in pieces that are worth a write."""
    gathered: list[bytes] = []
    size = 0
    for piece in row_format.join(ranges, schema):
        gathered.append(piece)
        size += len(piece)
        if size >= READ_BYTES:
            yield b"".join(gathered)
            gathered, size = [], 0
    yield b"".join(gathered)


def check_folder(store: PartStore, folder: str, size_bytes: int) -> None:
    """Make the folder and see that part files of `size_bytes` together can be written there.

    Raises UsageError where a file is in its place, InfrastructureLost where the disk is read-only or too
    small.
    """
    if is_url(folder):
        filesystem(folder)
        return
    try:
        if not stat.S_ISDIR(os.stat(folder).st_mode):
            raise UsageError(
                f"The output {folder} can't be written: it is to be a folder of part files, and there is a "
                "file at that path. Give another path, or an output of the type uri_file."
            )
    except FileNotFoundError:
        pass
    except NotADirectoryError:
        raise UsageError(
            f"The output {folder} can't be written: one of the folders in its path is a file."
        ) from None
    with atomic.explained(f"The output {folder} can't be written"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        staging = _staging(folder, store)
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        staging.rmdir()
    check_free(folder, size_bytes)


def _staging(folder: str, store: PartStore) -> Path:
    """A hidden folder in the folder: on the same disk, and no reader looks into it."""
    # One for each run and folder: what a killed assembly leaves, the next one removes.
    return Path(folder, f".parts.{token_of(store)}.tmp")


def _write_local(
    contents: Iterable[Iterator[bytes]], folder: str, row_format: RowFormat, meter: Meter, store: PartStore
) -> None:
    staging = _staging(folder, store)
    with atomic.explained(f"The output {folder} can't be written"):
        try:
            staging.mkdir()
            names = []
            for number, pieces in enumerate(contents):
                names.append(part_name(number, row_format))
                with atomic.open_new(staging / names[-1]) as fd:
                    atomic.take_rights(fd, Path(folder, names[-1]))
                    for piece in pieces:
                        atomic.write_all(fd, piece)
                        meter.add(len(piece))
                    os.fsync(fd)
            _put_in_place(staging, Path(folder), names)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def _put_in_place(staging: Path, folder: Path, names: list[str]) -> None:
    with _alone(folder):
        for old in part_files(str(folder)):
            if os.path.basename(old) not in names:
                os.unlink(old)
        for name in names:
            os.replace(staging / name, folder / name)
        staging.rmdir()
    atomic.sync_folder(folder)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """While no other run puts its files into the folder: those of two together would be no run's rows.

    It is the folder that is locked: a file for that would stay among the rows.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # A file system that can't lock a folder, as NFS, leaves the runs of this process to tell apart.
        with suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_EX)
        with _placing:
            yield
    finally:
        os.close(fd)


def _write_remote(
    contents: Iterable[Iterator[bytes]], folder: str, row_format: RowFormat, meter: Meter, store: PartStore
) -> None:
    names = []
    for number, pieces in enumerate(contents):
        names.append(part_name(number, row_format))
        upload(pieces, f"{folder.rstrip('/')}/{names[-1]}", meter, token_of(store))
    files, _ = filesystem(folder)
    try:
        files.invalidate_cache()
        for old in part_files(folder):
            if old.rpartition("/")[2] not in names:
                files.rm(filesystem(old)[1])
    except OSError as error:
        raise InfrastructureLost(
            f"Part files of an earlier run in {folder} can't be removed: {error}. {TRY_AGAIN}"
        ) from error


def _write_mltable(folder: str, row_format: RowFormat) -> None:
    """Write the MLTable of the part files, unless somebody else's is there."""
    path = f"{folder.rstrip('/')}/{_MLTABLE}"
    with suppress(FileNotFoundError):
        if not read_bytes(path).startswith(_MADE_BY.encode()):
            return
    pattern = f"./part-*{FILE_ENDINGS[row_format.name]}"
    text = (
        f"{_MADE_BY}type: mltable\npaths:\n  - pattern: {pattern}\ntransformations:\n{_READ[row_format.name]}"
    )
    if is_url(path):
        files, inner = filesystem(path)
        files.pipe_file(inner, text.encode())
    else:
        atomic.replace_file(Path(path), text.encode())


def _other_files(folder: str, with_mltable: bool) -> tuple[str, ...]:
    """A sentence where the folder holds what its readers may take for rows."""
    ours: Callable[[str], object] = _OURS.fullmatch
    others = sorted(
        name
        for name in os.listdir(folder)
        if not name.startswith((".", "_")) and not ours(name) and not (with_mltable and name == _MLTABLE)
    )
    if not others:
        return ()
    more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    return (
        f"the folder {folder} holds other things beside the part files ({', '.join(others[:_NAMED])}{more}): "
        "who reads the whole folder may take them for rows; put them elsewhere",
    )
