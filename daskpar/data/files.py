"""Lists the files that lie at a location, sorted."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from daskpar.errors import InputError
from daskpar.locations import filesystem, is_url, remote_errors

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, kw_only=True)
class FileList:
    """Files in the order of the table or folder that names them; a path may come twice."""

    paths: Sequence[str]
    columns: pa.Table | None = None
    """Columns taken from the paths (`extract_columns_from_partition_format`), a row for each file; None
    without.
    """
    has_path: bool = True
    """False where a step has dropped the column `Path`."""
    origin: str = ""
    """The folder or MLTable they were listed from, for messages."""

    def __len__(self) -> int:
        return len(self.paths)


def list_files(path: str) -> FileList:
    """All files at a location: the file itself, or what lies below the folder, hidden files included.

    The order is depth first, the entries of each folder sorted by name (files and folders interleaved, as
    their bytes compare); Microsoft's reader gives the order of the disk. Links to folders are followed, but
    never in circles. InputError where nothing is there.
    """
    if is_url(path):
        return FileList(paths=_list_url(path), origin=path)
    if os.path.isdir(path):
        return FileList(paths=walk(path), origin=path)
    if not os.path.exists(path):
        raise InputError(f"{path} does not exist")
    return FileList(paths=[path], origin=path)


def walk(folder: str) -> list[str]:
    """The files below a local folder, as `list_files` orders them."""
    found: list[str] = []
    try:
        _walk(folder.rstrip("/") or "/", found, (folder_identity(folder),))
    except OSError as error:
        raise InputError(f"{folder} can't be listed: {error.strerror or error}") from None
    return found


def file_size(path: str) -> int:
    """Bytes of a file; OSError where it is missing or a folder."""
    if is_url(path):
        found, inner = filesystem(path)
        with remote_errors():
            known = found.info(inner)
        size, is_folder = int(known["size"] or 0), known["type"] == "directory"
    else:
        seen = os.stat(path)
        size, is_folder = seen.st_size, stat.S_ISDIR(seen.st_mode)
    if is_folder:
        raise IsADirectoryError(errno.EISDIR, "is a folder, not a file", path)
    return size


def _walk(folder: str, found: list[str], above: tuple[tuple[int, int], ...]) -> None:
    with os.scandir(folder) as entries:
        listed = list(entries)
    prefix = "/" if folder == "/" else folder + "/"
    names = sorted([entry.name for entry in listed])
    folders = {entry.name for entry in listed if is_folder(entry)}
    if not folders:  # flat folders of millions of files are common: half a microsecond each
        found += map(prefix.__add__, names)
        return
    for name in names:
        path = prefix + name
        if name not in folders:
            found.append(path)
        elif (own := folder_identity(path)) not in above:
            _walk(path, found, (*above, own))


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to one; a link in a circle leads nowhere, so it is none.

    OSError where a link can't be followed for another reason.
    """
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        raise


def folder_identity(folder: str) -> tuple[int, int]:
    """What a local folder has in common with links to it: device and inode."""
    seen = os.stat(folder)
    return seen.st_dev, seen.st_ino


def _list_url(path: str) -> list[str]:
    found, inner = filesystem(path)
    try:
        with remote_errors():
            details: dict[str, Any] = found.find(inner, detail=True)
    except OSError as error:
        raise InputError(f"{path} can't be listed: {error}") from None
    names = sorted(details, key=lambda name: name.split("/"))
    if not names:
        raise InputError(f"{path} does not exist, or holds no file")
    return [found.unstrip_protocol(name) for name in names]
