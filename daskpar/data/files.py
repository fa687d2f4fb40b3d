"""Lists of files: what lies at a location, sorted, with the stamps by which a resume sees that an input has changed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from daskpar.data.locations import filesystem, is_url
from daskpar.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, kw_only=True)
class FileList:
    """Files in the order of the table or folder that names them; a path may come twice."""

    paths: Sequence[str]
    columns: pa.Table | None = None
    """Columns taken from the paths (`extract_columns_from_partition_format`), a row for each file; None without."""
    has_path: bool = True
    """False where a step has dropped the column `Path`."""
    origin: str = ""
    """The folder or MLTable they were listed from, for messages."""

    def __len__(self) -> int:
        return len(self.paths)

    def fingerprint(self) -> str:
        """Hash of paths, sizes and times of change."""
        return fingerprint(self.paths)


def list_files(path: str) -> FileList:
    """All files at a location: the file itself, or what lies below the folder, hidden files included.

    The order is depth first, the entries of each folder sorted by name (files and folders interleaved, as their bytes compare).
    Links to folders are followed, but never in circles. InputError where nothing is there.
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
        _walk(folder.rstrip("/") or "/", found, (_identity(folder),))
    except OSError as error:
        raise InputError(f"{folder} can't be listed: {error.strerror or error}") from None
    return found


def fingerprint(paths: Iterable[str]) -> str:
    """Hash of paths with their sizes and times of change (URLs: size and entity tag, where the store tells them)."""
    digest = hashlib.blake2b(digest_size=16)
    for path, stamp in zip(paths, stamps(paths), strict=True):
        digest.update(f"{path}\0{stamp}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def stamps(paths: Iterable[str]) -> Iterator[str]:
    """For each file its size and time of change in words, `missing` where there is none."""
    for path in paths:
        if is_url(path):
            yield _url_stamp(path)
            continue
        try:
            seen = os.stat(path)
        except OSError:
            yield "missing"
        else:
            yield f"{seen.st_size} {seen.st_mtime_ns}"


def size_of(path: str) -> int:
    """Bytes of a file; OSError where it is missing or a folder."""
    if is_url(path):
        found, inner = filesystem(path)
        return int(found.info(inner)["size"])
    seen = os.stat(path)
    if os.path.isdir(path):
        raise IsADirectoryError(21, "is a folder, not a file", path)
    return seen.st_size


def _walk(folder: str, found: list[str], above: tuple[tuple[int, int], ...]) -> None:
    with os.scandir(folder) as entries:
        listed = sorted((entry.name, _is_folder(entry)) for entry in entries)
    prefix = "/" if folder == "/" else folder + "/"
    for name, is_folder in listed:
        path = prefix + name
        if not is_folder:
            found.append(path)
        elif (identity := _identity(path)) not in above:
            _walk(path, found, (*above, identity))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir()


def _identity(folder: str) -> tuple[int, int]:
    seen = os.stat(folder)
    return seen.st_dev, seen.st_ino


def _list_url(path: str) -> list[str]:
    found, inner = filesystem(path)
    try:
        details: dict[str, Any] = found.find(inner, detail=True)
    except OSError as error:
        raise InputError(f"{path} can't be listed: {error}") from None
    names = sorted(details, key=lambda name: name.split("/"))
    if not names:
        raise InputError(f"{path} does not exist, or holds no file")
    return [found.unstrip_protocol(name) for name in names]


def _url_stamp(path: str) -> str:
    found, inner = filesystem(path)
    try:
        info = found.info(inner)
    except OSError:
        return "missing"
    tag = info.get("ETag") or info.get("etag") or info.get("LastModified") or info.get("mtime") or info.get("created") or ""
    return f"{info.get('size')} {tag}"
