"""What of this machine is seen in a container, each folder and file under its own path."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from typing import TypeVar

from daskpar.errors import UsageError
from daskpar.value_classes import frozen

_T = TypeVar("_T")

OF_THE_IMAGE = frozenset({
    "/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib32", "/lib64", "/media", "/mnt", "/opt",
    "/proc", "/root", "/run", "/sbin", "/srv", "/sys", "/tmp", "/usr", "/var",
})  # fmt: skip
"""Folders in which an image may have something of its own, which a mount would hide."""
MOST_LOOKED_AT = 10_000
"""Files of which it is asked whether they are links that lead elsewhere."""
MOST_MOUNTS = 50
"""For files that lie elsewhere: where they lie in more folders, folders above these are mounted."""


@frozen(kw_only=True)
class Mount:
    """A file or folder that is seen in a container."""

    path: str
    writable: bool = False
    """Whether it can be changed from there."""
    firm: bool = True
    """False: it may be changed, but where it lies in something that may not, that counts."""


def arranged(mounts: Iterable[Mount]) -> list[Mount]:
    """What has to be mounted, from the top down: nothing twice, nor what is seen as it should already.

    Paths that are not there are left out, or for what is to be written replaced by the folder in which it
    will be made. A path that leads elsewhere by a link is mounted with that. UsageError for a folder that
    would hide the image itself.
    """
    found: dict[str, Mount] = {}
    for mount in mounts:
        path = _there(mount)
        for place in dict.fromkeys((path, os.path.realpath(path))) if path else ():
            before = found.get(place)
            # What is read-only on purpose stays so, as on the machine itself.
            if before is None or (not mount.writable and mount.firm) or (mount.firm and not before.firm):
                found[place] = Mount(path=place, writable=mount.writable, firm=mount.firm)
    chosen: dict[str, Mount] = {}
    for place in sorted(found):
        mount = found[place]
        above = nearest(place, chosen)
        if above is not None and (not mount.firm or above.writable == mount.writable):
            continue
        if place in OF_THE_IMAGE:
            raise UsageError(
                f"{place} can't be seen in a container, for it would hide what the image has there: move "
                "what the step reads and writes to a folder of its own"
            )
        chosen[place] = mount
    return list(chosen.values())


def nearest(path: str, mounts: Mapping[str, _T]) -> _T | None:
    """The mount (or what else these paths have) in which `path` lies, the innermost one; None for none."""
    while path not in mounts:
        if path in ("/", ""):
            return None
        path = os.path.dirname(path)
    return mounts[path]


def _there(mount: Mount) -> str:
    path = os.path.abspath(mount.path)
    if os.path.exists(path):
        return path
    while mount.writable and mount.firm and path not in OF_THE_IMAGE:
        path = os.path.dirname(path)
        if os.path.exists(path) and path not in OF_THE_IMAGE:
            return path
    return ""


def for_files(files: Iterable[str], mounts: Iterable[Mount]) -> list[Mount]:
    """Further mounts, by which those of `files` are seen that lie in none of `mounts`, or lead out of them by
    links.
    """
    known = {mount.path: mount for mount in mounts}
    outside: dict[str, list[str]] = {}
    looked = 0
    inside: dict[str, bool] = {}
    for file in files:
        if "://" in file:
            continue
        looked += 1
        places = [file]
        if looked <= MOST_LOOKED_AT and os.path.islink(file):
            places.append(os.path.realpath(file))
        for place in places:
            folder = os.path.dirname(place)
            if folder not in inside:
                inside[folder] = nearest(folder, known) is not None
            if not inside[folder] and place not in known:
                outside.setdefault(folder, []).append(place)
    return _of_folders(outside)


def grouped(folders: Collection[str], files: Collection[str]) -> list[Mount]:
    """Mounts for some folders and files, each its own; of many files, their folders."""
    if len(folders) + len(files) <= MOST_MOUNTS:
        return [Mount(path=path) for path in (*folders, *files)]
    outside: dict[str, list[str]] = {folder: [] for folder in folders}
    for file in files:
        if nearest(os.path.dirname(file), outside) is None:
            outside.setdefault(os.path.dirname(file), []).append(file)
    return _of_folders(outside)


def _of_folders(outside: Mapping[str, list[str]]) -> list[Mount]:
    if len(outside) > MOST_MOUNTS:
        return [Mount(path=path) for path in _above(outside)]
    return [Mount(path=path) for folder, found in outside.items() for path in _mounted(folder, found)]


def _mounted(folder: str, files: list[str]) -> list[str]:
    alone = folder in OF_THE_IMAGE and len(files) <= MOST_MOUNTS
    return files if alone else [folder]


def _above(folders: Iterable[str]) -> list[str]:
    """Few folders that hold all of these, none of them right below `/`."""
    found = {folder: folder.split("/") for folder in folders}
    depth = max(map(len, found.values()))
    while len(found) > MOST_MOUNTS and depth > 3:
        depth -= 1
        found = {"/".join(parts[:depth]): parts[:depth] for parts in found.values()}
    return sorted(found)
