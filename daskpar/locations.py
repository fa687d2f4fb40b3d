"""Locations of data: what a text in a spec, an MLTable or an option means, and how bytes there are read.

A location is an absolute local path or a URL, as a plain string. `tests/test_locations.py` holds a table of
what each form means; it is the same wherever a location may stand. fsspec is imported only for URLs.

Arguments of fsspec's methods other than paths go by keyword: their order differs between filesystems (the
second one of `cat_file` is `version_id` for S3). Paths go by position: their names differ.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from daskpar.datastores import options_of
from daskpar.errors import InputError, LocationError, nearest

# One letter before the colon is a drive of Windows, not a scheme.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
# The first `datastores/` counts: a path in the datastore may hold another one.
_DATASTORE = re.compile(
    r"azureml://(?:.*?/)??datastores/(?P<name>[^/]+)(?:/paths)?(?:/(?P<rest>.*))?", re.DOTALL | re.IGNORECASE
)
_AZUREML = re.compile(r"azureml:", re.IGNORECASE)
_CHAIN = re.compile(
    r"(?:[A-Za-z][A-Za-z0-9+.-]+::)+[A-Za-z]|[A-Za-z][A-Za-z0-9+.-]+://.*::[A-Za-z][A-Za-z0-9+.-]+://"
)
"""Such as `zip://a.csv::s3://box/b.zip`, which fsspec takes."""
_FILE = re.compile(r"file:(?://)?", re.IGNORECASE)
UNNAMED = ""
"""Among datastores: the one for outputs without a path, where one is configured."""
PACKAGES = {
    **dict.fromkeys(("s3", "s3a"), "s3fs"),
    **dict.fromkeys(("abfs", "abfss", "az", "adl"), "adlfs"),
    **dict.fromkeys(("gs", "gcs"), "gcsfs"),
    **dict.fromkeys(("http", "https"), "aiohttp"),
    "azureml": "azureml-fsspec",
    "hf": "huggingface_hub",
    "oss": "ossfs",
    **dict.fromkeys(("sftp", "ssh"), "paramiko"),
    **dict.fromkeys(("hdfs", "arrow_hdfs"), "pyarrow"),
}
"""The package that opens URLs of a scheme."""
OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci", "r2", "hf"})
"""Schemes of stores without folders, where an object appears when its upload is finished, and an abandoned
upload leaves nothing. There, to make a folder would make a bucket."""

_OLD_NAMES = {"wasb": "abfs", "wasbs": "abfs"}
"""Schemes that Azure ML takes and adlfs does not: what follows is the same."""
_ALMOST_URL = re.compile(rf"(?:{'|'.join([*PACKAGES, *_OLD_NAMES])}):/(?!/)", re.IGNORECASE)
"""A URL with one slash."""


def is_url(path: str) -> bool:
    """Whether `path` names something other than a local file."""
    return _URL.match(path) is not None


def datastore_of(text: str) -> str:
    """The name of the datastore in which `text` names a place; empty where it is in none."""
    match = _DATASTORE.fullmatch(text)
    return match["name"] if match else ""


def resolve(text: str, folder: str | Path, datastores: Mapping[str, str]) -> str:
    """The location that `text` means in a file of `folder`: an absolute local path, normalised, or a URL.

    Takes relative and absolute paths, `~`, `file:` with and without slashes, URLs, `azureml:./x` and
    `azureml://datastores/NAME/paths/P`. `folder` may be a URL. `datastores` maps names to folders or URLs.

    Raises LocationError for an empty text, a datastore that is not known, and what only Azure ML can look up.
    """
    if not text:
        raise LocationError("the path is empty.")
    if _AZUREML.match(text):
        if is_url(text):
            return _in_datastore(text, datastores)
        text = _without_azureml(text)
    elif is_url(text) and not _FILE.match(text):
        return _checked_url(text)
    elif _ALMOST_URL.match(text) or _CHAIN.match(text):
        raise _no_url(text)
    if file := _FILE.match(text):
        text = unquote(text[file.end() :])  # a URL, in which `%20` is a blank
    if text.startswith(".\\"):
        text = text.replace("\\", "/")  # as Windows writes what lies in the folder
    return join(folder, os.path.expanduser(text))


def _checked_url(text: str) -> str:
    """A URL with the scheme by which fsspec knows it."""
    if _CHAIN.match(text):
        raise _no_url(text)
    scheme, _, rest = text.partition("://")
    scheme = scheme.lower()  # whatever its case, as for all URLs
    if scheme in OBJECT_STORES and not rest.strip("/"):
        raise LocationError(
            f"{text!r} names no bucket or container.", f"Write {scheme}://BUCKET or {scheme}://BUCKET/FOLDER."
        )
    return f"{_OLD_NAMES.get(scheme, scheme)}://{rest}"


def _no_url(text: str) -> LocationError:
    if _CHAIN.match(text):
        return LocationError(
            f"{text!r} is a chain of file systems, and only one can be read here.",
            "Unpack an archive and give the folder; files at URLs are kept in a cache anyway.",
        )
    scheme, _, rest = text.partition(":/")
    return LocationError(f"{text!r} is no URL.", f"Write two slashes: {scheme}://{rest}")


def join(folder: str | Path, name: str) -> str:
    """The location of `name` below `folder`; `name` may be absolute, contain `..`, or be empty."""
    folder = str(folder)
    if is_url(folder) and not name.startswith("/"):
        head, _, tail = folder.partition("://")
        host, _, path = tail.partition("/")
        parts = os.path.normpath("/" + f"{path}/{name.replace(chr(92), '/')}".lstrip("/"))
        return f"{head}://{host}{parts if parts != '/' else ''}"
    return os.path.normpath(os.path.join(folder if is_url(folder) else os.path.abspath(folder), name))


def _in_datastore(text: str, datastores: Mapping[str, str]) -> str:
    match = _DATASTORE.fullmatch(text)
    if match is None:
        raise LocationError(
            f"{text!r} is a place that only Azure ML can look up.",
            "Give a local path, a URL or azureml://datastores/NAME/paths/PATH.",
        )
    name = match["name"]
    if name not in datastores:
        known = ", ".join(sorted(filter(None, datastores))) or "none"
        raise LocationError(
            f"the datastore {name!r} is not known here.",
            nearest(name, datastores)
            or f"Known datastores: {known}. `--datastore {name}=PLACE` says which folder or URL it is, or "
            f"daskpar.datastores.{name} in Dask's configuration.",
        )
    # What a datastore stands for is a location too, but never one in another datastore.
    target = resolve(datastores[name], Path.cwd(), {})
    return join(target, (match["rest"] or "").strip("/"))


def _without_azureml(text: str) -> str:
    """The local path after `azureml:`, which Azure's own dump of a job puts before one."""
    rest = _AZUREML.sub("", text, count=1)
    if not rest.startswith((".", "/", "~")):
        raise LocationError(
            f"{text!r} is an asset of an Azure ML workspace (a registered data "
            "asset), which can't be read here.",
            "Give a local path or a URL.",
        )
    return rest


@contextmanager
def remote_errors() -> Iterator[None]:
    """Turn errors of a filesystem's own kind (missing credentials, a refused connection) into OSError."""
    try:
        yield
    except (OSError, InputError):
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error


def filesystem(path: str, **options: Any) -> tuple[Any, str]:
    """The fsspec filesystem of a URL, and the path in it; opened with the options of its datastore.

    Raises InputError where the protocol's package is missing or the address is refused.
    """
    from fsspec.core import url_to_fs

    try:
        found, inner = url_to_fs(path, **{**options_of(path), **options})
    except (ImportError, TypeError, ValueError) as error:
        raise InputError(f"{path} can't be reached: {_in_words(path, error)}") from None
    return found, inner


def _in_words(path: str, error: Exception) -> str:
    scheme = path.partition("://")[0].lower()
    if isinstance(error, ImportError) and (package := PACKAGES.get(scheme)):
        return f"{scheme}:// takes the package {package}, which is not installed: `pip install {package}`"
    if isinstance(error, ValueError) and str(error).startswith("Protocol not known"):
        return f"no package is known that opens {scheme}://"
    if isinstance(error, TypeError) and options_of(path):
        return f"its storage_options are refused: {error}"
    return str(error)


def is_object_store(url: str) -> bool:
    """Whether a URL is one of a store of objects."""
    return url.partition("://")[0].lower() in OBJECT_STORES


def make_folder_of(url: str, found: Any, inner: str) -> None:
    """Make the folders above the file `inner` of the filesystem `found`, in which `url` lies."""
    if is_object_store(url):
        return
    try:
        with remote_errors():
            found.makedirs(found._parent(inner), exist_ok=True)
    except (OSError, NotImplementedError):
        pass  # a store without folders; if it is more than that, opening the file says so


def kind_at(found: Any, inner: str) -> str:
    """`file` or `directory`: what lies at a path of an fsspec filesystem; an empty text where nothing does.

    Raises OSError where that can't be said, for a refused connection or missing credentials: fsspec's own
    `isfile` and `exists` call that "no".
    """
    with remote_errors():
        try:
            return str(found.info(inner)["type"])
        except FileNotFoundError as error:
            cause = error.__cause__
            # The filesystem of HTTP says this whatever went wrong.
            status = getattr(cause, "status", None)
            if isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError):
                raise cause from None
            if isinstance(status, int) and status not in (404, 410):
                raise OSError(f"{type(cause).__name__}: {cause}") from None
            return ""


def read_bytes(path: str, start: int = 0, stop: int | None = None) -> bytes:
    """Bytes [start, stop) of the file at a location, to its end without `stop`.

    Raises OSError where it can't be read.
    """
    if is_url(path):
        found, inner = filesystem(path)
        with remote_errors():
            # Without a range where the whole file is wanted: S3 refuses one of an empty object.
            return bytes(found.cat_file(inner, start=start or None, end=stop))
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        wanted = (size if stop is None else min(stop, size)) - start
        parts = []
        while wanted > 0:
            part = os.pread(file.fileno(), wanted, start)
            if not part:  # the file has become shorter
                break
            parts.append(part)
            start += len(part)
            wanted -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def open_file(path: str) -> Any:
    """The file at a location, open for reading at any position, as pyarrow's Parquet reader takes it."""
    if is_url(path):
        found, inner = filesystem(path)
        with remote_errors():
            return found.open(inner, mode="rb")
    return path
