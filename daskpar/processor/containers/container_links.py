"""Links in what a container sees: what they lead to has to be seen there too."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace

from daskpar.processor.containers.container_mounts import (
    MOST_LOOKED_AT,
    OF_THE_IMAGE,
    Mount,
    grouped,
    nearest,
)

_SYSTEM = (
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr",
)  # fmt: skip
"""Where a link means what the image has there, as that of a virtual environment to its Python."""


def led_to(mounts: Iterable[Mount]) -> list[Mount]:
    """Further mounts, by which links in code and inputs lead where they lead outside of the container.

    Of each folder `MOST_LOOKED_AT` entries are looked at. The run directory and outputs, which may be large
    and are written by us, are not.
    """
    known = {mount.path: mount for mount in mounts}
    waiting = [mount for mount in known.values() if not (mount.writable and mount.firm)]
    found: list[Mount] = []
    seen: set[str] = set()
    while waiting:
        mount = waiting.pop(0)
        folders: set[str] = set()
        files: list[str] = []
        for link in _links(mount.path):
            for place in places_of(link):
                if place in seen or not _is_for_us(place) or nearest(place, known) is not None:
                    continue
                seen.add(place)
                if os.path.isdir(place):
                    folders.add(place)
                else:
                    files.append(place)
        # What may not be changed by its link may by its own path, if that lies in what may be.
        for more in grouped(folders, files):
            if more.path in OF_THE_IMAGE:
                continue
            more = replace(more, writable=mount.writable, firm=False)
            known[more.path] = more
            found.append(more)
            if more.path in folders:
                waiting.append(more)
    return found


def places_of(link: str) -> tuple[str, ...]:
    """The paths that have to be there for a link to lead on: that which it holds, and the last one."""
    try:
        held = os.readlink(link)
    except OSError:
        return ()
    folder = os.path.realpath(os.path.dirname(link))
    return tuple(dict.fromkeys((os.path.normpath(os.path.join(folder, held)), os.path.realpath(link))))


def _is_for_us(place: str) -> bool:
    if place in OF_THE_IMAGE or place.startswith(tuple(f"{folder}/" for folder in _SYSTEM)):
        return False
    return os.path.exists(place)


def _links(top: str) -> Iterator[str]:
    """The links at and below a path, the upper ones first; those above `top` are not among them."""
    folders, looked = [top], 0
    while folders:
        try:
            with os.scandir(folders.pop(0)) as entries:
                for entry in entries:
                    looked += 1
                    if looked > MOST_LOOKED_AT:
                        return
                    if entry.is_symlink():
                        yield entry.path
                    elif entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
        except OSError:  # a file, or what nobody but its owner may read
            continue
