"""Lists the files that lie at a location, sorted."""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from daskpar.data.reach import Reach, reach_of
from daskpar.data.stamps import Stamp, kind_of, remote_stamp
from daskpar.errors import DataUnreached, InputError
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
    stamps: Mapping[str, Stamp] = field(default_factory=dict)
    """What a listing of a store told of its objects, by path."""
    warnings: tuple[str, ...] = ()
    """What was left out of the list."""
    parts: tuple[int, ...] = ()
    """How many files each of several inputs has that are split one after the other; empty for one."""

    def __len__(self) -> int:
        return len(self.paths)


@dataclass
class ListingNotes:
    """What listing files finds out beside their names."""

    stamps: dict[str, Stamp] = field(default_factory=dict)
    """As `FileList.stamps`."""
    left_out: dict[str, str] = field(default_factory=dict)
    """What is no plain file, by path, and what it is instead."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """One sentence that counts and names what was left out; none where nothing was."""
        if not self.left_out:
            return ()
        kinds = Counter(self.left_out.values())
        counted = ", ".join(f"{number} × {kind}" for kind, number in sorted(kinds.items()))
        names = sorted(self.left_out)
        named = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        return (
            f"left out, for {'they are' if len(names) > 1 else 'it is'} no plain file: {counted} ({named})",
        )


def joined(lists: Sequence[FileList]) -> FileList:
    """The files of several inputs, one after the other; no mini-batch has files of two."""
    return FileList(
        paths=[path for each in lists for path in each.paths],
        origin=", ".join(each.origin for each in lists),
        stamps={path: stamp for each in lists for path, stamp in each.stamps.items()},
        warnings=tuple(text for each in lists for text in each.warnings),
        parts=tuple(len(each) for each in lists),
    )


def list_files(path: str, notes: ListingNotes | None = None) -> FileList:
    """All files at a location: the file itself, or what lies below the folder, hidden files included.

    The order is depth first, the entries of each folder sorted by name (files and folders interleaved, as
    their bytes compare); Microsoft's reader gives the order of the disk. Links to folders are followed, but
    never in circles. Pipes, sockets, devices and links to nothing are left out. InputError where nothing is
    there, or one of these.
    """
    notes = ListingNotes() if notes is None else notes
    if is_url(path):
        found = _list_url(path, notes)
    elif os.path.isdir(path):
        found = walk(path, notes)
    elif not os.path.exists(path):
        nothing = "is a link to nothing" if os.path.islink(path) else "does not exist"
        raise InputError(f"{path} {nothing}")
    elif not os.path.isfile(path):
        raise InputError(f"{path} is {kind_of(os.stat(path).st_mode)}, not a file or folder")
    else:
        found = [path]
    return FileList(paths=found, origin=path, stamps=notes.stamps, warnings=notes.warnings)


def walk(folder: str, notes: ListingNotes | None = None) -> list[str]:
    """The files below a local folder, as `list_files` orders them."""
    found: list[str] = []
    notes = ListingNotes() if notes is None else notes
    try:
        _walk(folder.rstrip("/") or "/", found, (folder_identity(folder),), notes.left_out)
    except OSError as error:
        raise InputError(f"{folder} can't be listed: {error.strerror or error}") from None
    return found


def _walk(
    folder: str, found: list[str], above: tuple[tuple[int, int], ...], left_out: dict[str, str]
) -> None:
    with os.scandir(folder) as entries:
        listed = list(entries)
    prefix = "/" if folder == "/" else folder + "/"
    names = sorted([entry.name for entry in listed])
    # What is neither file nor folder by the folder's own words is looked at: links are.
    special = [entry for entry in listed if not entry.is_file(follow_symlinks=False)]
    folders = {entry.name for entry in special if is_folder(entry)}
    odd = {entry.name: kind for entry in special if entry.name not in folders and (kind := odd_kind(entry))}
    if odd:
        left_out.update((prefix + name, kind) for name, kind in odd.items())
        names = [name for name in names if name not in odd]
    if not folders:  # flat folders of millions of files are common: half a microsecond each
        found += map(prefix.__add__, names)
        return
    for name in names:
        path = prefix + name
        if name not in folders:
            found.append(path)
        elif (own := folder_identity(path)) not in above:
            _walk(path, found, (*above, own), left_out)


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


def odd_kind(entry: os.DirEntry[str]) -> str:
    """What an entry is that is no folder: empty for a file or a link to one, else in words."""
    if entry.is_file(follow_symlinks=False):
        return ""
    try:
        mode = entry.stat().st_mode
    except OSError as error:
        nowhere = error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
        return "a link to nothing" if nowhere else ""  # what else is wrong is said where it is read
    return "" if stat.S_ISREG(mode) else kind_of(mode)


def folder_identity(folder: str) -> tuple[int, int]:
    """What a local folder has in common with links to it: device and inode."""
    seen = os.stat(folder)
    return seen.st_dev, seen.st_ino


def _list_url(path: str, notes: ListingNotes) -> list[str]:
    found, inner = filesystem(path)
    try:
        with remote_errors():
            details: dict[str, Any] = found.find(inner, detail=True)
    except OSError as error:
        kind = DataUnreached if reach_of(error) == Reach.UNREACHED else InputError
        raise kind(f"{path} can't be listed: {error}") from None
    # Consoles of stores mark a folder by an empty object with its name.
    details = {
        name: info for name, info in details.items() if not (name.endswith("/") and not info.get("size"))
    }
    web = path.partition("://")[0].lower() in ("http", "https")
    if web:  # links that sort a list of files, as servers have them, lead to no file
        details = {name: info for name, info in details.items() if name != inner and "?" not in name}
    names = sorted(details, key=lambda name: name.split("/"))
    if not names:
        trouble = "shows no links to files below it" if web else "does not exist, or holds no file"
        raise InputError(f"{path} {trouble}")
    paths = _urls_below(path, found, inner, names)
    stamps = (remote_stamp(details[name]) for name in names)
    notes.stamps.update((full, stamp) for full, stamp in zip(paths, stamps, strict=True) if stamp.known)
    return paths


def _urls_below(path: str, found: Any, inner: str, names: Sequence[str]) -> list[str]:
    """URLs of what a filesystem calls by these names: as that of the folder was written, which may say more
    than the names (an account, for example).
    """
    head, inner = path.rstrip("/"), inner.rstrip("/")
    if head.lower().startswith("memory://"):  # which may be written with two slashes or three
        return [found.unstrip_protocol(name) for name in names]
    if not all(name == inner or name.startswith(f"{inner}/") for name in names):
        return [found.unstrip_protocol(name) for name in names]
    return [head + name[len(inner) :] for name in names]
