"""One child process as its node knows it."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from time import monotonic

from daskpar.processor.channel import Inbox
from daskpar.processor.child_setup import ProcessorOrder
from daskpar.processor.fork_server import ForkServer
from daskpar.processor.protocol import BlockOrder, ProcessorSettings
from daskpar.processor.shared_page import Announced, Page, Phase


@dataclass
class Supervised:
    """A processor and what is known of it."""

    number: int
    sock: socket.socket
    inbox: Inbox
    page: Page
    key: int
    """By which the fork server tells its fate."""
    pid: int = 0
    """0 until the fork server has told it."""
    ready: bool = False
    order: BlockOrder | None = None
    reported: int = 0
    """First index of the order's range that has not been flushed."""
    limit: int = 0
    """End of the range as it stands, after what was given back."""
    killed_for: str = ""
    """`timeout`, `memory`, `stopped`; empty for one that was not killed by its node."""
    doomed: Announced | None = None
    """What it was at when its time was up."""
    kill_at: float | None = None
    """When its time to write its stacks is over, on the monotonic clock."""
    failed_init: bool = False
    finishing: bool = False

    def close(self) -> None:
        """Let go of what its node shared with it."""
        self.sock.close()
        self.page.close()


def start(server: ForkServer, settings: ProcessorSettings, number: int) -> Supervised:
    """Have `server` fork processor `number`; OSError when the server is gone."""
    page = Page.create()
    page.announce(-1, Phase.INIT, monotonic())  # before anything that the processor may say itself
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        key = server.spawn(ProcessorOrder(settings, number), [theirs.fileno(), page.fd])
    except OSError:
        ours.close()
        page.close()
        raise
    finally:
        theirs.close()
    return Supervised(number=number, sock=ours, inbox=Inbox(ours), page=page, key=key)


@dataclass
class Expected:
    """Average time of a mini-batch on this node."""

    seconds: float = 0.0
    count: int = 0

    def add(self, seconds: float, count: int) -> None:
        """Take in that `count` mini-batches took `seconds`."""
        each = seconds / count
        weight = min(1.0, count / min(self.count + count, 200))
        self.seconds += weight * (each - self.seconds)
        self.count += count
