"""Names of local files for what lies at URLs: a fetched file keeps its place below its input.

`s3://box/scans/a/x.jpg` of the input `s3://box/scans` is `a/x.jpg`. Of the web, `%20` is a blank, and what
follows a `?` is no part of a name.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from urllib.parse import unquote

from daskpar.errors import InputError

LONGEST_NAME = 255
"""Bytes of a name in a folder, on the file systems of Linux."""


def base_name(url: str) -> str:
    """The name of what lies at a URL: its last part."""
    return posixpath.basename(_path(url)) or "data"


def name_below(url: str, folder: str) -> str | None:
    """The path of a file relative to the folder at `folder`; None for one that does not lie there.

    InputError for one that can't be the name of a local file.
    """
    head = folder.partition("?")[0].rstrip("/") + "/"
    if not url.startswith(head):
        return None
    return _checked(url, _path(url, len(head)))


def name_of_any(url: str) -> str:
    """A relative path for a file of no known folder: scheme, host and path."""
    scheme, _, rest = url.partition("://")
    return _checked(url, f"{scheme}/{_path(url, len(scheme) + 3) if rest else ''}")


def check_names(urls: Iterable[str], folder: str) -> None:
    """InputError where files of the input at `folder` can't be local ones, or not at one time."""
    folder = folder.rstrip("/")
    named = ((url, name_below(url, folder) or name_of_any(url)) for url in urls if "://" in url)
    check_apart((url, f"/{name}") for url, name in named)


def check_apart(names: Iterable[tuple[str, str]]) -> None:
    """InputError where two of these (URL, local path) can't both be files, as `a` and `a/b` in a bucket."""
    found: dict[str, str] = {}
    for url, place in names:
        if found.setdefault(place, url) != url:
            raise InputError(f"{found[place]} and {url} have one local name: rename one of them")
    folders: set[str] = set()
    for place in found:
        folder = posixpath.dirname(place)
        while folder and folder not in folders:
            folders.add(folder)
            if folder in found:
                raise InputError(
                    f"{found[folder]} is a file, and a folder of {found[place]} too: both can't be on a "
                    "local disk; rename one, or write mode: direct for a script that opens URLs itself"
                )
            folder = posixpath.dirname(folder) if "/" in folder[1:] else ""


def _path(url: str, begin: int = 0) -> str:
    path = url[begin:]
    if url.partition("://")[0].lower() in ("http", "https"):
        path = path.partition("?")[0].partition("#")[0]
        parts = (unquote(part) if "%2f" not in part.lower() else part for part in path.split("/"))
        path = "/".join(parts)
    return path


def _checked(url: str, name: str) -> str:
    for part in name.split("/"):
        length = len(part.encode("utf-8", "surrogateescape"))
        if part in ("", ".", "..") or "\0" in part or length > LONGEST_NAME:
            raise InputError(
                f"{url} can't be fetched to a local file: {part[:40]!r} in it is no name of a file or "
                "folder; rename it, or write mode: direct for a script that opens URLs itself"
            )
    return name
