"""Records files as they are now, in a small value with which they are compared later: which have changed?"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from daskpar.data import stamps as file_stamps
from daskpar.data.file_look import planned_stamps
from daskpar.data.files import FileList, remote_files
from daskpar.data.folder_walk import is_folder
from daskpar.data.path_column import PathColumn
from daskpar.data.reach import Reach, is_refused, reach_of, unreadable
from daskpar.data.stamp_columns import StampColumns
from daskpar.errors import DataUnreached, InputError
from daskpar.locations import filesystem, is_url, remote_errors
from daskpar.rundir.identity import is_run_directory

NAMED = 5000
"""Up to so many files are kept by name; of more only their number, size and a hash of all."""
LISTED, ORIGIN = "listed", "origin"
"""Keys of what is kept of a long list as it was planned: `LISTED` tells it, `ORIGIN` says of which input."""
_HASHED_BYTES = 16 << 20
"""A code file larger than this is compared by size and time alone: it is data in the folder of the code."""
_CODE = (
    ".py",
    ".pyi",
    ".pyx",
    ".so",
    ".r",
    ".jl",
    ".sh",
    ".sql",
    ".json",
    ".yml",
    ".yaml",
    ".toml",
    ".cfg",
    ".ini",
)
"""What counts as code. A code folder often is the folder of the job as well, where data, logs and results
come and go.
"""
_NO_CODE = {"__pycache__", "node_modules"}

_LOCAL = re.compile(r"(\d{15,}) \d+$")
"""What `_times` gives."""

Stamp = tuple[str, int, str]
"""(name, bytes, text that changes when the file does)."""


def seen_code(folder: Path | str, skip: Iterable[str] = ()) -> dict[str, object]:
    """Source and settings files below a code folder by their content.

    Left out is all else: data, caches, hidden folders, run directories and the paths `skip`.
    """
    return _summary(_stamped(str(folder), _content, _walk(str(folder), set(skip), code=True)))


def seen_data(path: str, skip: Iterable[str] = (), *, may_be_closed: bool = False) -> dict[str, object]:
    """A file, or the files below a folder, by size and time of change; at a URL by size and entity tag.

    `may_be_closed`: a URL that refuses us is as one where nothing lies, for the script may have credentials
    of its own. Raises DataUnreached where a store can't be asked: that says nothing of what lies there.
    """
    if is_url(path):
        return _summary(_stamped_remote(path, may_be_closed=may_be_closed))
    return _summary(
        _stamped(path, _times, _walk(path, set(skip), code=False) if os.path.isdir(path) else [path])
    )


def seen_of(files: FileList, stamps: Sequence[file_stamps.Stamp]) -> dict[str, object] | None:
    """What is kept of a list with its `stamps`, taken as it was planned: nobody need look again.

    None for a short one of local files, which are kept by name (`seen_data`), and where the list may not be
    all that lies there.
    """
    if not files.whole:
        return None
    if len(files) > NAMED:
        return {ORIGIN: files.origin, **_seen_list_of(files, stamps)}
    if not is_url(files.origin) or files.document:
        return None
    return {
        ORIGIN: files.origin,
        **_summary(_remote_stamps(files.origin, zip(files.paths, stamps, strict=True))),
    }


def _seen_list_of(files: FileList, stamps: Sequence[file_stamps.Stamp]) -> dict[str, object]:
    found = seen_columns(files.paths, stamps)
    if files.document:
        own = file_stamps.planned_stamp(files.document)
        text = f"{found['digest']} {own.size} {own.mark}"
        found["digest"] = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    return found


def seen_listing(list_now: Callable[[], FileList]) -> dict[str, object]:
    """The same of all that `list_now` lists, however many files that are."""
    try:
        files = list_now()
        return _seen_list_of(files, planned_stamps(files.paths, files.stamps))
    except DataUnreached:
        raise
    except InputError as error:
        return {LISTED: True, "count": 0, "size_bytes": 0, "digest": str(error)}


def seen_columns(paths: Sequence[str], stamps: Sequence[file_stamps.Stamp]) -> dict[str, object]:
    """Number and size of files, which is the newest, and a hash of their names below their folder, sizes and
    marks: a small fraction of a second for a million.
    """
    import numpy as np

    names, columns = PathColumn.of(paths), StampColumns.of(stamps)
    digest = hashlib.blake2b(digest_size=16)
    for part in (names.data, names.ends, columns.sizes, columns.marks):
        digest.update(part)
    sizes, marks = np.frombuffer(columns.sizes, np.int64), np.frombuffer(columns.marks, np.int64)
    found: dict[str, object] = {
        LISTED: True,
        "count": len(names),
        "size_bytes": int(sizes[sizes > 0].sum()),
        "digest": digest.hexdigest(),
    }
    if not len(names):
        return found
    newest = int(marks.argmax())
    path = names[newest]
    local = "" if is_url(path) else f"{marks[newest]} {sizes[newest]}"
    return {**found, "newest": path.removeprefix(os.fsdecode(names.prefix)), "newest_stamp": local}


def seen_list(paths: Iterable[str]) -> dict[str, object]:
    """Files named one by one, local ones and URLs."""
    stamps: list[Stamp] = []
    for path in paths:
        stamps += _stamped_remote(path) if is_url(path) else _stamped("", _times, [path])
    return _summary(stamps)


def changes(what: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between two moments, one sentence for each kind of change; `what` names the files."""
    if old.get("digest") == new.get("digest"):
        return []
    before, now = old.get("files"), new.get("files")
    if before is None or now is None:
        return [_in_numbers(what, old, new)]
    added = sorted(set(now) - set(before))
    removed = sorted(set(before) - set(now))
    changed = sorted(name for name in set(now) & set(before) if now[name] != before[name])
    kinds = (("changed", changed), ("new", added), ("gone", removed))
    return [
        f"{what}: {first_few(names)} {'is' if len(names) == 1 else 'are'} {kind}"
        for kind, names in kinds
        if names
    ]


def changed_after(seen: Mapping[str, Any], moment: float) -> list[str]:
    """Local files among those seen that were changed after `moment` (seconds since the epoch); of very many,
    the newest alone.
    """
    stamps: Mapping[str, str] = seen.get("files") or {seen.get("newest", ""): seen.get("newest_stamp", "")}
    return [
        name
        for name, stamp in stamps.items()
        if (found := _LOCAL.match(stamp)) and int(found[1]) > moment * 1e9
    ]


def _in_numbers(what: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    def words(seen: Mapping[str, Any]) -> str:
        return f"{seen.get('count', 0)} files of {seen.get('size_bytes', 0)} bytes"

    if words(old) == words(new):
        return f"{what}: at least one of {words(new)} is changed; the newest is {new.get('newest', '?')}"
    return f"{what}: was {words(old)}, is {words(new)}; the newest is {new.get('newest', '?')}"


def first_few(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def _summary(stamps: Iterable[Stamp]) -> dict[str, object]:
    digest = hashlib.blake2b(digest_size=16)
    count = size_bytes = 0
    newest = ("", "")
    files: dict[str, str] | None = {}
    for name, size, stamp in stamps:
        digest.update(f"{name}\0{stamp}\0".encode("utf-8", "surrogateescape"))
        count, size_bytes, newest = count + 1, size_bytes + size, max(newest, (stamp, name))
        if files is not None:
            files[name] = stamp
            files = files if count <= NAMED else None
    found: dict[str, object] = {"count": count, "size_bytes": size_bytes, "digest": digest.hexdigest()}
    return (
        {**found, "newest": newest[1], "newest_stamp": newest[0]}
        if files is None
        else {**found, "files": files}
    )


def _stamped(root: str, stamp: Callable[[str, os.stat_result], str], paths: Iterable[str]) -> Iterator[Stamp]:
    prefix = root.rstrip("/") + "/"
    for path in paths:
        name = path.removeprefix(prefix) if root else path
        try:
            seen = os.stat(path)
            yield name, seen.st_size, stamp(path, seen)
        except OSError:
            yield name, 0, "missing"


def _times(_: str, seen: os.stat_result) -> str:
    return f"{seen.st_mtime_ns} {seen.st_size}"


def _content(path: str, seen: os.stat_result) -> str:
    if seen.st_size > _HASHED_BYTES:
        return _times(path, seen)
    with open(path, "rb") as file:
        return hashlib.blake2b(file.read(), digest_size=12).hexdigest()


def _walk(folder: str, skip: set[str], *, code: bool) -> Iterator[str]:
    """Files below `folder`, sorted within each folder; links to folders are followed only for data, never in
    circles.
    """
    waiting = [(folder.rstrip("/") or "/", frozenset[tuple[int, int]]())]
    while waiting:
        here, above = waiting.pop()
        try:
            with os.scandir(here) as found:
                entries = sorted(found, key=lambda entry: entry.name)
            status = os.stat(here)
        except OSError:
            continue
        inside = above | {(status.st_dev, status.st_ino)}
        folders = []
        for entry in entries:
            if entry.path in skip or (code and _is_no_code(entry)):
                continue
            if not (entry.is_dir(follow_symlinks=False) if code else is_folder(entry)):
                yield entry.path
            elif not is_run_directory(entry.path) and (code or _identity(entry) not in inside):
                folders.append((entry.path, inside))
        waiting += reversed(folders)


def _is_no_code(entry: os.DirEntry[str]) -> bool:
    if entry.is_dir(follow_symlinks=False):
        return entry.name in _NO_CODE or entry.name.startswith(".")
    return not entry.name.lower().endswith(_CODE) or not os.path.isfile(
        entry.path
    )  # is_file() raises for a link in a circle


def _identity(entry: os.DirEntry[str]) -> tuple[int, int]:
    try:
        seen = entry.stat()
    except OSError:
        return 0, 0
    return seen.st_dev, seen.st_ino


def _stamped_remote(path: str, *, may_be_closed: bool = False) -> list[Stamp]:
    files, inner = filesystem(path)
    files.invalidate_cache()  # what an earlier listing said is no answer
    try:
        found = remote_files(path)
        if not found:
            with remote_errors():
                found = {path: file_stamps.remote_stamp(files.info(inner))}
    except OSError as error:
        if reach_of(error) == Reach.GONE or (may_be_closed and is_refused(error)):
            return [(path, 0, "missing")]
        raise unreadable(path, error) from None
    return _remote_stamps(path, found.items())


def _remote_stamps(path: str, found: Iterable[tuple[str, file_stamps.Stamp]]) -> list[Stamp]:
    """Of the URLs `found` at `path`, by the names that their filesystem has for them."""
    inner = filesystem(path)[0]._strip_protocol
    return [(inner(url), max(0, stamp.size), f"{stamp.mark:x} {stamp.size}") for url, stamp in found]
