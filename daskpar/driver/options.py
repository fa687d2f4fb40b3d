"""How to run, beside what the spec says: given on the command line or from Python, and in Dask's
configuration.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from daskpar.errors import UsageError
from daskpar.jobspec.locations import without_scheme
from daskpar.locations import is_url

if TYPE_CHECKING:
    from distributed import Client


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to run, beside what the spec says."""

    overrides: Mapping[str, str] = field(default_factory=dict)
    """`--set`: `inputs.NAME`, `instance_count`, `jobs.STEP.SETTING` -> value."""
    datastores: Mapping[str, str] = field(default_factory=dict)
    """Name -> folder or URL, on top of `daskpar.datastores` in Dask's configuration."""
    client: Client | None = None
    scheduler: str | None = None
    compute: str | None = None
    worker_processes: bool = False
    dashboard: str | None = "127.0.0.1:8787"
    display: bool | None = None
    """Progress on the terminal or in the notebook; None: yes."""
    retry_failed: bool = False
    allow_changes: bool = False

    @property
    def cluster(self) -> str:
        """The option that names a cluster that others could use again, empty where there is none."""
        if self.scheduler:
            return f"--scheduler {self.scheduler}"
        return f"--compute {self.compute}" if self.compute else ""

    @property
    def is_local(self) -> bool:
        """Whether the nodes live in this process."""
        return self.client is None and not self.scheduler and not self.compute and not self.worker_processes


def all_datastores(given: Mapping[str, str]) -> dict[str, str]:
    """Datastore name -> absolute folder or URL: `daskpar.datastores` in Dask's configuration (files and
    environment), then `given`.
    """
    import dask

    configured = dask.config.get("daskpar.datastores", {}) or {}
    if not isinstance(configured, Mapping):
        raise UsageError("daskpar.datastores in Dask's configuration has to map names to folders or URLs")
    places = {str(name): without_scheme(str(place)) for name, place in {**configured, **given}.items()}
    return {
        name: place if is_url(place) else os.path.abspath(os.path.expanduser(place))
        for name, place in places.items()
    }
