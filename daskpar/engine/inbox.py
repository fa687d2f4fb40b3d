"""The driver's inbox: every message that the loop of an execution handles, one after the other."""

from __future__ import annotations

import queue

from daskpar.engine.plugins.tracker_messages import TrackerMessage
from daskpar.processor.last_state import LastState
from daskpar.value_classes import frozen


@frozen
class StepOpened:
    """A worker has answered the request to start the processors of the step."""

    address: str
    number: int
    """Of the member that was asked; by now another one may have this address."""
    trouble: str
    """Why it could not; empty where it could."""


@frozen
class WorkerUnheard:
    """Nothing is heard of a worker that was asked to start processors; `StepOpened` may follow."""

    address: str
    number: int
    """As that of `StepOpened`."""
    why: str
    """In one sentence."""


@frozen
class LastStateKnown:
    """What a lost node was running is known, or will never be."""

    address: str
    number: int
    last_state: LastState | None


@frozen
class TaskEnded:
    """The Dask task of a block has ended."""

    block: int
    status: str | None
    """Of its future: `finished`, `error`, `cancelled`, `lost`."""
    error: str
    """`repr` of the exception of one that has failed."""


@frozen
class WorkerLeft:
    """A worker has answered the request to end its processors; sent at the end of an execution only."""

    address: str


@frozen
class StopRequested:
    """Somebody asks for the end of the step."""

    reason: str
    at_once: bool
    """Whether blocks under way are not waited for."""


DriverMessage = (
    TrackerMessage | StepOpened | WorkerUnheard | LastStateKnown | TaskEnded | WorkerLeft | StopRequested
)

Inbox = queue.SimpleQueue[DriverMessage]
"""Filled from any thread, emptied by the loop alone."""
