"""Reads texts that name a stored file by its URL: the values of a `stream_info` column."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

_STORE = re.compile(r"(?:wasbs?|abfss)://(?P<container>[^@/]+)@(?P<account>[^/]+)/?(?P<path>.*)")
_KEPT = re.compile(r"(?:https?|adl)://[^/]+.*|azureml://subscriptions/.+", re.IGNORECASE)


def parse_stream_url(text: str) -> str | None:
    """Path or URL of the file that `text` names; None for texts that are no URL of a known store.

    As Microsoft's reader: `file://` becomes a local path, the short forms of Azure's stores their `https`
    address.
    """
    trimmed = text.strip()
    if trimmed.startswith("file://"):
        return unquote(urlsplit(trimmed).path) or None
    store = _STORE.fullmatch(trimmed)
    if store:
        return f"https://{store['account']}/{store['container']}/{store['path']}"
    return trimmed if _KEPT.fullmatch(trimmed) else None
