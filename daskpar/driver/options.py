"""Options of a run that the spec does not have: from the command line, Python or Dask's configuration."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daskpar.datastores import Datastore, Written, as_datastore, remember
from daskpar.errors import LocationError, UsageError, nearest
from daskpar.locations import UNNAMED, is_url, resolve
from daskpar.value_classes import frozen

if TYPE_CHECKING:
    from distributed import Client

    from daskpar.batches.selection import Selection
    from daskpar.environments.environment_choices import WrittenHow
    from daskpar.events import Watcher
    from daskpar.jobspec.given_spec import GivenSpec


@frozen(kw_only=True)
class Options:
    """How to run, in addition to what the spec says."""

    overrides: Mapping[str, str] = field(default_factory=dict)
    """`--set`: `inputs.NAME`, `instance_count`, `jobs.STEP.SETTING` -> value."""
    datastores: Mapping[str, Written] = field(default_factory=dict)
    """Name -> folder, URL or `{url, storage_options}`, on top of `daskpar.datastores` in Dask's
    configuration.
    """
    components: Mapping[str, str] = field(default_factory=dict)
    """Name of a registered component -> its file, on top of `daskpar.components` in Dask's configuration."""
    assets: Mapping[str, str] = field(default_factory=dict)
    """Name of registered data or of a model -> its place, on top of `daskpar.assets`."""
    environments: Mapping[str, WrittenHow] = field(default_factory=dict)
    """Name of an environment or step -> how it is had, on top of `daskpar.environments`."""
    client: Client | None = None
    scheduler: str | None = None
    compute: str | None = None
    worker_processes: bool = False
    dashboard: str | None = "127.0.0.1:8787"
    display: bool | None = None
    """Progress on the terminal or in the notebook; None: yes."""
    summary_follows: bool = False
    """Whether the caller prints the summary at the end; the progress does not say the same then."""
    show_warning: Callable[[str], None] | None = None
    """Gets each warning of the spec before anything starts; without it they are shown with the progress."""
    selection: Selection | None = None
    """The mini-batches of each parallel step that are asked for; None: all."""
    watchers: Sequence[Watcher] = ()
    """Get the events of the run too."""
    retry_failed: bool = False
    allow_changes: bool = False
    given_spec: GivenSpec | None = None
    """Of a resume: the job as it is given now, in the place of that which the run directory keeps."""

    @property
    def cluster(self) -> str:
        """The command line's option for the same cluster, such as `--compute big`; empty for a local one."""
        if self.scheduler:
            return f"--scheduler {self.scheduler}"
        return f"--compute {self.compute}" if self.compute else ""

    @property
    def is_local(self) -> bool:
        """Whether the nodes live in this process."""
        return self.client is None and not self.scheduler and not self.compute and not self.worker_processes

    @property
    def is_here(self) -> bool:
        """Whether the nodes run in this Python, in processes of their own or not."""
        return self.is_local or self.worker_processes


def mounts_inputs(options: Options) -> bool:
    """Whether scripts get inputs that are read-only in their place, not a tree of links.

    So where all nodes are on this machine and it allows mounts. `DASKPAR_INPUTS=links` in the environment
    says no.
    """
    from daskpar.processor.private_mounts import can_mount

    chosen = os.environ.get("DASKPAR_INPUTS", "")
    if chosen not in ("", "links"):
        raise UsageError(f"DASKPAR_INPUTS has to be links or unset, not {chosen!r}")
    here = options.client is None and not options.scheduler and not options.compute
    return here and not chosen and can_mount()


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
        from daskpar.driver.default_datastore import configured_default

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
