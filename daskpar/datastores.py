"""Datastores: the place that a name stands for, and the options by which the filesystem there is opened.

A datastore is written as a place (a folder or a URL), or as `{url: ..., storage_options: {...}}`, where the
options are those of the fsspec filesystem: `key`, `account_name`, `endpoint_url` and so on. They may be
secrets, so they are kept in memory alone: `remember` holds them, by URL, `StorageOptions` takes them to
another process, and nothing here shows them. Whoever opens a URL with `locations.filesystem` gets those of
the datastore that it lies in.

Several runs may be under way in one process, with other options for the same URL: each has a table of its own
(`own_options`) on the threads that work for it (`carried`). Outside of them the table of the process holds.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import field
from typing import Any, TypeVar

from daskpar import masking
from daskpar.errors import UsageError, nearest
from daskpar.value_classes import frozen

Written = str | os.PathLike[str] | Mapping[str, Any]
"""A datastore as the user gives it."""

_KEYS = ("url", "storage_options")
_REFERENCE = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}")
_ALIASES = {"s3a": "s3", "abfss": "abfs", "az": "abfs", "gcs": "gs"}
"""Schemes of one and the same store."""


@frozen
class Datastore:
    """What one name stands for."""

    place: str
    """As it was written: a folder or a URL."""
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Of the filesystem there."""


class StorageOptions(Mapping[str, Mapping[str, Any]]):
    """URL -> options of the filesystem there, on their way to another process; never shown."""

    def __init__(self, by_url: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self._by_url = {url: dict(options) for url, options in (by_url or {}).items()}

    def __getitem__(self, url: str) -> Mapping[str, Any]:
        return self._by_url[url]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_url)

    def __len__(self) -> int:
        return len(self._by_url)

    def __repr__(self) -> str:
        return f"StorageOptions({len(self)} hidden)"


_Known = Mapping[str, Mapping[str, Any]]


class _Own:
    """The table of one run."""

    def __init__(self, known: _Known) -> None:
        self.known = known


# A table is never changed, but replaced as a whole: another thread may be looking something up in it.
_known: _Known = {}
_own: ContextVar[_Own | None] = ContextVar("daskpar_storage_options", default=None)
_changing = threading.Lock()
_Returned = TypeVar("_Returned")


@contextmanager
def own_options(known: StorageOptions | None = None) -> Iterator[None]:
    """Within, this thread opens URLs with `known`, and with what is remembered within, and nothing else.

    What is remembered holds for the process too, once this has ended: what a run has written is read then.
    """
    found = {_plain(url): dict(options) for url, options in (known or {}).items()}
    masking.remember(_secrets("", found))
    token = _own.set(_Own(found))
    try:
        yield
    finally:
        _own.reset(token)


def carried(function: Callable[..., _Returned]) -> Callable[..., _Returned]:
    """The function, for another thread to call: it opens URLs there as it would on this one."""
    own = _own.get()

    def call(*arguments: Any, **named: Any) -> _Returned:
        token = _own.set(own)
        try:
            return function(*arguments, **named)
        finally:
            _own.reset(token)

    return call


def is_of_run() -> bool:
    """Whether this thread works for a run, which knows the options that it was given and no others."""
    return _own.get() is not None


def _table() -> _Known:
    own = _own.get()
    return _known if own is None else own.known


def _with(known: _Known, url: str, options: Mapping[str, Any]) -> _Known:
    rest = {other: its for other, its in known.items() if other != url}
    return {**rest, url: dict(options)} if options else rest


def as_datastore(name: str, written: Written) -> Datastore:
    """What the user gives as datastore `name`. `${env:NAME}` in an option is that variable's value.

    Raises UsageError, which never shows an option's value.
    """
    if not isinstance(written, Mapping):
        return Datastore(os.fspath(written) if isinstance(written, os.PathLike) else str(written))
    found = {str(key).replace("-", "_"): value for key, value in written.items()}
    what = f"the datastore {name}"
    for key in found:
        if key not in _KEYS:
            hint = nearest(key, _KEYS) or "It has url and storage_options."
            raise UsageError(f"{what}: {key!r} is no key of a datastore. {hint}")
    place, options = found.get("url"), found.get("storage_options") or {}
    if not isinstance(place, str | os.PathLike) or not str(place):
        raise UsageError(f"{what} has no url: write url: s3://bucket/folder, or a local folder")
    if not isinstance(options, Mapping) or not all(isinstance(key, str) for key in options):
        raise UsageError(f"{what}: storage_options has to map names to values, such as key: ...")
    place = os.fspath(place)
    if options and "://" not in place:
        raise UsageError(f"{what}: storage_options are for a URL, and {place} is a local folder")
    return Datastore(place, _filled(name, options))


def remember(url: str, options: Mapping[str, Any]) -> None:
    """Open what lies at or below `url` with these options from now on, in this process or run; an empty
    mapping forgets those of before. Values that look like secrets are shown nowhere.
    """
    global _known
    masking.remember(_secrets("", options))
    with _changing:
        _known = _with(_known, _plain(url), options)
        if (own := _own.get()) is not None:
            own.known = _with(own.known, _plain(url), options)


def options_of(url: str) -> Mapping[str, Any]:
    """The options of the datastore that `url` lies in, of the innermost one; empty for none."""
    if not (table := _table()):
        return {}
    owner = _owner(table, _plain(url))
    return {} if owner is None else table[owner]


def _owner(table: _Known, plain: str) -> str | None:
    """The innermost URL of the table that `plain` lies in."""
    inside = (known for known in table if plain == known or plain.startswith(known.rstrip("/") + "/"))
    return max(inside, key=len, default=None)


def options_for(urls: Iterable[str]) -> StorageOptions:
    """Those by which these files are opened, and no others, to be sent to another process."""
    if not (table := _table()):
        return StorageOptions()
    plain = (_plain(url) for url in urls if "://" in url)
    used = {owner for url in plain if (owner := _owner(table, url)) is not None}
    return StorageOptions({url: table[url] for url in used})


def known_options() -> StorageOptions:
    """Those of this run, or else of this process, to be sent to another one."""
    return StorageOptions(_table())


def take_options(sent: StorageOptions) -> None:
    """Remember what another process has sent."""
    for url, options in sent.items():
        remember(url, options)


def _plain(url: str) -> str:
    """The URL by one of the names of its scheme, without a slash at its end."""
    scheme, _, rest = url.partition("://")
    scheme = scheme.lower()
    return f"{_ALIASES.get(scheme, scheme)}://{rest.rstrip('/')}"


def _filled(name: str, value: Any) -> Any:
    """An option with the references to the environment in it replaced."""
    if isinstance(value, Mapping):
        return {key: _filled(name, inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_filled(name, inner) for inner in value]
    if not isinstance(value, str):
        return value
    for variable in _REFERENCE.findall(value):
        if variable not in os.environ:
            raise UsageError(
                f"the datastore {name} takes ${{env:{variable}}} from the environment, where there is no "
                f"{variable}: `export {variable}=...`, then try again"
            )
    return _REFERENCE.sub(lambda found: os.environ[found[1]], value)


def _secrets(name: str, value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _secrets(str(key), inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _secrets(name, inner)
    elif isinstance(value, str) and masking.is_secret(name):
        yield value
