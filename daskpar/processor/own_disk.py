"""Tells the node what the disk refuses a processor of what is daskpar's own: no mini-batch is to blame."""

from __future__ import annotations

import socket

from daskpar.processor import channel
from daskpar.processor.processor_messages import DiskFailed


def tell_of(error: Exception, sock: socket.socket, what: str) -> bool:
    """Tell the node of `error` where it is an OSError; returns whether it is. `what` begins the sentence."""
    if not isinstance(error, OSError):
        return False
    # of a rename the name that was to be given
    place = error.filename2 or error.filename
    why = error.strerror or str(error)
    channel.send(sock, DiskFailed(f"{what}: {why}" if place is None else f"{what}: {place}: {why}"))
    return True
