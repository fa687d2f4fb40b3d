"""Uploads local files to a store, each whole or not at all, and removes objects there."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator

from daskpar.locations import filesystem, is_object_store, make_folder_of, remote_errors
from daskpar.outputs.meter import Meter
from daskpar.outputs.upload import beside, send

AT_ONCE_BYTES = 32 << 20
"""Files up to this size are sent by one request; larger ones in blocks, a few at a time."""
BLOCK_BYTES = 16 << 20
MOST_BLOCKS = 9000
"""S3 takes 10,000 parts of an object."""
READ_BYTES = 4 << 20
_large = threading.BoundedSemaphore(2)
"""Large files that this process uploads at one time: each takes some blocks of memory."""


def upload_file(path: str, target: str) -> None:
    """Upload the file at `path` to the URL `target`, which is replaced once all is there.

    Raises what the store raises, as an OSError at least, and OSError where `path` can't be read.
    """
    size = os.stat(path).st_size
    files, inner = filesystem(target)
    whole_at_close = is_object_store(target)
    name = inner if whole_at_close else beside(inner, f"{os.getpid()}-{threading.get_ident()}")
    make_folder_of(target, files, inner)
    with remote_errors():
        if size <= AT_ONCE_BYTES:
            with open(path, "rb") as file:
                files.pipe_file(name, file.read())
        else:
            with _large:
                block = max(BLOCK_BYTES, size // MOST_BLOCKS + 1)
                send(_pieces(path), files, name, Meter(size, None), whole_at_close, block_size=block)
        if not whole_at_close:
            files.mv(name, inner)


def _pieces(path: str) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while data := file.read(READ_BYTES):
            yield data


def remove_object(target: str) -> None:
    """Remove the object at a URL; nothing where there is none. Raises as `upload_file`."""
    files, inner = filesystem(target)
    with remote_errors():
        try:
            files.rm_file(inner)
        except FileNotFoundError:
            pass


def files_below(folder: str) -> Iterator[tuple[str, str]]:
    """Each regular file below a local folder: its path, and the path from there with `/`. Links are followed,
    since a store has none, but not in circles.
    """
    above: dict[str, str] = {folder: os.path.realpath(folder)}
    for root, folders, names in os.walk(folder, followlinks=True):
        real = above.pop(root, "")
        for name in sorted(folders):
            inside = os.path.join(root, name)
            target = os.path.realpath(inside) if os.path.islink(inside) else os.path.join(real, name)
            above[inside] = target
            if os.path.islink(inside) and f"{real}/".startswith(f"{target}/"):
                folders.remove(name)
        folders.sort()
        for name in sorted(names):
            path = os.path.join(root, name)
            try:
                is_file = stat.S_ISREG(os.stat(path).st_mode)
            except OSError:
                continue  # a link to nothing
            if is_file:
                yield path, os.path.relpath(path, folder).replace(os.sep, "/")


def object_at(folder: str, name: str) -> str:
    """The URL of the file `name` in the folder at a URL."""
    return f"{folder.rstrip('/')}/{name}"
