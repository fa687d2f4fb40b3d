"""One processor as its node knows it: its process, its socket, its shared page, its block."""

from __future__ import annotations

import socket
from dataclasses import field
from time import monotonic

from daskpar.processor.channel import Inbox
from daskpar.processor.child_setup import ProcessorTask
from daskpar.processor.exit_reasons import KillReason
from daskpar.processor.fork_server import ForkServer
from daskpar.processor.in_flight.in_flight_given import InFlightState
from daskpar.processor.protocol import BlockOrder, ProcessorSettings
from daskpar.processor.rate_page import RatePage
from daskpar.processor.shared_page import Announcement, Phase, SharedPage
from daskpar.processor.silent_data import SilentData
from daskpar.processor.slot_page import SlotPage
from daskpar.processor.timeouts import Sighting, makes_sense
from daskpar.value_classes import mutable


@mutable
class ProcessorHandle:
    """A processor and what is known of it."""

    number: int
    sock: socket.socket
    inbox: Inbox
    page: SharedPage
    key: int
    """Number by which the fork server's events name it."""
    pid: int = 0
    """0 until the fork server has reported it."""
    ready: bool = False
    """Whether `init()` has returned."""
    ready_at: float = 0.0
    """When that was, on the monotonic clock."""
    init_raised: bool = False
    order: BlockOrder | None = None
    """The block that it has."""
    given_at: float = 0.0
    """When it was given its block, on the monotonic clock."""
    reported: int = 0
    """First index of the order's range that has not been flushed."""
    limit: int = 0
    """End of the range as it stands, after what was given back."""
    unit: int | None = None
    """First mini-batch of the unit that it has read last, where units are costly to read twice."""
    killed_for: KillReason = KillReason.NOT_KILLED
    server_died: bool = False
    """Whether it ended because its fork server had."""
    timed_out_at: Announcement | None = None
    """What it was doing when its time was up."""
    kill_at: float | None = None
    """When its time to write its stacks is over, on the monotonic clock."""
    kill_by: float = 0.0
    """When it is over at the latest, though it still writes."""
    stacks: int = 0
    """Size of the file that they go to, as it was seen last."""
    silent: SilentData | None = None
    """The question to the files of the mini-batch whose time was up."""
    unreached: str = ""
    """What is wrong with those files, where they do not answer: then nobody's script is to blame."""
    finishing: bool = False
    """Whether it was told to call `shutdown()` and end."""
    replaced_for: str = ""
    """Why a fresh process is to take its place, once its block is over; empty: it goes on."""
    broken: bool = False
    """Whether that is because its calls fail."""
    mini_batches: int = 0
    """How many tries it has reported."""
    bytes_after_init: int = 0
    """Its resident memory when `init()` had returned."""
    in_flight: InFlightState | None = None
    """What it was given, where many of its calls are in flight; `order` is then any of its blocks."""

    sighting: Sighting = field(default_factory=lambda: Sighting(monotonic()))

    def announced(self) -> Announcement:
        """What it announced last, with a time by this process's clock."""
        return self.sighting.look(self.page.announced(), monotonic())

    def longest(self) -> Announcement:
        """What it has been doing for longest, where it does several things."""
        if self.in_flight is None:
            return self.announced()
        return min(self.page.all_announced(), key=lambda one: one.since)

    def ended_unheard(self) -> bool:
        """Whether it has come to the end of its block by its own account, though no message said so."""
        last = self.page.announced()
        return last.phase == Phase.IDLE and last.since >= self.given_at

    def calls(self) -> tuple[int, ...]:
        """How many calls are in flight; nothing where they follow each other."""
        return (sum(1 for _ in self.page.in_flight()),) if isinstance(self.page, SlotPage) else ()

    @property
    def is_free(self) -> bool:
        """Whether it can be given a block."""
        return self.order is None and self.goes_on

    @property
    def goes_on(self) -> bool:
        """Whether it takes another block once it has none."""
        return self.ready and not (self.finishing or self.killed_for or self.replaced_for)

    def close(self) -> None:
        """Release what its node shared with it."""
        self.sock.close()
        self.page.close()


def start_processor(
    server: ForkServer,
    settings: ProcessorSettings,
    number: int,
    *,
    keep_folder: bool = False,
    rate_page: RatePage | None = None,
) -> ProcessorHandle:
    """Have `server` fork processor `number`; OSError when the server is gone.

    `keep_folder`: whether its working folder is left as it is. `rate_page`: the bucket of the rate limit.
    """
    calls = settings.in_flight
    page = SlotPage.with_slots(calls) if calls else SharedPage.create()
    page.announce(-1, Phase.INIT, monotonic())  # before the processor can announce anything itself
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        fds = [theirs.fileno(), page.fd, *([rate_page.fd] if rate_page is not None else [])]
        key = server.spawn(ProcessorTask(settings, number, keep_folder), fds)
    except OSError:
        ours.close()
        page.close()
        raise
    finally:
        theirs.close()
    return ProcessorHandle(
        number=number,
        sock=ours,
        inbox=Inbox(ours),
        page=page,
        key=key,
        in_flight=InFlightState() if calls else None,
    )


def makes_sense_of(processor: ProcessorHandle, announcement: Announcement) -> bool:
    """Whether it can have announced this."""
    order = processor.order
    if processor.in_flight is not None:
        return announcement.phase in list(Phase)
    if order is None:
        return makes_sense(announcement, announcement.index, announcement.index + 1)
    return makes_sense(announcement, order.start, order.stop)
