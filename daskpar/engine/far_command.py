"""The driver's side of a command on a node that does not see the run directory: sends what it needs, follows
its logs, and brings what it has made.

The node keeps its files below a folder of its own; the driver asks for them piece by piece, so that it never
gets more than it has taken.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from daskpar import atomic
from daskpar.atomic import explained
from daskpar.engine.code_copy import lay_out_code
from daskpar.engine.command_task import NodeSilent, NodeUnfit
from daskpar.engine.far_nodes import code_of
from daskpar.engine.parcel_sender import SEND_SECONDS, ParcelSender
from daskpar.engine.shipped.sent_command import (
    SentCommand,
    brought_trees,
    check_root,
    command_here,
    places_of_command,
    returned_outputs,
)
from daskpar.errors import DaskparError, InputError, Interrupted, RunDirectoryError
from daskpar.jobspec.model import CommandStep, Output
from daskpar.outputs.step_uploads import StepUploads
from daskpar.processor.command_settings import CommandSettings
from daskpar.processor.node_places import NodePlaces
from daskpar.processor.protocol import PIECE_BYTES
from daskpar.rundir.probe import NodeView
from daskpar.value_classes import mutable

if TYPE_CHECKING:
    from daskpar.engine.plugins.far_files import FarFile

logger = logging.getLogger(__name__)

LOG_SECONDS = 1.0
"""How often logs are brought while the command runs."""
FILES_AT_ONCE = 1000
"""How many small files are asked for by one call."""


@mutable(kw_only=True)
class FarCommand:
    """What the driver does for the command of one step where it runs on such nodes."""

    sender: ParcelSender
    step: CommandStep
    settings: CommandSettings
    run_directory: Path
    tell: Callable[[str], None]
    show: Callable[[str], None]
    """Is told what is being done, for the line of progress."""
    stopped: Callable[[], str]
    """Why the step is to end; empty: it is not."""
    uploads: StepUploads | None = None
    """What is to be done with outputs at URLs; None: there are none."""
    skip: Collection[str] = ()
    """Paths of data that may lie among the code."""
    uploaded: list[tuple[str, str]] = field(default_factory=list)
    """What the node has uploaded of the last try: the name of the output, and the path in it."""

    @contextmanager
    def on(self, address: str, view: NodeView, attempt: int) -> Iterator[FarTry]:
        """Send the node what it lacks; the try that may begin there.

        Raises InputError for what can't be sent, Interrupted where the step was stopped, and NodeUnfit where
        the node does not take it.
        """
        from daskpar.engine.plugins.far_files import node_folder, remove_paths

        try:
            root = str(self.sender.call(address, node_folder))
            check_root(root)
            sent = self._send(address, view)
        except (InputError, Interrupted):
            raise
        except Exception as error:  # whatever it is, it is this node's trouble alone
            known = isinstance(error, DaskparError)
            raise NodeUnfit(str(error) if known else f"{type(error).__name__}: {error}") from error
        finally:
            self.sender.done(address)
        here = command_here(
            self.settings, sent, root, self.step, self.uploads.uploads if self.uploads is not None else None
        )
        one = FarTry(
            command=self,
            address=address,
            sent=sent,
            here=here,
            places=places_of_command(sent, root),
        )
        self.uploaded.clear()
        lay_out_code(None, Path(self.settings.cwd), self.run_directory)  # that of an earlier try goes
        try:
            yield one
        finally:
            one.follower.close()
            if one.is_over and here.layout is not None:
                with suppress(Exception):  # else it goes with the run
                    left = [*here.layout.stale, here.cwd, *(data.seen for data in here.layout.inputs)]
                    self.sender.call(address, remove_paths, paths=left)

    def _send(self, address: str, view: NodeView) -> SentCommand:
        step, code = self.step, ""
        if step.code is not None:
            code = self.sender.send_code(
                address, step.code, lambda left_out: code_of(step, self.skip, self.run_directory, left_out)
            )
        self.tell(
            f"the command runs on node {address}, which works without the run directory "
            f"({view.far.partition('. ')[0]}): its code is sent there"
            f"{self.sender.without(step.code)}, its logs and local outputs come back over Dask"
        )
        return SentCommand(
            run_directory=str(self.run_directory),
            code=code,
            includes=tuple(
                self.sender.send_path(address, str(path), f"{path} (additional_includes)", "code")
                for path in step.includes
            ),
            inputs=tuple(
                self.sender.send_inputs(address, step.inputs.values(), view.unseen, self.run_directory)
            ),
            returned=returned_outputs(step, str(self.run_directory), view.returned),
        )


@mutable(kw_only=True)
class FarTry:
    """One try of the command on one node."""

    command: FarCommand
    address: str
    sent: SentCommand
    here: CommandSettings
    """With the node's places."""
    places: NodePlaces
    is_over: bool = False
    """Whether the command has come to its end, and nothing is wanted of the node any more."""

    def __post_init__(self) -> None:
        settings = self.command.settings
        self.follower = LogFollower(
            self, [(self.here.stdout, settings.stdout), (self.here.stderr, settings.stderr)]
        )

    def bring(self, code: int) -> None:
        """Bring what a command with this exit code has made; what else is in its working directory stays.

        Raises NodeSilent where the node does not give it, Interrupted where the step was stopped,
        RunDirectoryError or InfrastructureLost where it can't be kept.
        """
        self.follower.close()
        self.follower.bring()
        assert self.here.layout is not None
        for there, place in brought_trees(self.sent, self.command.settings, self.here.layout.root):
            self._bring_tree(there, place)
        for output in self.sent.returned if code == 0 else ():
            self._bring_output(output)

    def begin_upload(self, uploads: StepUploads) -> str:
        """Write down what the node is to upload, before it does; the name under which it does.

        Raises NodeSilent where the node does not say.
        """
        from daskpar.engine.plugins.far_files import filled_names

        assert self.here.uploads is not None
        names: list[tuple[str, str]] = self._call(filled_names, filled=self.here.uploads.filled)  # type: ignore[assignment]
        token = f"far-{secrets.token_hex(4)}"
        uploads.begin_elsewhere(token, names)
        self.command.uploaded[:] = names
        return token

    # -- files -----------------------------------------------------------------------------------------------

    def _bring_output(self, output: Output) -> None:
        if not self._bring_tree(self.places.text_here(output.path.rstrip("/")), output.path):
            self.command.tell(
                f"the command has written nothing to its output {output.name} on node {self.address}"
            )

    def _bring_tree(self, there: str, place: str) -> bool:
        """Bring a file or folder of the node's to `place`; False where there is none."""
        from daskpar.engine.plugins.far_files import list_below

        listed: list[FarFile] | None = self._call(list_below, path=there)  # type: ignore[assignment]
        if listed is None:
            return False
        total, done = sum(each.size for each in listed if not each.is_folder), 0
        folders = [self._inside(place, each.name) for each in listed if each.is_folder]
        with explained(f"{place} can't be written"):
            for folder in [place, *folders] if folders or not listed or listed[0].name else []:
                os.makedirs(folder, exist_ok=True)
        few: list[FarFile] = []
        size = 0
        for each in listed:
            if each.is_folder:
                continue
            if each.size > PIECE_BYTES // 2:
                self._bring_large(there, place, each, done, total)
                done += each.size
                continue
            few.append(each)
            size += each.size
            if len(few) >= FILES_AT_ONCE or size > PIECE_BYTES // 2:
                done = self._bring_few(there, place, few, done, total)
                few, size = [], 0
        self._bring_few(there, place, few, done, total)
        return True

    def _bring_few(self, there: str, place: str, few: list[FarFile], done: int, total: int) -> int:
        if not few:
            return done
        pieces = self._read([(_below(there, each.name), 0, each.size + 1) for each in few])
        for each, data in zip(few, pieces, strict=True):
            if len(data) > each.size:  # it still grows
                self._bring_large(there, place, each, done, total)
            else:
                self._keep(place, each, iter([data]))
        done += sum(each.size for each in few)
        self._show(done, total)
        return done

    def _bring_large(self, there: str, place: str, one: FarFile, done: int, total: int) -> None:
        def pieces() -> Iterator[bytes]:
            offset = 0
            while data := self._read([(_below(there, one.name), offset, PIECE_BYTES)])[0]:
                offset += len(data)
                self._show(done + offset, total)
                yield data

        self._keep(place, one, pieces())

    def _keep(self, place: str, one: FarFile, pieces: Iterator[bytes]) -> None:
        """Write a file as it is on the node; it is there when it is whole.

        Raises NodeSilent where there is less of it than was said.
        """
        kept = 0
        path = Path(self._inside(place, one.name))
        with explained(f"{path} can't be written"):
            path.parent.mkdir(parents=True, exist_ok=True)
            mode = atomic.NEW_FILE | one.mode & 0o111
            with atomic.writing(path, durable=False, mode=mode) as fd:
                for data in pieces:
                    atomic.write_all(fd, data)
                    kept += len(data)
                if kept < one.size:
                    raise NodeSilent(f"of {path} only {kept:,} of {one.size:,} bytes are there any more")
                os.utime(fd, ns=(one.mtime_ns, one.mtime_ns))

    def _inside(self, place: str, name: str) -> str:
        if not name:
            return place
        parts = PurePosixPath(name)
        if parts.is_absolute() or ".." in parts.parts:
            raise RunDirectoryError(f"node {self.address} has a file with the path {name!r}")
        return os.path.join(place, name)

    def _show(self, done: int, total: int) -> None:
        if reason := self.command.stopped():
            raise Interrupted(reason)
        self.command.show(f"bringing what it has made {100 * done // max(1, total)} %")

    def _read(self, wanted: list[tuple[str, int, int]]) -> list[bytes]:
        from daskpar.engine.plugins.far_files import read_pieces

        return self._call(read_pieces, wanted=wanted)  # type: ignore[return-value]

    def _call(self, function: Callable[..., object], **arguments: object) -> object:
        try:
            return self.command.sender.call(self.address, function, SEND_SECONDS, **arguments)
        except Exception as error:  # whatever it is, it is this node's trouble alone
            raise NodeSilent(f"{type(error).__name__}: {error}") from error


class LogFollower:
    """Brings what some files of a node have grown by, while the command runs. `files`: there, and here."""

    def __init__(self, of: FarTry, files: list[tuple[str, str]]) -> None:
        self._of = of
        self._files = files
        self._taken = [0] * len(files)
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Follow them, on a thread."""
        for _, here in self._files:
            self._keep(here, b"")
        self._thread = threading.Thread(target=self._follow, name="daskpar-far-logs", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Follow them no more. A call under way to a node that does not answer is left behind."""
        self._over.set()

    def bring(self) -> None:
        """Bring all that is there now. Raises as `FarTry.bring`."""
        with self._lock:
            while True:
                wanted = [
                    (there, taken, PIECE_BYTES // 2)
                    for (there, _), taken in zip(self._files, self._taken, strict=True)
                ]
                pieces = self._of._read(wanted)
                for number, data in enumerate(pieces):
                    if data:
                        self._keep(self._files[number][1], data)
                        self._taken[number] += len(data)
                if not any(pieces):
                    return

    def _follow(self) -> None:
        while not self._over.wait(LOG_SECONDS):
            try:
                self.bring()
            except Exception as error:  # the node may be lost, which others find out
                logger.info("logs of a command can't be brought: %r", error)

    @staticmethod
    def _keep(path: str, data: bytes) -> None:
        with explained(f"{path} can't be written"):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
            try:
                atomic.write_all(fd, data)
            finally:
                os.close(fd)


def _below(folder: str, name: str) -> str:
    return f"{folder}/{name}" if name else folder
