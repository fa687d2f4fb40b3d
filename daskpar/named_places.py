"""Places that names stand for: datastores, components and assets of the options and of Dask's configuration.

Whoever looks at a place that a user has named asks here first: the store of a URL may take options
(`daskpar.datastores`) that only the configuration has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from daskpar.datastores import (
    Datastore,
    Written,
    as_datastore,
    is_of_run,
    known_options,
    remember,
    take_options,
)
from daskpar.default_datastore import configured_default
from daskpar.errors import LocationError, UsageError, nearest
from daskpar.locations import UNNAMED, is_url, resolve


class Places(Mapping[str, str]):
    """Name -> absolute path or URL: those of the options, then those of Dask's configuration.

    The configuration has them at `daskpar.KEY` (files and environment). It is read for the first name that
    the options do not have: that takes the import of Dask, and few jobs need it.
    """

    key = ""
    """`datastores`, `components` or `assets`."""
    one = ""
    """What one of them is called in messages."""

    def __init__(self, of_options: Mapping[str, Written]) -> None:
        self._of_options = self._places(of_options)

    @cached_property
    def _all(self) -> Mapping[str, str]:
        import dask

        configured = dask.config.get(f"daskpar.{self.key}", {}) or {}
        if not isinstance(configured, Mapping):
            raise UsageError(
                f"daskpar.{self.key} in Dask's configuration has to map names to folders or URLs"
            )
        places = {**self._places(configured), **self._of_options}
        self._all_known(places)
        return places

    def _all_known(self, places: Mapping[str, str]) -> None:
        """Called with all of them once the configuration was read."""

    def _places(self, written: Mapping[str, Written]) -> dict[str, str]:
        return {
            str(name).removeprefix("azureml:"): self._place(str(name), place)
            for name, place in written.items()
        }

    def _place(self, name: str, written: Written) -> str:
        try:
            return resolve(str(written), Path.cwd(), {})
        except LocationError as error:
            raise UsageError(f"the {self.one} {name}: {error}") from None

    def __getitem__(self, name: str) -> str:
        return self._of_options[name] if name in self._of_options else self._all[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)


class Datastores(Places):
    """Datastore name -> folder or URL.

    The `storage_options` of those that have some are remembered in this process: files at their URLs are
    opened with them.
    """

    key, one = "datastores", "datastore"

    def __init__(self, of_options: Mapping[str, Written]) -> None:
        self._storage: dict[str, Mapping[str, Any]] = {}
        super().__init__(of_options)
        for url, options in self._storage.items():
            remember(url, options)

    def _all_known(self, places: Mapping[str, str]) -> None:
        # A place that had options in an earlier run of this process may have none now.
        for url in filter(is_url, places.values()):
            remember(url, self._storage.get(url, {}))

    def _places(self, written: Mapping[str, Written]) -> dict[str, str]:
        stores = {str(name): as_datastore(str(name), place) for name, place in written.items()}
        places = super()._places({name: store.place for name, store in stores.items()})
        owners: dict[str, tuple[str, Datastore]] = {}
        for name, store in stores.items():
            url = places[name.removeprefix("azureml:")]
            other, before = owners.setdefault(url, (name, store))
            if store.options and before.options and store.options != before.options:
                raise UsageError(
                    f"the datastores {other} and {name} are both {url}, with other storage_options each: "
                    "files are opened by their URL, so it has to tell them apart"
                )
            if store.options:
                self._storage.setdefault(url, store.options)  # what the options say counts: they come first
        return places

    def __getitem__(self, name: str) -> str:
        if name != UNNAMED:
            return super().__getitem__(name)
        if not (chosen := configured_default()):
            raise KeyError(name)
        if chosen not in self:
            raise UsageError(
                f"daskpar.default_datastore in Dask's configuration is {chosen!r}, and no datastore has that "
                f"name. {nearest(chosen, self)} `--datastore {chosen}=PLACE` says where it is."
            )
        return self[chosen]


class Components(Places):
    """Name of a component in a workspace or registry, with or without its version -> its file."""

    key, one = "components", "component"


class Assets(Places):
    """Name of registered data or of a registered model, with or without its version -> its place."""

    key, one = "assets", "asset"


def all_datastores(of_options: Mapping[str, Written]) -> dict[str, str]:
    """All of `Datastores` as a plain value; this process knows their `storage_options` from then on."""
    stores = Datastores(of_options)
    found = dict(stores)
    return {**found, UNNAMED: stores[UNNAMED]} if UNNAMED in stores else found


def looked_up(text: str, datastores: Mapping[str, Written] | None = None) -> str:
    """What a user's text means, a slash at its end kept; what lies there can be opened from then on.

    `datastores`: those of the call, on top of those of Dask's configuration. Raises LocationError for a
    datastore that is not known, and what only Azure ML can look up.
    """
    place = resolve(text, Path.cwd(), all_datastores(datastores or {}))
    return f"{place}/" if text.endswith("/") and not place.endswith("/") else place


def know_configured() -> None:
    """Make known the datastores of Dask's configuration, for what an earlier process has written.

    What this process was told by a run counts more, and a run knows its own: nothing is done there.
    """
    if is_of_run():
        return
    told = known_options()
    all_datastores({})
    take_options(told)
