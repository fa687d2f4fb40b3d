"""What a file is known by: its size, and a mark that changes with its content.

Stamps are taken when work is planned, and compared by whoever reads.

The mark is the time of change in nanoseconds for a local file, and a number made of the entity tag (or the
time of change) for one in a store.
"""

from __future__ import annotations

import errno
import os
import stat
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from daskpar.data.reach import Reach, reach_of, unreadable
from daskpar.errors import InputChanged, InputError
from daskpar.locations import filesystem, is_url, remote_errors

TAGS = (
    "ETag", "etag", "checksum", "md5Hash", "md5", "content_md5", "Content-MD5", "LastModified",
    "last_modified", "Last-Modified", "mtime", "updated", "created",
)  # fmt: skip
"""Where filesystems say what an object is known by; the first one that is there counts."""
SLOW_SECONDS = 2e-4
"""A look at a file that takes longer is worth a thread: it waits for a network."""
THREADS = 16
TIMED_FILES = 64
"""Files by which it is seen whether looking is slow."""

_Item = TypeVar("_Item")


class Stamp(NamedTuple):
    """A file at one moment."""

    size: int
    """Bytes; -1 where nobody has looked, or a store does not say."""
    mark: int
    """0 for an object without any tag or time: its size alone tells."""

    @property
    def known(self) -> bool:
        """Whether there is anything to compare with."""
        return self.size >= 0 or self.mark != 0


UNKNOWN = Stamp(-1, 0)


def local_stamp(seen: os.stat_result) -> Stamp:
    """The stamp of a local file."""
    return Stamp(seen.st_size, seen.st_mtime_ns)


def remote_stamp(info: Mapping[str, Any]) -> Stamp:
    """The stamp of what a filesystem says of an object, in a listing or of it alone."""
    tag = next((info[name] for name in TAGS if info.get(name)), "")
    # A list of links on a web page has neither; a web server that packs what it sends knows no size of it.
    size = -1 if info.get("size") is None else int(info["size"])
    data = _tag_text(tag).encode("utf-8", "surrogateescape")
    # Two checksums, for one of 32 bits would take one change in four billion for none.
    mark = (zlib.crc32(data) << 31 | zlib.adler32(data) >> 1) if data else 0
    return Stamp(size, mark)


def _tag_text(tag: object) -> str:
    """A tag as text; a time is an object in one answer of a filesystem, and a number or a text in another."""
    text = str(tag).strip('"')
    if not isinstance(tag, datetime | float):
        try:
            tag = datetime.fromisoformat(text) if "-" in text and ":" in text else text
        except ValueError:
            return text
    if isinstance(tag, datetime):
        tag = tag.timestamp()
    return f"{tag:.6f}" if isinstance(tag, float) else text


def stamp_now(path: str) -> Stamp:
    """The stamp of a file as it is now. OSError where it is missing, a folder, or can't be reached."""
    if not is_url(path):
        return local_stamp(os.stat(path))
    with remote_errors():
        return remote_stamp(fresh_info(path))


def fresh_info(path: str) -> dict[str, Any]:
    """What a store says of an object now, not what an earlier listing said."""
    found, inner = filesystem(path)
    # Listings that somebody has asked for would be answered from memory, however old they are.
    if getattr(found, "dircache", None):
        found.invalidate_cache(found._parent(inner))
    info: dict[str, Any] = found.info(inner)
    return info


def stamps_of(paths: Sequence[str], known: Mapping[str, Stamp]) -> list[Stamp]:
    """Stamps of files that are about to be planned; `known` are those of listings, by path.

    UNKNOWN for objects that no listing told of, for the script opens these by itself, and for what is not
    there. InputError for what is no plain file. For long lists there is `file_look`.
    """
    urls = any("://" in path for path in paths)

    def one(path: str) -> Stamp:
        if (found := known.get(path)) is not None:
            return found
        return UNKNOWN if urls and is_url(path) else look_at_one(path)

    return look_at_each(one, paths)


def look_at_each(look: Callable[[_Item], Stamp], items: Sequence[_Item]) -> list[Stamp]:
    """What `look` gives for each item: one after the other as long as that is quick, then by threads."""
    found = list[Stamp]()
    for item in items:
        if len(found) % TIMED_FILES == 0:
            began = time.monotonic()
        found.append(look(item))
        if time.monotonic() - began > SLOW_SECONDS * TIMED_FILES:
            with ThreadPoolExecutor(THREADS) as pool:
                return found + list(pool.map(look, items[len(found) :]))
    return found


def look_at_one(path: str) -> Stamp:
    """The stamp of a local file that is about to be planned: UNKNOWN for one that is not there.

    InputError for what is no plain file, DataUnreached where nobody can say.
    """
    try:
        seen = os.stat(path)
    except (OSError, ValueError):
        # One that is missing is for the script to meet: nothing of it is read by us.
        return planned_stamp(path) if os.path.lexists(path) else UNKNOWN
    return local_stamp(seen) if stat.S_ISREG(seen.st_mode) else planned_stamp(path)


def planned_stamp(path: str) -> Stamp:
    """The stamp of a file that is to be read.

    InputError where it is missing or no plain file, DataUnreached where nobody can say.
    """
    try:
        if is_url(path):
            with remote_errors():
                info = fresh_info(path)
            if info["type"] == "directory":
                raise IsADirectoryError(errno.EISDIR, "is a folder, not a file", path)
            return remote_stamp(info)
        seen = os.stat(path)
    except OSError as error:
        if not is_url(path) and os.path.islink(path):
            raise InputError(
                f"{path} is a link to nothing ({os.readlink(path)}): mend or remove it"
            ) from None
        raise unreadable(path, error) from None
    except ValueError as error:  # a null character
        raise InputError(f"{path!r} is no path: {error}") from None
    if stat.S_ISDIR(seen.st_mode):
        raise unreadable(path, IsADirectoryError(errno.EISDIR, "is a folder, not a file", path))
    if not stat.S_ISREG(seen.st_mode):
        raise InputError(f"{path} is {kind_of(seen.st_mode)}, not a file")
    return local_stamp(seen)


def kind_of(mode: int) -> str:
    """What is no plain file, in words."""
    for test, words in _KINDS:
        if test(mode):
            return words
    return "of an unknown kind"


_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISLNK, "a link to nothing"),
)


def check_local(paths: Iterable[str], sizes: Iterable[int], marks: Iterable[int]) -> None:
    """Local files are what they were: a microsecond for each. Raises as `check`."""
    look = os.stat
    for path, size, mark in zip(paths, sizes, marks, strict=True):
        try:
            seen = look(path)
        except OSError as error:
            raise not_there(path, Stamp(size, mark), error) from None
        if (seen.st_mtime_ns != mark or seen.st_size != size) and size >= 0:
            raise _changed(path, Stamp(size, mark), local_stamp(seen))


def check(path: str, planned: Stamp) -> None:
    """A file is what it was when its stamp was taken, as far as that is known.

    Raises InputChanged where it is not, with what was planned and what is there now; DataUnreached where
    nobody can say.
    """
    if not planned.known:
        return
    try:
        now = stamp_now(path)
    except OSError as error:
        raise not_there(path, planned, error) from None
    has_other_size = now.size != planned.size and min(now.size, planned.size) >= 0
    if has_other_size or (now.mark != planned.mark and planned.mark and now.mark):
        raise _changed(path, planned, now)


def check_opened(path: str, descriptor: int, planned: Stamp) -> None:
    """The same for the local file behind a descriptor: it may be another one than its path leads to."""
    if planned.known and (now := local_stamp(os.fstat(descriptor))) != planned:
        raise _changed(path, planned, now)


def _changed(path: str, planned: Stamp, now: Stamp) -> InputChanged:
    if is_url(path):
        differs = "" if planned.size != now.size else ", and its entity tag or time of change is another"
        text = f"planned: {_bytes(planned)}; now: {_bytes(now)}{differs}"
    else:
        text = f"planned: {_in_words(planned)}; now: {_in_words(now)}"
    return InputChanged(f"{path} has changed since the step was planned ({text})", path=path)


def not_there(path: str, planned: Stamp, error: OSError) -> InputError:
    """The error for a file that was planned and can't be read: InputChanged where it is gone."""
    if reach_of(error) != Reach.GONE:
        return unreadable(path, error)
    was = _bytes(planned) if is_url(path) and planned.known else _in_words(planned)
    return InputChanged(
        f"{path} can't be read: No such file; it was there when the step was planned ({was})",
        path=path,
        gone=True,
    )


def _bytes(stamp: Stamp) -> str:
    return f"{stamp.size} bytes" if stamp.size >= 0 else "an unknown number of bytes"


def _in_words(stamp: Stamp) -> str:
    if not stamp.known:
        return "a file"
    seconds, fraction = divmod(stamp.mark, 1_000_000_000)
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    return f"{stamp.size} bytes of {moment}.{fraction:09d}"
