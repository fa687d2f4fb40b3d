"""What the tracker on the scheduler sends to the driver, and its form on the way."""

from __future__ import annotations

from daskpar.value_classes import frozen

Wire = tuple[str | bytes, ...]
"""Name of a message's class, then its fields: Dask sends topic events by msgpack, which knows no classes."""


@frozen
class MessagesArrived:
    """A node has reported."""

    address: str
    """Of its worker."""
    pickled: bytes
    """A list of `processor.protocol.Message`. The scheduler passes on the bytes that the node has sent."""


@frozen
class VerdictReached:
    """A threshold is exceeded; the tracker has asked the nodes to stop."""

    reason: str
    """One sentence for the user."""


@frozen
class WorkerJoined:
    """A worker has connected to the scheduler."""

    address: str


@frozen
class WorkerLost:
    """A worker has left the scheduler, or is taken to be dead."""

    address: str


@frozen
class TrackerClosed:
    """The tracker has been taken away: nothing follows, so that nobody need listen any more."""


TrackerMessage = MessagesArrived | VerdictReached | WorkerJoined | WorkerLost | TrackerClosed

_KINDS: dict[str, type[TrackerMessage]] = {
    kind.__name__: kind for kind in (MessagesArrived, VerdictReached, WorkerJoined, WorkerLost, TrackerClosed)
}


def to_wire(message: TrackerMessage) -> Wire:
    """`message` as a plain tuple."""
    return (type(message).__name__, *vars(message).values())


def from_wire(wire: Wire) -> TrackerMessage:
    """The message that `to_wire` made the tuple of."""
    kind, *fields = wire
    return _KINDS[str(kind)](*fields)  # type: ignore[arg-type]
