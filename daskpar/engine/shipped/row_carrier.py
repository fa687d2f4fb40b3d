"""Carries the reports of a node that does not see the run directory, with their rows and logs.

Processors write rows and logs to the node's own disk. The carrier takes their reports in order and sends each
after what it is about: rows in pieces of at most 4 MB, logs before the failure that they explain. Only so
much is on its way at one time; the rest waits on the disk, and with it the end of its block, so that the node
gets no further blocks until the driver has kept up.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from time import monotonic

from daskpar.engine.shipped.grown_files import LEFT, GrownFiles
from daskpar.engine.shipped.sent_parts import SentParts
from daskpar.engine.shipped.settled_files import MLFLOW, OWN, SettledFiles
from daskpar.processor.azure_variables import mlflow_folder
from daskpar.processor.node_places import NodePlaces
from daskpar.processor.protocol import (
    PIECE_BYTES,
    CarriedRows,
    Flushed,
    LogMessage,
    Message,
    NodeFailed,
    ProcessorChanged,
    ProcessorSettings,
    ReturnedFile,
    carried_bytes,
)
from daskpar.results import InitFailed
from daskpar.value_classes import mutable

logger = logging.getLogger(__name__)

WINDOW_BYTES = 4 * PIECE_BYTES
"""What is on its way from a node to the driver at most."""
ALL_WINDOWS_BYTES = 64 * PIECE_BYTES
"""The same of all nodes together, which the scheduler and the driver may have to hold."""
LEAST_PIECE_BYTES = 64 << 10
"""Where nodes are many, their pieces are smaller, but not below this."""
LOG_SECONDS = 2.0
"""How often logs are brought back while nothing tells of a need."""
DRAIN_SECONDS = 12.0
"""How long the last reports and files wait when the step ends, for a driver that takes none of them."""


OWN_OUTPUTS = (
    "scripts write to output_dir (AZUREML_BI_OUTPUT_PATH) on nodes that do not see the run directory: their "
    "files come to the driver some seconds after they are written, and what a node that is lost, or a driver "
    "that is killed, leaves unsent is gone; an output of the step with a URL loses nothing"
)


@mutable
class _Asked:
    """Whoever waits for files to be with the driver."""

    sent: int | None = None
    """How many bytes were sent by the carrier when all of them were."""


def window_of(nodes: int) -> int:
    """How many bytes may be on their way from each of so many nodes."""
    return max(4 * LEAST_PIECE_BYTES, min(WINDOW_BYTES, ALL_WINDOWS_BYTES // max(1, nodes)))


class RowCarrier:
    """Takes the reports of one step on one node, in order, and hands them to `deliver`, in lists.

    `deliver` is called on one thread. `settings` have the node's own places.
    """

    def __init__(
        self, settings: ProcessorSettings, places: NodePlaces, deliver: Callable[[list[Message]], None]
    ) -> None:
        self._node = settings.node
        self._step = settings.step
        self._places = places
        self._deliver = deliver
        self._window = places.window or WINDOW_BYTES
        self._piece = min(PIECE_BYTES, self._window // 4)
        self._parts = SentParts(settings.store, settings.processors)
        self._parts_folder = os.path.dirname(settings.store.place_of("any"))
        self._files = GrownFiles(places.trees)
        self._own = SettledFiles({OWN: places.own_outputs, MLFLOW: mlflow_folder(settings.working_dir)})
        self._told_of_own = False
        self._waiting: deque[Message | _Asked] = deque()
        self._changed = threading.Condition()
        self._sent = 0
        self._acknowledged = 0
        self._draining = False
        """Nothing more comes; what is there is carried."""
        self._over = False
        self._thread = threading.Thread(target=self._main, name=f"daskpar-carry-{self._step}", daemon=True)
        self._thread.start()

    # -- for any thread ------------------------------------------------------------------------------------

    def take(self, messages: list[Message]) -> None:
        """Take reports; never waits."""
        self._put(*messages)

    def acknowledged(self, size: int) -> None:
        """The driver has taken so many bytes."""
        with self._changed:
            self._acknowledged += size
            self._changed.notify_all()

    def bring_files(self) -> bool:
        """Bring back what logs have grown by; whether the driver has all of it when this returns."""
        asked = _Asked()
        self._put(asked)
        with self._changed:
            while not self._over:
                if asked.sent is not None and self._acknowledged >= asked.sent:
                    return True
                self._changed.wait()
        return False

    def close(self, *, drain: bool) -> None:
        """Carry nothing more. `drain`: first what is there and what was logged, which may take a while."""
        with self._changed:
            self._draining = True
            self._over = self._over or not drain
            self._changed.notify_all()
        if drain:
            self._drain()
        self._parts.close()

    def _drain(self) -> None:
        with self._changed:
            taken, since = self._acknowledged, monotonic()
            while not self._over and monotonic() - since < DRAIN_SECONDS:
                self._changed.wait(1.0)
                if self._acknowledged != taken:
                    taken, since = self._acknowledged, monotonic()
        self._end()

    def _put(self, *waiting: Message | _Asked) -> None:
        with self._changed:
            self._waiting.extend(waiting)
            self._changed.notify_all()

    def _end(self) -> None:
        with self._changed:
            self._over = True
            self._changed.notify_all()

    # -- the thread ----------------------------------------------------------------------------------------

    def _main(self) -> None:
        try:
            self._carry_all()
        except Exception as error:
            logger.exception("the reports of step %s can't be carried", self._step)
            text = f"node {self._node}: its rows can't be sent: {type(error).__name__}: {error}"
            self._deliver([NodeFailed(node=self._node, message=self._places.back(text), disk=False)])
        finally:
            self._end()

    def _carry_all(self) -> None:
        looked = monotonic()
        while True:
            with self._changed:
                if not self._waiting and not self._draining:
                    self._changed.wait(LOG_SECONDS)
                if self._over or (self._draining and not self._waiting):
                    break
                message = self._waiting.popleft() if self._waiting else None
            if message is None or monotonic() - looked >= LOG_SECONDS:
                self._bring_logs()
                self._bring_own()
                looked = monotonic()
            if isinstance(message, _Asked):
                self._bring_logs()
                with self._changed:
                    message.sent = self._sent
                    self._changed.notify_all()
            elif message is not None:
                self._carry(message)
        self._bring_logs(last=True)
        self._bring_own(last=True)
        self._bring_left()

    def _carry(self, message: Message) -> None:
        if isinstance(message, Flushed):
            self._carry_flushed(message)
            return
        if _needs_logs(message):
            self._bring_logs()
        own = self._of_own_disk(message)
        self._send(self._places.back(message) if own is None else own)

    def _of_own_disk(self, message: Message) -> NodeFailed | None:
        """What a node tells of its own disk, with the path there: the driver's has nothing to do with it."""
        if isinstance(message, NodeFailed) and self._parts_folder in message.message:
            text = (
                f"node {self._node} ({socket.gethostname()}) keeps rows on its own disk until the driver has "
                f"them, and {message.message}; give its Dask worker a larger --local-directory"
            )
            return replace(message, message=text)
        return None

    def _carry_flushed(self, flushed: Flushed) -> None:
        if self._draining:
            return  # the driver takes no results any more: its mini-batches stay uncommitted
        if flushed.part and not (flushed := self._with_rows(flushed)).part:
            return
        if flushed.failures:
            self._bring_logs()
            flushed = replace(flushed, failures=self._places.back(flushed.failures))
        if self._send(flushed) and flushed.part:
            self._parts.sent(flushed.part, flushed.offset, flushed.length)

    def _with_rows(self, flushed: Flushed) -> Flushed:
        """The flush with its rows; where these are many, they are sent ahead of it. Without a part where the
        step is over.
        """
        if flushed.length <= self._piece:
            return replace(flushed, carried=self._parts.read(flushed.part, flushed.offset, flushed.length))
        end = flushed.offset + flushed.length
        for start in range(flushed.offset, end, self._piece):
            data = self._parts.read(flushed.part, start, min(self._piece, end - start))
            if not self._send(CarriedRows(part=flushed.part, offset=start, data=data)):
                return replace(flushed, part="")
        return flushed

    def _bring_logs(self, *, last: bool = False) -> None:
        for piece in self._files.pieces(self._piece, last=last):
            if not self._send(piece):
                return

    def _bring_own(self, *, last: bool = False) -> None:
        for piece in self._own.pieces(self._piece, last=last):
            if not self._send(piece):
                return
        if self._own.any_own and not self._told_of_own:
            self._told_of_own = True
            self._send(LogMessage(level="warning", text=OWN_OUTPUTS))

    def _bring_left(self) -> None:
        if self._places.left:
            for piece in GrownFiles([self._places.left], LEFT).pieces(self._piece, last=True):
                if not self._send(piece):
                    return
            self._send(ReturnedFile(tree=LEFT, name="", offset=0, data=b""))

    def _send(self, message: Message) -> bool:
        """Hand a message on once there is room for what it carries; False where that is too late."""
        size = carried_bytes(message)
        with self._changed:
            while size and not self._over and self._sent + size - self._acknowledged > self._window:
                self._changed.wait()
            if self._over:
                return False
            self._sent += size
        self._deliver([message])
        return True


def _needs_logs(message: Message) -> bool:
    """Whether somebody who hears of it will look at the logs."""
    ended = isinstance(message, ProcessorChanged) and message.state not in ("started", "ready")
    return ended or isinstance(message, InitFailed | NodeFailed)
