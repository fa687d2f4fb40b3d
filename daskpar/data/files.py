"""Lists the files that lie at a location, sorted."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any

from daskpar.data.folder_walk import FolderWalk
from daskpar.data.path_column import PathColumn
from daskpar.data.reach import Reach, advice, reach_of
from daskpar.data.stamps import Stamp, kind_of, remote_stamp
from daskpar.errors import DataUnreached, InputError
from daskpar.locations import filesystem, is_url, remote_errors
from daskpar.value_classes import frozen, mutable

if TYPE_CHECKING:
    import pyarrow as pa


@frozen(kw_only=True)
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
    whole: bool = False
    """Whether it is all that `origin` names, and no run directory of ours is among that."""
    document: str = ""
    """The MLTable that names them, if one does."""
    parts: tuple[int, ...] = ()
    """How many files each of several inputs has that are split one after the other; empty for one."""

    def __len__(self) -> int:
        return len(self.paths)


@mutable
class ListingNotes:
    """What listing files finds out beside their names."""

    stamps: dict[str, Stamp] = field(default_factory=dict)
    """As `FileList.stamps`."""
    left_out: dict[str, str] = field(default_factory=dict)
    """What is no plain file, by path, and what it is instead."""
    holds_runs: bool = False
    """Whether run directories of ours may be among what was listed."""

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
        paths=PathColumn.of(path for each in lists for path in each.paths),
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
        found: Sequence[str] = _list_url(path, notes)
    elif os.path.isdir(path):
        found = walk(path, notes)
    elif not os.path.exists(path):
        nothing = "is a link to nothing" if os.path.islink(path) else "does not exist"
        raise InputError(f"{path} {nothing}")
    elif not os.path.isfile(path):
        raise InputError(f"{path} is {kind_of(os.stat(path).st_mode)}, not a file or folder")
    else:
        found = [path]
    return FileList(
        paths=found,
        origin=path,
        stamps=notes.stamps,
        warnings=notes.warnings,
        whole=not notes.holds_runs,
    )


def walk(folder: str, notes: ListingNotes | None = None) -> Sequence[str]:
    """The files below a local folder, as `list_files` orders them."""
    going = FolderWalk(folder)
    try:
        found = going.run()
    except OSError as error:
        raise InputError(f"{folder} can't be listed: {error.strerror or error}") from None
    if notes is not None:
        notes.left_out.update(going.left_out)
        notes.holds_runs = notes.holds_runs or going.holds_runs
    return found


def _list_url(path: str, notes: ListingNotes) -> list[str]:
    try:
        found = remote_files(path)
    except OSError as error:
        kind = DataUnreached if reach_of(error) == Reach.UNREACHED else InputError
        raise kind(f"{path} can't be listed: {error}{advice(path, error)}") from None
    if not found:
        trouble = "shows no links to files below it" if is_web(path) else "does not exist, or holds no file"
        raise InputError(f"{path} {trouble}")
    notes.stamps.update((full, stamp) for full, stamp in found.items() if stamp.known)
    return list(found)


def remote_files(path: str) -> dict[str, Stamp]:
    """The URLs of all files at a URL, ordered as by `list_files`, with their stamps; empty where none is.

    OSError where they can't be listed.
    """
    found, inner = filesystem(path)
    with remote_errors():
        details: dict[str, Any] = found.find(inner, detail=True)
    # Consoles of stores mark a folder by an empty object with its name.
    details = {
        name: info for name, info in details.items() if not (name.endswith("/") and not info.get("size"))
    }
    if is_web(path):  # links that sort a list of files, as servers have them, lead to no file
        details = {name: info for name, info in details.items() if name != inner and "?" not in name}
    names = sorted(details, key=lambda name: name.split("/"))
    stamps = (remote_stamp(details[name]) for name in names)
    return dict(zip(urls_below(path, found, inner, names), stamps, strict=True))


def is_web(path: str) -> bool:
    """Whether a URL is of the web, where everything is a file."""
    return path.partition("://")[0].lower() in ("http", "https")


def urls_below(path: str, found: Any, inner: str, names: Sequence[str]) -> list[str]:
    """URLs of what a filesystem calls by these names: as that of the folder was written, which may say more
    than the names (an account, for example).
    """
    head, inner = path.rstrip("/"), inner.rstrip("/")
    if head.lower().startswith("memory://"):  # which may be written with two slashes or three
        return [found.unstrip_protocol(name) for name in names]
    if not all(name == inner or name.startswith(f"{inner}/") for name in names):
        return [found.unstrip_protocol(name) for name in names]
    return [head + name[len(inner) :] for name in names]
