"""Messages between a node and its fork server, and the base class of what a forked child does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from daskpar.value_classes import frozen

if TYPE_CHECKING:
    from daskpar.processor.protocol import ProcessorSettings
    from daskpar.processor.shared_page import SharedPage

MARK = "DASKPAR_BELOW"
"""Variable by which the processes below a fork server are known, should it be killed and they be inherited by
others; its value is the server's own.
"""


class ChildTask:
    """What a forked child does; it is pickled on its way to the fork server."""

    def run(self, fds: list[int]) -> None:
        """Called in the child, with the file descriptors that were sent along."""
        raise TypeError(f"{type(self).__name__} does not say what it does")

    def watched_page(self, fds: list[int]) -> tuple[ProcessorSettings, SharedPage] | None:
        """Called in the fork server: settings and shared page of a processor; None for other children."""
        return None

    def temporary_folder(self, pid: int) -> str:
        """Called in the fork server: a folder that goes with the child `pid`; empty for none."""
        return ""


@frozen
class Prepare:
    """Node: what a server that was started ahead of its step is for; comes before all else."""

    variables: Mapping[str, str | None]
    """Environment variables that are other ones than when it was started; None: gone."""
    preload: str
    """As of `fork_server_main.serve`."""


@frozen
class Spawn:
    """Node: fork a child that runs `task`."""

    key: int
    """Number by which the server's events name this child."""
    task: ChildTask


@frozen
class CloseServer:
    """Node: it ends in order, so no mini-batch is to blame for its end."""


@frozen
class Spawned:
    """Fork server: the child of `key` is process `pid`."""

    key: int
    pid: int


@frozen
class SpawnFailed:
    """Fork server: there is no child for `key`, because the machine refused the fork."""

    key: int
    text: str


@frozen
class Exited:
    """Fork server: the child of `key` has ended, and the process group that it led is gone."""

    key: int
    pid: int
    status: int
    """As of os.waitpid."""
    max_rss: int
    """Largest resident size in bytes."""


ChildEvent = Spawned | SpawnFailed | Exited
