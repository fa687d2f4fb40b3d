"""Where data is: an absolute local path or a URL, and what the short forms of Azure ML's references mean.

A location is a plain string. fsspec is imported only where one is a URL.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from daskpar.errors import InputError, UsageError, nearest

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_DATASTORE = re.compile(
    r"azureml://(?:subscriptions/.*/)?datastores/(?P<name>[^/]+)/paths/?(?P<path>.*)", re.IGNORECASE
)


def is_url(path: str) -> bool:
    """Whether `path` names something other than a local file."""
    return _URL.match(path) is not None


def resolve(text: str, base: str | Path, datastores: Mapping[str, str]) -> str:
    """The location that `text` means in a file below the folder `base`: an absolute local path, normalised,
    or a URL.

    Takes relative and absolute paths, `file://`, URLs, `azureml:./x` and `azureml://datastores/NAME/paths/P`;
    `datastores` maps names to locations. UsageError where the text names a datastore that is not configured,
    or a data asset (there is no registry here).
    """
    found = _DATASTORE.match(text)
    if found:
        name = found["name"]
        if name not in datastores:
            known = ", ".join(sorted(datastores)) or "none"
            hint = (
                nearest(name, datastores)
                or f"Known datastores: {known}. `--datastore {name}=PLACE` says which folder or URL it is."
            )
            raise UsageError(f"{text!r} names the datastore {name!r}, which is not configured. {hint}")
        return join(datastores[name], found["path"])
    if text.startswith("azureml:") and not text.startswith("azureml://"):
        rest = text.removeprefix("azureml:")
        if not rest.startswith((".", "/")):
            raise UsageError(
                f"{text!r} names a registered data asset, and there is no workspace to look it up in: give a path or URL instead."
            )
        text = rest
    if text.startswith("file://"):
        text = text.removeprefix("file://")
    if is_url(text):
        return text
    return join(str(base), text)


def join(folder: str, name: str) -> str:
    """The location of `name` below `folder`; `name` may be absolute, contain `..`, or be empty."""
    if is_url(folder) and not name.startswith("/"):
        head, _, tail = folder.partition("://")
        host, _, path = tail.partition("/")
        parts = os.path.normpath("/" + f"{path}/{name.replace(chr(92), '/')}".lstrip("/"))
        return f"{head}://{host}{parts if parts != '/' else ''}"
    return os.path.normpath(os.path.join(folder if is_url(folder) else os.path.abspath(folder), name))


@contextmanager
def remote_errors() -> Iterator[None]:
    """Errors of a filesystem's own kind (missing credentials, a refused connection) become OSError, which all
    callers know.
    """
    try:
        yield
    except (OSError, InputError):
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error


def filesystem(path: str, **options: Any) -> tuple[Any, str]:
    """The fsspec filesystem of a URL, and the path in it; InputError where the protocol's package is missing
    or the address is refused.
    """
    from fsspec.core import url_to_fs

    try:
        found, inner = url_to_fs(path, **options)
    except (ImportError, ValueError) as error:
        raise InputError(f"{path} can't be reached: {error}") from None
    return found, inner


def read_bytes(path: str, start: int = 0, stop: int | None = None) -> bytes:
    """Bytes [start, stop) of the file at a location (to its end without `stop`); OSError where it can't be
    read.
    """
    if is_url(path):
        found, inner = filesystem(path)
        with remote_errors():
            return bytes(found.cat_file(inner, start, stop))
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        wanted = (size if stop is None else min(stop, size)) - start
        parts = []
        while wanted > 0:
            part = os.pread(file.fileno(), wanted, start)
            if not part:
                break
            parts.append(part)
            start += len(part)
            wanted -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def open_file(path: str) -> Any:
    """The file at a location, opened for reading in binary at any position: what pyarrow's Parquet reader
    takes.
    """
    if is_url(path):
        found, inner = filesystem(path)
        with remote_errors():
            return found.open(inner, "rb")
    return path
