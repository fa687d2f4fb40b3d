"""Options of a run that the spec does not have: from the command line, Python or Dask's configuration."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING

from daskpar.datastores import Written
from daskpar.errors import UsageError
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
