"""Datastores: the place that a name stands for, and the options by which the filesystem there is opened.

A datastore is written as a place (a folder or a URL), or as `{url: ..., storage_options: {...}}`, where the
options are those of the fsspec filesystem: `key`, `account_name`, `endpoint_url` and so on. They may be
secrets, so they are kept in memory alone: `remember` holds them for this process, by URL, `StorageOptions`
takes them to another one, and nothing here shows them. Whoever opens a URL with `locations.filesystem` gets
those of the datastore that it lies in.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Any

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


_known: dict[str, dict[str, Any]] = {}


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
    """Open what lies at or below `url` with these options from now on, in this process; an empty mapping
    forgets those of before. Values that look like secrets are shown nowhere.
    """
    masking.remember(_secrets("", options))
    if options:
        _known[_plain(url)] = dict(options)
    else:
        _known.pop(_plain(url), None)


def options_of(url: str) -> Mapping[str, Any]:
    """The options of the datastore that `url` lies in, of the innermost one; empty for none."""
    if not _known:
        return {}
    plain = _plain(url)
    inside = (known for known in _known if plain == known or plain.startswith(known.rstrip("/") + "/"))
    longest = max(inside, key=len, default=None)
    return {} if longest is None else _known[longest]


def known_options() -> StorageOptions:
    """Those of this process, to be sent to another one."""
    return StorageOptions(_known)


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
