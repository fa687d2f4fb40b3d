"""A node's gate for reports: what has files for outputs at URLs passes once these lie in the store.

So a mini-batch is committed only when nothing of it can be missed, while its processor goes on. Reports of
one block keep their order; those of others overtake.
"""

from __future__ import annotations

import logging
import os
import queue
import shutil
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import field
from functools import partial
from time import monotonic

from daskpar.data.reach import Reach, reach_of
from daskpar.datastores import carried, own_options
from daskpar.outputs.file_upload import files_below, object_at, upload_file
from daskpar.outputs.upload_log import BegunLog
from daskpar.processor.output_sweep import OF_INIT, Uploads
from daskpar.processor.protocol import Flushed, Message, NodeFailed, NotUploaded, ProcessorSettings
from daskpar.value_classes import mutable

logger = logging.getLogger(__name__)

THREADS = 8
"""Files that a node uploads at one time."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
"""Seconds before a file is tried again, twice as long each time."""
SURE_AFTER = 3
"""Tries of a file after which an error that is not of the connection is believed."""
BEAT_SECONDS = 0.5
"""How often the driver is told that files are being uploaded, which is progress, however large they are; or
that they wait, which is none.
"""
TELL_SECONDS = 1.0
"""How often the driver is told at most of a try that has just failed."""


@mutable
class _Held:
    """A report that waits, for its own files or for a report before it."""

    message: Message
    left: int = 0
    """Sealed folders that are not uploaded."""


@mutable
class _Folder:
    """A sealed folder under way."""

    path: str
    held: _Held
    block: int
    left: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class UploadGate:
    """Takes the reports of one step on one node, in order, and hands them to `deliver`, in lists.

    `deliver` is called from several threads, but one at a time. `begun`: makes sure that the run directory
    has what is written down of files, before they are uploaded; False where that can't be.
    """

    def __init__(
        self,
        settings: ProcessorSettings,
        uploads: Uploads,
        deliver: Callable[[list[Message]], None],
        begun: Callable[[], bool] | None = None,
    ) -> None:
        self._node = settings.node
        self._uploads = uploads
        self._targets = dict(uploads.outputs)
        self._deliver = deliver
        self._begun = begun
        self._lock = threading.RLock()
        self._held: dict[int, deque[_Held]] = {}
        self._closed = threading.Event()
        self._told = float("-inf")
        self._trouble = ""
        """What stood in the way where the last try of some file has failed."""
        self._log = BegunLog(uploads.log, f"{settings.session}-{settings.node}")
        self._folders: queue.SimpleQueue[tuple[_Folder, int] | None] = queue.SimpleQueue()
        self._under_way: dict[str, Future[None]] = {}
        """Target -> its last upload: a later one waits for it, so that the later file stays."""
        self._files: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        # Not those of an executor, for which the interpreter waits at its end: a store may hang.
        with own_options(settings.storage):
            for work in map(carried, (self._begin_all, self._tell_of_work, *[self._upload_all] * THREADS)):
                threading.Thread(target=work, name=f"daskpar-upload-{settings.step}", daemon=True).start()

    def take(self, messages: list[Message]) -> None:
        """Pass on what need not wait, hold the rest."""
        passed: list[Message] = []
        with self._lock:
            for message in messages:
                block = getattr(message, "block", None)
                waiting = self._held.get(block) if block is not None else None
                if isinstance(message, Flushed) and message.sealed:
                    held = _Held(message, len(message.sealed))
                    self._held.setdefault(message.block, deque()).append(held)
                    for index, token in message.sealed:
                        folder = _Folder(f"{self._uploads.sealed}/{token}", held, message.block)
                        self._folders.put((folder, index))
                elif waiting:
                    waiting.append(_Held(message))
                else:
                    passed.append(message)
            if passed:
                self._deliver(passed)

    def close(self) -> None:
        """Upload nothing more; what is held is dropped, and its mini-batches stay uncommitted."""
        with self._lock:
            self._closed.set()
            self._held.clear()
        self._folders.put(None)
        for _ in range(THREADS):
            self._files.put(None)

    # -- in the order in which folders were sealed ---------------------------------------------------------

    def _begin_all(self) -> None:
        while (found := self._folders.get()) is not None and not self._closed.is_set():
            try:
                self._begin(*found)
            except Exception as error:
                self._give_up(f"files of outputs can't be uploaded: {type(error).__name__}: {error}")

    def _begin(self, folder: _Folder, index: int) -> None:
        token, files = os.path.basename(folder.path), []
        for of_init in (True, False):
            root = f"{folder.path}/{OF_INIT}" if of_init else folder.path
            found = [(path, *name.split("/", 1)) for path, name in files_below(root)]
            found = [one for one in found if one[1] != OF_INIT]
            if found:
                self._log.add(token, index, [(output, name) for _, output, name in found], of_init=of_init)
            files += found
        if files and self._begun is not None and not self._begun():
            return  # the step is over
        folder.left = len(files)
        if not files:
            self._uploaded(folder)
        for path, output, name in files:
            target = object_at(self._targets[output], name)
            done: Future[None] = Future()
            with self._lock:
                before, self._under_way[target] = self._under_way.get(target), done
            self._files.put(partial(self._upload, folder, path, target, before, done))

    # -- on several threads --------------------------------------------------------------------------------

    def _upload_all(self) -> None:
        while (work := self._files.get()) is not None and not self._closed.is_set():
            work()

    def _upload(
        self, folder: _Folder, path: str, target: str, before: Future[None] | None, done: Future[None]
    ) -> None:
        if before is not None:
            before.result()  # it was begun before this one, so it ends
        try:
            whole = self._upload_file(path, target)
        finally:
            done.set_result(None)
            with self._lock:
                if self._under_way.get(target) is done:
                    del self._under_way[target]
        if whole:
            with folder.lock:
                folder.left -= 1
                last = not folder.left
            if last:
                self._uploaded(folder)

    def _upload_file(self, path: str, target: str) -> bool:
        """Upload a file, however long that takes; False where that is given up."""
        failures = 0
        while not self._closed.is_set():
            try:
                upload_file(path, target)
                os.unlink(path)
                self._trouble = ""
                return True
            except Exception as error:
                failures += 1
                logger.info("%s was not uploaded to %s", path, target, exc_info=True)
                trouble = f"{target} can't be written: {error}"
                if not os.path.exists(path) or (failures >= SURE_AFTER and reach_of(error) == Reach.OTHER):
                    self._give_up(trouble)
                    return False
                self._tell(trouble)
                self._closed.wait(min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 16)))
        return False

    def _uploaded(self, folder: _Folder) -> None:
        shutil.rmtree(folder.path, ignore_errors=True)
        with self._lock:
            folder.held.left -= 1
            waiting = self._held.get(folder.block)
            passed = []
            while waiting and not waiting[0].left:
                passed.append(waiting.popleft().message)
            if waiting is not None and not waiting:
                del self._held[folder.block]
            if passed and not self._closed.is_set():
                self._deliver(passed)

    def _tell_of_work(self) -> None:
        while not self._closed.wait(BEAT_SECONDS):
            with self._lock:
                if self._held and not self._closed.is_set():
                    # Trouble too: results of other files may have come since it was told.
                    self._deliver([NotUploaded(node=self._node, trouble=self._trouble)])

    def _tell(self, trouble: str) -> None:
        with self._lock:
            self._trouble = trouble
            if monotonic() - self._told >= TELL_SECONDS and not self._closed.is_set():
                self._told = monotonic()
                self._deliver([NotUploaded(node=self._node, trouble=trouble)])

    def _give_up(self, trouble: str) -> None:
        with self._lock:
            if not self._closed.is_set():
                self._deliver([NodeFailed(node=self._node, message=trouble, disk=True)])
