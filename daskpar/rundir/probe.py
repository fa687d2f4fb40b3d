"""Checks that a node sees what a step needs: its code, its inputs, its outputs and the run directory.

What is read is described by whoever has it (`Place.of`) and looked for on the node; where a node writes, it
leaves a file that the driver looks for. A node that does not see the run directory (a *far* one) may take
part all the same, where it sees what can't be sent to it.
"""

from __future__ import annotations

import hashlib
import os
import socket
import time
from contextlib import suppress
from dataclasses import field, replace
from pathlib import Path

from daskpar import atomic
from daskpar.datastores import StorageOptions, own_options
from daskpar.errors import InputError
from daskpar.rundir.store_probe import check_written
from daskpar.value_classes import frozen

PATIENCE_SECONDS = 10.0
"""Network file systems show a new file to other machines only after a while."""
RUN_PATIENCE_SECONDS = 2.0
"""The same for the run directory, without which a node works too."""


@frozen(kw_only=True)
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
    sent: bool = False
    """Whether it is sent to far nodes that do not see it."""

    @classmethod
    def of(
        cls, what: str, path: str, *, inside: str = "", same: bool = False, sent: bool = False
    ) -> Place | None:
        """What lies at `path` here; None where there is nothing, or nothing that may be read."""
        try:
            if not os.path.isdir(path):
                digest = _digest(path) if same else ""
                return cls(what=what, path=path, is_folder=False, digest=digest, sent=sent)
            if not inside:
                with os.scandir(path) as entries:
                    inside = next((entry.name for entry in entries), "")
            return cls(what=what, path=path, is_folder=True, inside=inside, sent=sent)
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


@frozen(kw_only=True)
class NodeNeeds:
    """What a node must see to take part in a step."""

    run_directory: str
    reads: tuple[Place, ...] = ()
    writes: tuple[str, ...] = ()
    """Folders that exist, to which the step writes."""
    fills: tuple[tuple[str, str, str], ...] = ()
    """What scripts fill in its place, for messages, its path, and the innermost folder of that which is
    there: far nodes must see it."""
    returns: bool = False
    """Whether outputs are brought to the driver from far nodes that do not see their places: a command's."""
    stores: tuple[str, ...] = ()
    """Folders at URLs to which the node itself writes."""
    far_stores: tuple[str, ...] = ()
    """The same of far nodes alone."""
    storage: StorageOptions = field(default_factory=StorageOptions, compare=False)
    """How these are opened."""
    container: str = ""
    """The container that it has to be able to start (`ChosenContainer.text`)."""
    needs_python: bool = True
    """Whether that runs processors, with `packages` in its Python; else a command, which needs neither."""
    packages: tuple[str, ...] = ()
    build: str = ""
    """The environment that a node builds before it looks, where it has not (`environments.build_order`)."""


@frozen
class NodeView:
    """What a node sees of what a step needs."""

    trouble: str = ""
    """What it lacks, in one sentence with what to do; empty: nothing."""
    far: str = ""
    """Why it does not see the run directory, in one sentence; empty: it does."""
    unseen: tuple[str, ...] = ()
    """What has to be sent to a far node, because it is not there: paths of `NodeNeeds.reads`."""
    returned: tuple[str, ...] = ()
    """Folders of `NodeNeeds.writes` that a far node does not see: what it writes there is brought back."""


def node_view(needs: NodeNeeds, token: str, patience: float | None = None, *, far: str = "") -> NodeView:
    """Runs on a node: what it sees. `far`: why it is known not to see the run directory.

    Leaves files named by `token`, for the driver's `unshared`. What is not there is looked for again for
    `patience` seconds.
    """
    patience = PATIENCE_SECONDS if patience is None else patience
    far = far or _look_for_run(needs.run_directory, token, patience)
    unseen: list[str] = []
    trouble = _without_run(needs, patience, unseen) if far else _unread(needs, patience, _MOUNT)
    returned: list[str] = []
    trouble = trouble or _unwritten(needs, token, far, returned)
    return NodeView(trouble, far, tuple(unseen), tuple(returned))


def _look_for_run(run_directory: str, token: str, patience: float) -> str:
    """Why the run directory is not seen here; empty where it is."""
    near = os.path.isdir(os.path.dirname(run_directory))
    end = time.monotonic() + (min(patience, RUN_PATIENCE_SECONDS) if near else 0.0)
    while trouble := write_probe(run_directory, token):
        if time.monotonic() >= end:
            return trouble
        time.sleep(0.1)
    return ""


def _without_run(needs: NodeNeeds, patience: float, unseen: list[str]) -> str:
    """What a far node lacks of what can't be sent to it; what has to be sent is added to `unseen`."""
    host = socket.gethostname()
    for place in needs.reads:
        if place.sent and place.trouble():
            unseen.append(place.path)
    kept = replace(needs, reads=tuple(place for place in needs.reads if not place.sent))
    if trouble := _unread(kept, patience, _NO_COMMON_FOLDER):
        return trouble
    for what, path, above in () if needs.returns else needs.fills:
        if Path(path).is_relative_to(needs.run_directory) or not os.path.isdir(above):
            return f"{host} does not see {what} at {path}, which scripts fill. {_NO_COMMON_FOLDER}"
    return ""


def _unread(needs: NodeNeeds, patience: float, advice: str) -> str:
    end = time.monotonic() + patience
    for place in needs.reads:
        while trouble := place.trouble():
            if time.monotonic() >= end:
                return f"{trouble}. {advice}"
            time.sleep(0.1)
    return ""


def _unwritten(needs: NodeNeeds, token: str, far: str, returned: list[str]) -> str:
    """Where this machine can't write, in one sentence; what is brought back instead goes to `returned`."""
    for folder in needs.writes:
        try:
            _write(folder, token)
        except OSError as error:
            if far and needs.returns:
                returned.append(folder)
                continue
            advice = _NO_COMMON_FOLDER if far else _MOUNT
            return f"{socket.gethostname()} can't write to {folder}: {error.strerror}. {advice}"
    with own_options(needs.storage):
        for url in (*needs.stores, *(needs.far_stores if far else ())):
            try:
                check_written(url, "an output")
            except InputError as error:
                return f"{socket.gethostname()}: {error}"
    return ""


def unshared(needs: NodeNeeds, token: str, view: NodeView, patience: float | None = None) -> NodeView:
    """Runs with the driver: what a node sees in truth, for what `node_view` has left there may not be seen
    here; clears that away.

    A run directory that is another one makes it a far node, which has to look again.
    """
    patience = PATIENCE_SECONDS if patience is None else patience
    try:
        if not view.far:
            if trouble := read_probe(needs.run_directory, token, patience):
                return NodeView(far=trouble)
            clear_probe(needs.run_directory, token)  # before what may take a while: the run may end meanwhile
        for folder in needs.writes:
            if folder not in view.returned and read_probe(folder, token, patience):
                if view.far and needs.returns:
                    view = replace(view, returned=(*view.returned, folder))
                    continue
                advice = _NO_COMMON_FOLDER if view.far else _MOUNT
                return replace(
                    view, trouble=f"the node has another folder at {folder} than the driver. {advice}"
                )
        return view
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
_NO_COMMON_FOLDER = (
    "Nodes that do not see the run directory need a URL there (path: s3://... in the spec), or the same "
    "folder at the same path as on the driver's machine."
)
