"""What a node's processors were at when it died: written by its fork server, which outlives the node by a
moment, and read by the driver.

A node that is killed takes its unsent reports along, and a mini-batch that takes nodes down must be told from
those that merely were there.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass

from daskpar.processor.protocol import ProcessorSettings
from daskpar.processor.shared_page import Announced, Phase


@dataclass(frozen=True)
class LastWords:
    """What is known of a node that is gone."""

    running: frozenset[int] = frozenset()
    """Mini-batches that were being loaded or run."""
    writing: frozenset[int] = frozenset()
    """The last ones of those whose rows were being written."""
    orderly: bool = False
    """Whether the node ended by itself, as when a cluster shrinks: nothing that it ran is to blame."""


def path_of(settings: ProcessorSettings) -> str:
    """Where a node's last words are; beside its part files, which every node and the driver reach, and which
    go when a step is complete.
    """
    return os.path.join(settings.parts, f"{settings.node}-{settings.session}.words")


def leave(settings: ProcessorSettings, said: Iterable[Announced], *, orderly: bool = False) -> None:
    """Write down what each processor announced last. Never raises: without its words a node's loss is only
    less precise.
    """
    path = path_of(settings)
    temporary = f"{path}.tmp"
    try:
        with open(temporary, "w") as file:
            json.dump({"orderly": orderly, "said": [[one.index, int(one.phase)] for one in said]}, file)
        os.replace(temporary, path)
    except OSError:
        pass  # a full disk, or the step is complete and its folder gone


def read(settings: ProcessorSettings) -> LastWords | None:
    """The last words of the node of `settings`; None while there are none."""
    path = path_of(settings)
    try:
        # A network file system may remember for a while that there was no such file, but not what is in the
        # folder.
        if os.path.basename(path) not in os.listdir(settings.parts):
            return None
        with open(path) as file:
            found = json.load(file)
        return LastWords(
            running=frozenset(index for index, phase in found["said"] if phase in (Phase.LOAD, Phase.RUN)),
            writing=frozenset(index for index, phase in found["said"] if phase == Phase.FLUSH),
            orderly=bool(found["orderly"]),
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None


def forget(settings: ProcessorSettings) -> None:
    """The node lives on with another fork server: what the one before said of it no longer holds."""
    with contextlib.suppress(OSError):
        os.unlink(path_of(settings))
