"""What a fetcher that dies leaves to the one that takes its place: the files of mini-batches under way.

Scripts go on reading these meanwhile, so they have to stay; whatever else it has fetched goes, for it may be
half there. Which mini-batches each processor has in use stands in a small file of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import tempfile
from collections.abc import Collection, Iterable

from daskpar.processor.fetching.fetched_inputs import Fetching
from daskpar.processor.fetching.fetched_plan import Span

InUse = tuple[int, Span | None]
"""A mini-batch, or a span of it, that a processor has in use."""
_FOLDER = ".in-use"


class InUseNote:
    """Says which mini-batches one processor has in use, for as long as it is connected.

    Where the disk is full nothing is said: that costs something only if the fetcher dies as well.
    """

    def __init__(self, root: str, pid: int) -> None:
        self._file: int | None = None
        with contextlib.suppress(OSError):
            os.makedirs(f"{root}/{_FOLDER}", exist_ok=True)
            self._file, self._path = tempfile.mkstemp(prefix=f"{pid}-", dir=f"{root}/{_FOLDER}")

    def write(self, in_use: Iterable[InUse]) -> None:
        """In the place of what was written before."""
        # One call of the system, so that a kill leaves one state or the other; what a longer line has left
        # behind the end of this one is not read.
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.pwrite(self._file, (json.dumps(list(in_use)) + "\n").encode(), 0)

    def close(self) -> None:
        """It has nothing in use any more."""
        if self._file is not None:
            os.close(self._file)
            remove_note(self._path)


def notes_in(root: str) -> dict[str, tuple[int, list[InUse]]]:
    """Path of a note -> (process, what it has in use), of those processors that are still there."""
    found: dict[str, tuple[int, list[InUse]]] = {}
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(f"{root}/{_FOLDER}"):
            path, pid = f"{root}/{_FOLDER}/{name}", int(name.partition("-")[0])
            if not is_there(pid):
                remove_note(path)
                continue
            with open(path, encoding="utf-8") as file, contextlib.suppress(ValueError):
                said = json.loads(file.readline())
                found[path] = pid, [(index, span and (span[0], span[1])) for index, span in said]
    return found


def remove_note(path: str) -> None:
    """What it said is over."""
    with contextlib.suppress(OSError):
        os.unlink(path)


def remove_all_but(fetching: Fetching, kept: Collection[str]) -> None:
    """Remove what was fetched for mini-batches, whole or not, but for the files `kept`."""
    places = [fetching.at(each.seen) for each in fetching.inputs if each.split]
    for place in [*places, f"{fetching.root}/.listed"]:
        for folder, _, names in os.walk(place):
            for name in names:
                if (path := f"{folder}/{name}") not in kept:
                    with contextlib.suppress(OSError):
                        os.unlink(path)
        if os.path.isfile(place) and place not in kept:
            with contextlib.suppress(OSError):
                os.unlink(place)


def is_there(pid: int) -> bool:
    """Whether a process is alive."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def peer(connection: socket.socket) -> int:
    """The process at the other end of a connection, a socket of this machine."""
    said = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", said)[0])
