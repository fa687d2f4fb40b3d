"""What a node needs to run the command of a step: plain values, pickled on their way."""

from __future__ import annotations

from dataclasses import field

from daskpar.chosen_container import ChosenContainer
from daskpar.datastores import StorageOptions
from daskpar.jobspec.model import Input
from daskpar.processor.containers.container_mounts import Mount
from daskpar.processor.fetching.fetched_inputs import Fetching
from daskpar.processor.output_sweep import Uploads
from daskpar.processor.private_mounts import NO_GUARD, Guard
from daskpar.value_classes import frozen


@frozen(kw_only=True)
class CommandLayout:
    """What a node that does not see the run directory makes before the command starts; paths are its own."""

    root: str
    """The node's folder for the run."""
    run: str
    """Where the tree of the run directory is laid out in it."""
    code: str = ""
    """The code as it was sent, of which the command gets a copy; empty: there is none."""
    includes: tuple[str, ...] = ()
    """What lies beside the code."""
    inputs: tuple[Input, ...] = ()
    """Inputs that the command sees as a copy or a tree of links."""
    links: tuple[tuple[str, str], ...] = ()
    """Data that lies among the code for the driver: its path there, and where it is on this node."""
    folders: tuple[str, ...] = ()
    """To be made for outputs."""
    stale: tuple[str, ...] = ()
    """To be removed first, for an earlier try may have left it."""


@frozen(kw_only=True)
class CommandSettings:
    """What a node needs to run a command."""

    run_id: str
    step: str
    command: str
    cwd: str
    environment: dict[str, str] = field(default_factory=dict)
    stdout: str
    stderr: str
    timeout: float | None = None
    guard: Guard = NO_GUARD
    """What the command can't change."""
    fetching: Fetching | None = None
    """Inputs that are fetched from URLs before it."""
    storage: StorageOptions = field(default_factory=StorageOptions)
    """How they are opened."""
    python: str = ""
    """The Python of the command, where it has one of its own."""
    container: ChosenContainer | None = None
    """The one that it runs in."""
    mounts: tuple[Mount, ...] = ()
    """What is seen there."""
    attempt: int = 0
    """How many nodes were lost under it before."""
    layout: CommandLayout | None = None
    """Of a node that does not see the run directory; None of others: the driver has made all of it."""
    uploads: Uploads | None = None
    """Outputs at URLs that such a node uploads itself; None: there are none, or the driver does."""
