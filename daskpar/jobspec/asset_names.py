"""The names by which Azure ML knows registered components, data and models, and where they are here."""

from __future__ import annotations

import re
from collections.abc import Mapping

_IN_A_PATH = re.compile(
    r"(?:^|/)(?:components|data|datasets|models|codes)/(?P<name>[^/]+)/(?P<how>versions|labels)/(?P<which>[^/]+)/?$",
    re.IGNORECASE,
)
_SHORT = re.compile(r"(?P<name>[A-Za-z0-9][\w.\-]*)(?:(?P<sign>[:@])(?P<which>[\w.\-]+))?")
_AZUREML = re.compile(r"azureml:(//)?", re.IGNORECASE)


def names_of(text: str) -> tuple[str, ...]:
    """What a registered asset may be called in the configuration, the closest name first.

    `azureml:iris:2` may be called `iris:2` or `iris`, and so may
    `azureml://registries/ours/components/iris/versions/2`. Empty for a text that names none: a path, a URL, a
    place in a datastore.
    """
    text = text.strip()
    begin = _AZUREML.match(text)
    if begin is None:
        return ()
    rest = text[begin.end() :]
    if found := _IN_A_PATH.search(rest):
        sign = ":" if found["how"].lower() == "versions" else "@"
        return (f"{found['name']}{sign}{found['which']}", found["name"])
    short = None if begin[1] else _SHORT.fullmatch(rest)
    if short is None:
        return ()
    return (rest, short["name"]) if short["which"] else (rest,)


def find_asset(text: str, places: Mapping[str, str]) -> str | None:
    """Where the configuration or the command line says that a registered asset is; None where it does not."""
    for name in names_of(text):
        if name in places:
            return places[name]
    return None


def advice(text: str, option: str) -> str:
    """How to say where the asset is that `text` names; `option` is `--component` or `--asset`."""
    name = (names_of(text) or ("NAME",))[-1]
    group = "components" if option == "--component" else "assets"
    return f"Say where it is: {option} {name}=PATH, or daskpar.{group}.{name}: PATH in Dask's configuration."
