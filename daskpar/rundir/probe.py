"""Checks that a node sees what a step needs: its code, its inputs, its outputs and the run directory.

What is read is described by whoever has it (`Place.of`) and looked for on the node; where a node writes, it
leaves a file that the driver looks for.
"""

from __future__ import annotations

import hashlib
import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from daskpar import atomic
from daskpar.datastores import StorageOptions, take_options
from daskpar.errors import InputError
from daskpar.rundir.store_probe import check_written

PATIENCE_SECONDS = 10.0
"""Network file systems show a new file to other machines only after a while."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A local file or folder that a step reads, as the driver sees it."""

    what: str
    """For messages: `the code`, `the input 'files'`."""
    path: str
    is_folder: bool
    inside: str = ""
    """A name in the folder, empty where it holds nothing: what is not mounted is an empty folder, too."""
    digest: str = ""
    """Of the file's bytes, where they are to be the same."""

    @classmethod
    def of(cls, what: str, path: str, *, inside: str = "", same: bool = False) -> Place | None:
        """What lies at `path` here; None where there is nothing, or nothing that may be read."""
        try:
            if not os.path.isdir(path):
                return cls(what=what, path=path, is_folder=False, digest=_digest(path) if same else "")
            if not inside:
                with os.scandir(path) as entries:
                    inside = next((entry.name for entry in entries), "")
            return cls(what=what, path=path, is_folder=True, inside=inside)
        except OSError:
            return None

    def trouble(self) -> str:
        """Why this machine does not have it, in one sentence; else an empty text."""
        host = socket.gethostname()
        try:
            os.stat(self.path)
            if os.path.isdir(self.path) != self.is_folder:
                return f"{host} has something else at {self.path} ({self.what}) than the driver"
            if not os.access(self.path, os.R_OK | (os.X_OK if self.is_folder else 0)):
                return f"{host} may not read {self.what} at {self.path}"
            if self.inside and not os.path.lexists(os.path.join(self.path, self.inside)):
                return f"{host} has another folder at {self.path} ({self.what}): it holds no {self.inside!r}"
            if self.digest and _digest(self.path) != self.digest:
                return f"{host} has another file at {self.path} ({self.what}) than the driver"
        except OSError as error:
            return f"{host} does not see {self.what} at {self.path}: {error.strerror or error}"
        return ""


@dataclass(frozen=True, kw_only=True)
class NodeNeeds:
    """What a node must see to take part in a step."""

    run_directory: str
    reads: tuple[Place, ...] = ()
    writes: tuple[str, ...] = ()
    """Folders that exist, to which the step writes."""
    stores: tuple[str, ...] = ()
    """Folders at URLs to which the node itself writes."""
    storage: StorageOptions = field(default_factory=StorageOptions, compare=False)
    """How these are opened."""
    build: str = ""
    """The environment that a node builds before it looks, where it has not (`environments.build_order`)."""


def node_trouble(needs: NodeNeeds, token: str, patience: float | None = None) -> str:
    """Runs on a node: what it lacks of `needs`, in one sentence with what to do; else an empty text.

    Leaves files named by `token`, for the driver's `unshared`. What is not there is looked for again for
    `patience` seconds.
    """
    end = time.monotonic() + (PATIENCE_SECONDS if patience is None else patience)
    for place in needs.reads:
        while trouble := place.trouble():
            if time.monotonic() >= end:
                return f"{trouble}. {_MOUNT}"
            time.sleep(0.1)
    if trouble := write_probe(needs.run_directory, token):
        return trouble
    for folder in needs.writes:
        try:
            _write(folder, token)
        except OSError as error:
            return f"{socket.gethostname()} can't write to {folder}: {error.strerror}. {_MOUNT}"
    take_options(needs.storage)
    for url in needs.stores:
        try:
            check_written(url, "an output")
        except InputError as error:
            return f"{socket.gethostname()}: {error}"
    return ""


def unshared(needs: NodeNeeds, token: str, patience: float | None = None) -> str:
    """Runs with the driver: whether what `node_trouble` has left on a node can't be seen here; clears it
    away.
    """
    patience = PATIENCE_SECONDS if patience is None else patience
    try:
        if trouble := read_probe(needs.run_directory, token, patience):
            return trouble
        clear_probe(needs.run_directory, token)  # before what may take a while: the run may end meanwhile
        for folder in needs.writes:
            if read_probe(folder, token, patience):
                return f"the node has another folder at {folder} than the driver. {_MOUNT}"
        return ""
    finally:
        clear_marks(needs, token)


def clear_marks(needs: NodeNeeds, token: str) -> None:
    """Take away what a node has left for `unshared`."""
    for folder in (needs.run_directory, *needs.writes):
        with suppress(OSError):
            clear_probe(folder, token)


def write_probe(run_directory: str, token: str) -> str:
    """Write the file that the other nodes look for; runs on one node.

    Returns what is wrong, in one sentence, or an empty text.
    """
    try:
        if not os.path.isfile(os.path.join(run_directory, "run.json")):
            return f"{socket.gethostname()} does not see the run directory {run_directory}. {_ADVICE}"
        _write(run_directory, token)
    except OSError as error:
        return (
            f"{socket.gethostname()} can't write in the run directory "
            f"{run_directory}: {error.strerror}. {_ADVICE}"
        )
    return ""


def read_probe(run_directory: str, token: str, patience: float = PATIENCE_SECONDS) -> str:
    """Look for the file of `write_probe`; runs on every other node, the driver included.

    Returns what is wrong, in one sentence, or an empty text.
    """
    end = time.monotonic() + patience
    while True:
        try:
            if _path(run_directory, token).read_text() == token:
                return ""
        except OSError:
            pass
        if time.monotonic() >= end:
            return (
                f"{socket.gethostname()} does not see in {run_directory} what "
                f"another node has written there. {_ADVICE}"
            )
        time.sleep(0.1)


def clear_probe(run_directory: str, token: str) -> None:
    """Take the file away again."""
    _path(run_directory, token).unlink(missing_ok=True)


def _write(folder: str, token: str) -> None:
    with atomic.open_new(_path(folder, token)) as fd:
        atomic.write_all(fd, token.encode())
        os.fsync(fd)


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.blake2b(file.read(), digest_size=16).hexdigest()


def _path(run_directory: str, token: str) -> Path:
    return Path(run_directory) / f".probe-{token}"


_ADVICE = (
    "The run directory must lie on a file system that all nodes share, at the "
    "same path: choose one with --run-dir (run_dir in Python)."
)
_MOUNT = "Make it the same there as on the driver's machine, at the same path."
