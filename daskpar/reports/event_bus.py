"""Delivers events to watchers: on a thread of its own, in order, whether or not some watchers fail."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from daskpar.datastores import carried
from daskpar.events import Event, Progress, TriesEnded, Watcher

logger = logging.getLogger(__name__)

JOINED_TRIES = 100_000
"""Bulks of tries that wait are joined up to about this many."""


class WatcherGroup(Watcher):
    """Several watchers as one: one that fails gets no more events, with one warning; the others go on."""

    def __init__(self, watchers: Iterable[Watcher]) -> None:
        self._watchers = list(watchers)

    def handle(self, event: Event) -> None:
        """Hand the event to each watcher that still works."""
        self._each(lambda watcher: watcher.handle(event))

    def close(self) -> None:
        """Close each watcher that still works."""
        self._each(lambda watcher: watcher.close())

    def _each(self, call: Callable[[Watcher], None]) -> None:
        for watcher in tuple(self._watchers):
            try:
                call(watcher)
            except Exception as error:
                self._watchers.remove(watcher)
                name = type(watcher).__name__
                logger.warning("%s failed and is switched off; the job goes on: %r", name, error)
                logger.debug("%s failed", name, exc_info=True)


class EventBus:
    """Hands events to watchers on one thread, so that a slow or failing watcher holds up no job.

    `publish` never blocks. While watchers lag behind, only the newest `Progress` of each step is kept (in the
    place of the one that waits), and bulks of tries are joined when they are delivered; no other event is
    ever dropped. `close` waits until all that was published is delivered (at most `patience` seconds).
    """

    def __init__(self, watchers: Iterable[Watcher]) -> None:
        self._group = WatcherGroup(watchers)
        self._events: deque[Event] = deque()
        self._waiting_progress: dict[str, Progress] = {}
        # A condition's lock is reentrant: a signal handler may publish in the middle of `publish`.
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=carried(self._deliver), name="daskpar-watchers", daemon=True)
        self._thread.start()

    def publish(self, event: Event) -> None:
        """Queue an event for all watchers; after `close` it is ignored."""
        with self._changed:
            if self._closed:
                return
            if isinstance(event, Progress):
                waits = event.step in self._waiting_progress
                self._waiting_progress[event.step] = event
                if waits:
                    return
            self._events.append(event)
            self._changed.notify()

    def close(self, patience: float = 60.0) -> None:
        """Deliver what is queued, close the watchers, stop the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(patience)
        if self._thread.is_alive():
            logger.warning(
                "watchers were still busy after %g s: the last lines of logs and reports may be missing",
                patience,
            )

    def _deliver(self) -> None:
        while (event := self._next()) is not None:
            self._group.handle(event)
        self._group.close()

    def _next(self) -> Event | None:
        """The next event, as soon as there is one; None after the last one of a closed bus."""
        with self._changed:
            while not self._events:
                if self._closed:
                    return None
                self._changed.wait()
            event = self._events.popleft()
            if isinstance(event, Progress):
                # What was queued keeps the place; what came last for this step is what counts.
                return self._waiting_progress.pop(event.step)
            if not isinstance(event, TriesEnded):
                return event
            bulk = [event, *self._following_tries(event)]
        return join_tries(bulk)  # copies many records: not while publishers wait for the lock

    def _following_tries(self, first: TriesEnded) -> list[TriesEnded]:
        """Take out of the queue what can be joined to `first`."""
        bulk: list[TriesEnded] = []
        size = len(first.records)
        while self._events and size < JOINED_TRIES:
            following = self._events[0]
            if not isinstance(following, TriesEnded) or following.step != first.step:
                break
            self._events.popleft()
            bulk.append(following)
            size += len(following.records)
        return bulk


def join_tries(bulk: Sequence[TriesEnded]) -> TriesEnded:
    """Consecutive bulks of one step as one, in the same order, with the time of the last."""
    if len(bulk) == 1:
        return bulk[0]
    import numpy as np

    return TriesEnded(
        time=bulk[-1].time,
        step=bulk[0].step,
        records=np.concatenate([part.records for part in bulk]),
        failures=tuple(failure for part in bulk for failure in part.failures),
    )
