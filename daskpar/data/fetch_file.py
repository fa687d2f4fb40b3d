"""Fetches files from URLs to local ones, and makes sure that they are those that were planned."""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Any

from daskpar.data.fetch_object import get_object, is_of_s3
from daskpar.data.files import ListingNotes, is_web, list_files
from daskpar.data.reach import unreadable
from daskpar.data.stamps import UNKNOWN, Stamp, check, not_there, planned_stamp
from daskpar.datastores import carried
from daskpar.errors import DataUnreached, InputError
from daskpar.fetched_names import check_apart, name_below
from daskpar.locations import OBJECT_STORES, filesystem, kind_at, remote_errors

THREADS = 16
"""Files that are fetched at one time."""
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EMFILE, errno.ENFILE})
"""What the disk here says, and no store."""

Fetched = Callable[[str, str, Stamp], int]


def fetch_file(url: str, target: str, planned: Stamp = UNKNOWN) -> int:
    """Fetch one file to `target`, whose folder is made, and return its size in bytes.

    `target` is there once the file is whole, and read-only. Raises InputChanged where the file is not what
    was planned, or gone; DataUnreached where its store, or room for it, can't be had now; else InputError.
    """
    with _fetched(url, target, planned) as temporary:
        found, inner = filesystem(url)
        came = UNKNOWN
        with remote_errors():
            if is_of_s3(found):
                from fsspec.asyn import sync

                came = sync(found.loop, get_object, found, inner, temporary, planned.size)
            else:
                found.get_file(inner, temporary)
        if not _is_planned(temporary, came, planned):
            _check(url, temporary, planned)
        return _put_in_place(temporary, target)


async def fetch_on_loop(url: str, target: str, planned: Stamp, others: Executor) -> int:
    """The same on the loop of fsspec, several at a time; what has to wait goes to the threads of `others`.

    A third of the processor time less than in threads, which take turns with that loop all the time.
    """
    loop = asyncio.get_running_loop()
    with _fetched(url, target, planned) as temporary:
        found, inner = filesystem(url)
        if is_of_s3(found):
            with remote_errors():
                came = await get_object(found, inner, temporary, planned.size)
            if not _is_planned(temporary, came, planned):
                await loop.run_in_executor(others, _check, url, temporary, planned)
            return _put_in_place(temporary, target)
    return await loop.run_in_executor(others, fetch_file, url, target, planned)


@contextmanager
def _fetched(url: str, target: str, planned: Stamp) -> Iterator[str]:
    """A name for what is not whole yet, beside `target`; nothing is left there, and errors are ours."""
    folder = os.path.dirname(target)
    temporary = f"{folder}/.daskpar-{secrets.token_hex(6)}"
    try:
        os.makedirs(folder, exist_ok=True)
        yield temporary
    except OSError as error:
        if error.errno in _DISK:
            raise DataUnreached(f"{url} can't be fetched to {folder}: {error.strerror}") from None
        raise not_there(url, planned, error) from None
    finally:
        if os.path.lexists(temporary):
            os.unlink(temporary)


def _put_in_place(temporary: str, target: str) -> int:
    size = os.stat(temporary).st_size
    os.chmod(temporary, 0o444)
    os.replace(temporary, target)
    return size


def _is_planned(fetched: str, came: Stamp, planned: Stamp) -> bool:
    """Whether the answer that brought a file says that it is what was planned: one request less for each."""
    return not planned.known or (
        came.mark == planned.mark != 0 and os.stat(fetched).st_size == came.size == planned.size
    )


def _check(url: str, fetched: str, planned: Stamp) -> None:
    """What was fetched is what was planned.

    Asked after it was read: a file that has been replaced before or meanwhile has another tag by then.
    """
    check(url, planned)
    size = os.stat(fetched).st_size
    if size != planned.size >= 0:  # the store says that it is the same: then this is not all of it
        raise DataUnreached(f"{url} was cut off: {size} of its {planned.size} bytes came")


def whole_files(url: str, target: str, kind: str) -> list[tuple[str, str, Stamp]]:
    """(URL, local path, stamp) of the file at a URL, or of each file of the folder there.

    `kind`: as `remote_kind` says. InputError where nothing is there, or names can't be those of local files.
    """
    if kind == "file":
        # An answer that breaks off is gone on with by the packages of stores, be it another object by then.
        is_object = url.partition("://")[0].lower() in OBJECT_STORES
        return [(url, target, planned_stamp(url) if is_object else UNKNOWN)]
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
        magic = wildcards if any(sign in url for sign in ("*[" if is_web(url) else "*?[")) else ""
        raise InputError(f"{url} does not exist{_no_bucket(found, inner) or magic}")
    if is_web(url):  # where everything is a file
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
        running = [pool.submit(carried(fetch), *file) for file in files]
        try:
            for done in as_completed(running):
                done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        return [each.result() for each in running]
