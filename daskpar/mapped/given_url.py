"""What lies at a URL that `map_mini_batches` gets: a folder, a file, an MLTable, or what fits a pattern."""

from __future__ import annotations

from collections.abc import Iterable

from daskpar.data.fetch_file import remote_kind
from daskpar.data.files import is_web
from daskpar.data.mltable.path_items import files_of_item
from daskpar.data.reach import unreadable
from daskpar.errors import DataUnreached, InputError
from daskpar.locations import datastore_of, filesystem, is_url, kind_at
from daskpar.named_places import looked_up
from daskpar.value_classes import frozen

_TABLE = "MLTable"
_ANYTHING = "custom_model"
"""The type of inputs that may be a file or a folder."""


@frozen(kw_only=True)
class AtUrl:
    """What was found."""

    type: str
    """Of the input: `mltable`, `uri_folder`, `uri_file`."""
    path: str
    files: tuple[str, ...] = ()
    """URLs of those that fit a pattern; empty for all else."""


def at_url(url: str) -> AtUrl:
    """Look at a URL, whose datastore is known.

    Raises InputError where nothing is there, or fits the pattern; DataUnreached where nobody can say.
    """
    kind = _kind(url)
    head, _, name = url.rpartition("/")
    if name == _TABLE and kind == "file":
        return AtUrl(type="mltable", path=head)
    if not kind and any(sign in url for sign in ("*[" if is_web(url) else "*?[")):
        return AtUrl(type="mltable", path=url, files=tuple(files_of_item("pattern", url)))
    # On the web everything is a file, and a folder is a page with links.
    if (kind == "directory" or is_web(url)) and _holds_table(url):
        return AtUrl(type="mltable", path=url)
    if is_web(url):
        return AtUrl(type="uri_folder", path=url)
    return AtUrl(type=f"uri_{remote_kind(url, _ANYTHING)}", path=url)


def refuse_unreached(urls: Iterable[str]) -> None:
    """DataUnreached where the store of some of these files can't be reached: one file of each is asked for.

    Mini-batches would wait for it. Whether all files are there is not looked at.
    """
    first: dict[str, str] = {}
    for url in urls:
        first.setdefault(datastore_of(url) or "/".join(url.split("/", 3)[:3]), url)
    for place in map(looked_up, first.values()):
        if is_url(place):
            try:
                _kind(place)
            except InputError as error:
                if isinstance(error, DataUnreached):
                    raise


def _kind(url: str) -> str:
    try:
        return kind_at(*filesystem(url))
    except OSError as error:
        raise unreadable(url, error) from None


def _holds_table(url: str) -> bool:
    try:
        return _kind(f"{url.rstrip('/')}/{_TABLE}") == "file"
    except InputError:
        if is_web(url):  # where some servers refuse what they do not have
            return False
        raise
