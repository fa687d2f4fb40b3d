"""What a node's processors were doing when the node died: written by its fork server, read by the driver.

The fork server outlives its node by a moment. A node that is killed takes its unsent reports along, and a
mini-batch that takes nodes down must be told from those that merely ran on the same node.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from daskpar import atomic
from daskpar.processor.protocol import ProcessorSettings
from daskpar.processor.shared_page import Announcement, Phase
from daskpar.value_classes import frozen


@frozen
class LastState:
    """What is known of a node that is gone."""

    running: frozenset[int] = frozenset()
    """Mini-batches that were being loaded or run."""
    writing: frozenset[int] = frozenset()
    """The last ones of those whose rows were being written."""
    orderly: bool = False
    """Whether the node ended by itself, as when a cluster shrinks: no mini-batch is to blame."""


def path_of(settings: ProcessorSettings) -> str:
    """Path of the file with a node's last state."""
    # With the rows: every node and the driver reach that folder, and it goes when a step is complete.
    return os.path.join(settings.shared, f"{settings.node}-{settings.session}.last_state")


def write(
    settings: ProcessorSettings, announcements: Iterable[Announcement], *, orderly: bool = False
) -> None:
    """Write what each processor announced last. Never raises."""
    last = [[one.index, int(one.phase)] for one in announcements]
    # It fails on a full disk, or where the step is complete and its folder gone. Without this file more
    # mini-batches are suspected of the node's loss than had to be, and nothing else is wrong.
    with contextlib.suppress(OSError), atomic.writing(Path(path_of(settings)), durable=False) as fd:
        atomic.write_all(fd, json.dumps({"orderly": orderly, "last": last}).encode())


def read(settings: ProcessorSettings) -> LastState | None:
    """The last state of the node of `settings`; None while there is none, or where it is damaged."""
    path = path_of(settings)
    try:
        # A network file system may remember for a while that a file was missing, but lists a folder afresh.
        if os.path.basename(path) not in os.listdir(settings.shared):
            return None
        with open(path) as file:
            found = json.load(file)
        return LastState(
            running=frozenset(index for index, phase in found["last"] if phase in (Phase.LOAD, Phase.RUN)),
            writing=frozenset(index for index, phase in found["last"] if phase == Phase.FLUSH),
            orderly=bool(found["orderly"]),
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None


def delete(settings: ProcessorSettings) -> None:
    """The node lives on with another fork server: the state that the one before left is wrong."""
    with contextlib.suppress(OSError):
        os.unlink(path_of(settings))
