"""The end of a step on its nodes: each is asked to end its processors, and heard to its last message."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

from daskpar.engine.inbox import DriverMessage, Inbox, StopRequested, WorkerLeft
from daskpar.engine.plugins.tracker_messages import WorkerLost
from daskpar.processor.protocol import ProcessorSettings

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger(__name__)

ALIVE_SECONDS = 5.0
"""What a worker gets to end a step before it is asked whether it is alive, and what it gets to say so."""
LAST_MESSAGE_SECONDS = 2.0
"""What the last message of a node gets to arrive, once its worker has answered that it has left."""
SENDING_SECONDS = 15.0
"""How long the next piece of a file may take that a node sends at its end."""


class Leaving:
    """Has workers end the processors of a step by calling `leave` there.

    Messages go to `take`, which returns the address of a node whose last message it was, else an empty text.
    """

    def __init__(
        self,
        client: Client,
        settings: ProcessorSettings,
        inbox: Inbox,
        leave: Callable[..., Any],
        take: Callable[[DriverMessage], str],
    ) -> None:
        self._client = client
        self._settings = settings
        self._inbox = inbox
        self._leave = leave
        self._take = take
        self._waiting: set[str] = set()
        self._still_reporting: set[str] = set()
        self._alive: set[str] = set()
        self._hanging: set[str] = set()
        self._asked_whether_alive = False
        self._at_once = False

    def run(
        self,
        reporting: Iterable[str],
        asked: Iterable[str],
        *,
        seconds: float,
        last_taken: Callable[[], float] = lambda: 0.0,
    ) -> set[str]:
        """Returns when all have left, or nobody is waited for any more; the workers that hang.

        `reporting` are those on which the step is open: they are waited for, up to `seconds`, and get a
        moment for their last message. Others that were `asked` to open it find, whenever they get to that,
        that it has ended. One that hangs, so that it does not even say that it is alive, holds up nobody.
        `last_taken`: when rows or files of nodes came last; as long as these come, nodes have time.
        """
        self._waiting = set(reporting)
        self._still_reporting = set(self._waiting)
        self._deadline = monotonic() + seconds
        self._look_at = monotonic() + ALIVE_SECONDS
        if self._client.status == "running":
            self._on_threads(self._ask_to_leave, {*self._waiting, *asked})
        while self._waiting or self._still_reporting or not self._inbox.empty():
            if self._client.status != "running" or monotonic() > self._deadline_now(last_taken()):
                return self._hanging | self._waiting
            if self._waiting and monotonic() > self._look_at:
                self._look_for_hanging()
            with suppress(queue.Empty):
                self._handle(self._inbox.get(timeout=0.25))
        return self._hanging

    def _deadline_now(self, last_taken: float) -> float:
        return 0.0 if self._at_once else max(self._deadline, last_taken + SENDING_SECONDS)

    def _handle(self, message: DriverMessage) -> None:
        match message:
            case WorkerLeft(address) | WorkerLost(address):
                self._waiting.discard(address)
                if isinstance(message, WorkerLost):
                    self._still_reporting.discard(address)
                if not self._waiting:
                    # The last messages were sent before the answers, but come by another way.
                    self._deadline = min(self._deadline, monotonic() + LAST_MESSAGE_SECONDS)
            case StopRequested(at_once=True):
                self._at_once = True
            case _:
                self._still_reporting.discard(self._take(message))

    def _look_for_hanging(self) -> None:
        if not self._asked_whether_alive:
            self._asked_whether_alive = True
            self._look_at = monotonic() + ALIVE_SECONDS
            self._on_threads(self._ask_whether_alive, self._waiting)
            return
        self._look_at = float("inf")
        self._hanging = self._waiting - self._alive
        self._waiting -= self._hanging
        self._still_reporting -= self._hanging
        if self._hanging:
            logger.warning("not waited for, since they do not answer: %s", ", ".join(sorted(self._hanging)))

    def _on_threads(self, call: Callable[[str], None], addresses: Iterable[str]) -> None:
        for address in list(addresses):
            threading.Thread(
                target=call, args=(address,), daemon=True, name=f"daskpar-leave-{address}"
            ).start()

    def _ask_to_leave(self, address: str) -> None:
        run_id, step = self._settings.run_id, self._settings.opened_as
        try:
            self._client.run(self._leave, run_id=run_id, step=step, workers=[address], on_error="ignore")
        except Exception as error:
            logger.info("node %s could not be left in order: %r", address, error)
        self._inbox.put(WorkerLeft(address))

    def _ask_whether_alive(self, address: str) -> None:
        with suppress(Exception):
            if self._client.run(answers, workers=[address], on_error="ignore"):
                self._alive.add(address)


def answers() -> bool:
    """Runs on a worker: it does."""
    return True
