"""Where a path in a spec points: relative to the file that names it, in a datastore, or a URL."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

from daskpar.errors import nearest

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+://")
_DATASTORE = re.compile(
    r"azureml://(?:.*/)?datastores/(?P<name>[^/]+)(?:/paths)?(?:/(?P<rest>.*))?", re.DOTALL
)
DEFAULT_DATASTORES = ("workspaceblobstore", "default")
"""Names of the default datastore, which lies in the run directory."""


class LocationError(ValueError):
    """The path can't be used here; `hint` says what to do."""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.hint = hint


def is_url(path: str) -> bool:
    """Whether the path is a URL rather than a local path."""
    return _URL.match(path) is not None


def in_datastore(text: str) -> str:
    """The datastore in which the text names a place; empty where it names another."""
    match = _DATASTORE.fullmatch(text.strip())
    return match["name"] if match else ""


def without_scheme(text: str) -> str:
    """A `file:` URL as the local path that it is; anything else as it is."""
    if text.startswith("file:"):
        return unquote(
            text.removeprefix("file://") if text.startswith("file://") else text.removeprefix("file:")
        )
    return text


def resolve_location(text: str, folder: Path, datastores: Mapping[str, str]) -> str:
    """The absolute local path or URL that `text`, written in a file of `folder`, means.

    `datastores` maps names to folders or URLs. Raises LocationError for names that only Azure ML can look up.
    """
    text = text.strip()
    if not text:
        raise LocationError("the path is empty.")
    if text.startswith("azureml:"):
        if text.startswith("azureml://"):
            return _in_datastore(text, datastores)
        rest = text.removeprefix("azureml:")
        if not rest.startswith((".", "/", "~")):
            raise LocationError(
                f"{text!r} is an asset of an Azure ML workspace, which can't be read here.",
                "Give a local path or a URL.",
            )
        text = rest  # Azure's own dump glues the prefix to local paths
    if is_url(text) and not text.startswith("file:"):
        return text
    text = without_scheme(text)
    return os.path.abspath(folder / Path(text).expanduser())


def _in_datastore(text: str, datastores: Mapping[str, str]) -> str:
    match = _DATASTORE.fullmatch(text)
    if match is None:
        raise LocationError(
            f"{text!r} is a place that only Azure ML can look up.",
            "Give a local path, a URL or azureml://datastores/NAME/paths/PATH.",
        )
    name = match["name"]
    if name not in datastores:
        hint = (
            nearest(name, datastores)
            or f"Name its folder or URL in the configuration: daskpar.datastores.{name}."
        )
        raise LocationError(f"the datastore {name!r} is not known here.", hint)
    target, rest = without_scheme(datastores[name]), (match["rest"] or "").strip("/")
    if is_url(target):
        return f"{target.rstrip('/')}/{rest}" if rest else target
    return os.path.abspath(os.path.join(os.path.expanduser(target), rest))
