"""Fetches files from URLs to local ones, and makes sure that they are those that were planned."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from daskpar.data.files import ListingNotes, list_files
from daskpar.data.reach import unreadable
from daskpar.data.stamps import UNKNOWN, Stamp, check, not_there, remote_stamp
from daskpar.errors import DataUnreached, InputError
from daskpar.fetched_names import check_apart, name_below
from daskpar.locations import filesystem, kind_at, remote_errors

THREADS = 16
"""Files that are fetched at one time."""
_MD5_STORES = ("s3", "s3a")
"""Where the entity tag of a file that was written in one go is the MD5 of its bytes."""
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EMFILE, errno.ENFILE})
"""What the disk here says, and no store."""
_PIECE = 1 << 20

Fetched = Callable[[str, str, Stamp], int]


def fetch_file(url: str, target: str, planned: Stamp = UNKNOWN) -> int:
    """Fetch one file to `target`, whose folder is made, and return its size in bytes.

    `target` is there once the file is whole, and read-only. Raises InputChanged where the file is not what
    was planned, or gone; DataUnreached where its store, or room for it, can't be had now; else InputError.
    """
    temporary = f"{os.path.dirname(target)}/.daskpar-{secrets.token_hex(6)}"
    try:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        found, inner = filesystem(url)
        with remote_errors():
            found.get_file(inner, temporary)
        size = os.stat(temporary).st_size
        _check(url, temporary, size, planned)
        os.chmod(temporary, 0o444)
        os.replace(temporary, target)
        return size
    except OSError as error:
        if error.errno in _DISK:
            where = os.path.dirname(target)
            raise DataUnreached(f"{url} can't be fetched to {where}: {error.strerror}") from None
        raise not_there(url, planned, error) from None
    finally:
        if os.path.lexists(temporary):
            os.unlink(temporary)


def _check(url: str, fetched: str, size: int, planned: Stamp) -> None:
    """What was fetched is what was planned.

    Looked at after it was read: a file that has been replaced before or meanwhile has another tag by then.
    """
    if not planned.known:
        return
    has_md5 = size == planned.size and url.partition("://")[0].lower() in _MD5_STORES
    if has_md5 and remote_stamp({"ETag": _md5(fetched), "size": size}).mark == planned.mark:
        return  # one request less for each file
    check(url, planned)
    if size != planned.size:  # the store says that it is the same: then this is not all of it
        raise DataUnreached(f"{url} was cut off: {size} of its {planned.size} bytes came")


def _md5(path: str) -> str:
    found = hashlib.md5(usedforsecurity=False)
    with open(path, "rb", buffering=0) as file:
        while piece := file.read(_PIECE):
            found.update(piece)
    return found.hexdigest()


def whole_files(url: str, target: str, kind: str) -> list[tuple[str, str, Stamp]]:
    """(URL, local path, stamp) of the file at a URL, or of each file of the folder there.

    `kind`: as `remote_kind` says. InputError where nothing is there, or names can't be those of local files.
    """
    if kind == "file":
        return [(url, target, UNKNOWN)]
    notes = ListingNotes()
    files = []
    for path in list_files(url, notes).paths:
        if (name := name_below(path, url)) is not None:
            files.append((path, f"{target}/{name}", notes.stamps.get(path, UNKNOWN)))
    check_apart((path, place) for path, place, _ in files)
    return files


def remote_kind(url: str, declared: str) -> str:
    """`file` or `folder`: what lies at the URL of an input of type `declared`.

    Raises InputError where nothing does, or the other one; DataUnreached where nobody can say.
    """
    try:
        found, inner = filesystem(url)
        kind = kind_at(found, inner)
    except OSError as error:
        raise unreadable(url, error) from None
    if not kind:
        wildcards = ": it is taken as it is written. For wildcards write an MLTable with `pattern`"
        magic = wildcards if any(sign in url for sign in "*?[") else ""
        raise InputError(f"{url} does not exist{_no_bucket(found, inner) or magic}")
    if url.partition("://")[0].lower() in ("http", "https"):  # where everything is a file
        is_file = declared == "uri_file" or (declared == "custom_model" and not url.endswith("/"))
        return "file" if is_file else "folder"
    if declared == "uri_file" and kind == "directory":
        raise InputError(f"{url} is a folder, and the input is a file: write type: uri_folder")
    if declared not in ("uri_file", "custom_model", "triton_model") and kind == "file":
        raise InputError(f"{url} is a file, and the input is a folder: write type: uri_file")
    return "file" if kind == "file" else "folder"


def _no_bucket(found: Any, inner: str) -> str:
    """What to say where the bucket or container itself is not there."""
    bucket = inner.partition("/")[0]
    if "/" not in inner.rstrip("/") or "://" in inner:
        return ""
    try:
        return "" if kind_at(found, bucket) else f": there is no bucket or container {bucket!r}"
    except OSError:
        return ""  # it may not be asked for


def fetch_all(files: Iterable[tuple[str, str, Stamp]], fetch: Fetched = fetch_file) -> list[int]:
    """Fetch these (URL, local path, stamp), several at one time; their sizes. The first error is raised."""
    with ThreadPoolExecutor(THREADS) as pool:
        running = [pool.submit(fetch, *file) for file in files]
        try:
            for done in as_completed(running):
                done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        return [each.result() for each in running]
