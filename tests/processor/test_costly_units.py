"""Units that are costly to read twice, such as Parquet row groups: who gets what is left of one."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from time import monotonic

import pytest

from daskpar.processor.block_queue import BlockQueue
from daskpar.processor.channel import Inbox
from daskpar.processor.processor_handle import ProcessorHandle
from daskpar.processor.protocol import BlockOrder, Message, ProcessorSettings, Released
from daskpar.processor.shared_page import Announcement, Phase, SharedPage
from daskpar.processor.timeouts import UnitTime
from daskpar.processor.unit_reading import waits_for_reader
from daskpar.rows.shared_folder import SharedFolder

SETTINGS = ProcessorSettings(
    run_id="r", step="s", node=0, python="", processors=2, entry_script="", code=None, plan="", store=SharedFolder(Path("parts")), shared="", logs="", work="",
    working_dir="", output_dir="", run_timeout=10.0, overhead_timeout=20.0, init_timeout=30.0,
)  # fmt: skip


class Node:
    """A queue and two processors that are ready, without processes."""

    def __init__(self) -> None:
        self.said: list[Message] = []
        self.queue = BlockQueue(SETTINGS, self.said.append)
        self.sockets = [socket.socketpair() for _ in range(2)]
        self.processors = [
            ProcessorHandle(number, ours, Inbox(ours), SharedPage.create(), key=number, ready=True)
            for number, (ours, _) in enumerate(self.sockets)
        ]

    def add(self, block: int, start: int, stop: int, units: tuple[int, ...] | None) -> None:
        self.queue.add(BlockOrder(block=block, token="", start=start, stop=stop, units=units))

    def close(self) -> None:
        for processor, (_, theirs) in zip(self.processors, self.sockets, strict=True):
            processor.close()
            theirs.close()


@pytest.fixture
def node():
    made = Node()
    yield made
    made.close()


def test_a_processor_goes_on_with_the_unit_that_it_has_read(node):
    one, two = node.processors
    for block, start, units in ((1, 0, (0,)), (2, 20, (20,)), (3, 40, (40,)), (4, 25, (20,))):
        node.add(block, start, start + 5, units)
    node.queue.give_to([one, two])
    assert (one.order.block, two.order.block) == (1, 2)
    two.order = None
    node.queue.give_to([one, two])
    assert two.order.block == 4
    one.order = None
    node.queue.give_to([one, two])
    assert one.order.block == 3


@pytest.mark.parametrize(
    ("units", "phase", "seconds", "released"),
    [
        (None, Phase.LOAD, 1.0, (3, 30)),
        ((0,), Phase.LOAD, 1.0, None),  # whoever took the rest would have to read it as well
        ((0, 20), Phase.LOAD, 1.0, (20, 30)),
        ((0, 2, 20), Phase.LOAD, 1.0, (20, 30)),  # those before the current one are behind it
        ((0, 20), Phase.RUN, 1.0, (3, 30)),  # a slow call holds up all that is behind it
        ((0, 20), Phase.LOAD, 0.1, None),
    ],
)
def test_what_a_slow_mini_batch_holds_up_is_given_back_unless_it_is_of_the_unit_that_is_read(
    node, units, phase, seconds, released
):
    node.add(1, 0, 30, units)
    node.queue.give_to(node.processors[:1])
    processor, now = node.processors[0], monotonic()
    processor.page.announce(2, phase, now)
    node.queue.take_back_if_slow(processor, Announcement(2, phase, now - seconds), now)
    assert [(m.start, m.stop) for m in node.said if isinstance(m, Released)] == (
        [released] if released else []
    )


def test_a_slow_call_waits_for_as_long_as_another_reading_of_the_unit_takes(node):
    node.add(1, 0, 30, (0,))
    node.queue.give_to(node.processors[:1])
    node.queue._unit_time.add(5.0)
    processor, now = node.processors[0], monotonic()
    processor.page.announce(2, Phase.RUN, now)
    for seconds, given_back in ((5.1, 0), (5.3, 1)):
        node.queue.take_back_if_slow(processor, Announcement(2, Phase.RUN, now - seconds), now)
        assert len(node.said) == given_back


def test_the_time_of_a_unit_is_that_of_the_latest_long_load():
    time = UnitTime()
    for longest, known in ((2.0, 2.0), (0.0, 1.8), (3.0, 3.0), (0.0, 2.7)):
        time.add(longest)
        assert time.seconds == pytest.approx(known)
    for longest, known in ((0.0, 2.7), (4.0, 4.0)):  # who goes on with a unit has it already
        time.add(longest, begun=False)
        assert time.seconds == pytest.approx(known)


@pytest.mark.parametrize(
    ("units", "index", "end"),
    [(None, 3, 4), ((0,), 3, 30), ((0, 20), 3, 20), ((0, 20), 20, 30), ((0, 4, 5), 4, 5)],
)
def test_where_a_unit_ends(units, index, end):
    order = BlockOrder(block=1, token="", start=0, stop=30)
    assert replace(order, units=units).end_of_unit(index) == end


@pytest.mark.parametrize(
    ("wait", "each", "reload", "waits"),
    [
        (0.2, 0.2, 0.06, True),  # its reader will be free in a moment
        (0.25, 0.2, 0.06, True),
        (0.35, 0.2, 0.06, False),  # another reading takes much less
        (0.25, 0.1, 0.06, False),  # and here there is more to share
        (0.05, 0.01, 0.06, True),  # all of it is over before the unit is read again
        (0.07, 0.01, 0.06, False),
        (9.0, 9.0, 0.06, False),
        (0.2, 0.2, 0.0, False),  # nothing is known to be costly
    ],
)
def test_a_block_waits_for_the_reader_of_its_unit_only_where_that_takes_a_moment(wait, each, reload, waits):
    assert waits_for_reader(wait, each, reload) == waits


def test_the_last_mini_batch_of_a_unit_is_left_to_its_reader(node):
    """Another processor would read the whole unit for it."""
    one, two = node.processors
    node.add(1, 8, 9, (0,))
    node.add(2, 20, 21, (20,))
    node.queue.give_to([one, two])
    node.queue._mean_time.add(0.2, 1)
    node.queue._unit_time.add(0.1)
    two.order = None
    node.add(3, 9, 10, (0,))
    one.page.announce(8, Phase.RUN, monotonic())
    node.queue.give_to([two, one])
    assert two.order is None and len(node.queue) == 1
    one.order = None  # both are free now, and the one that has not read the unit is asked first
    node.queue.give_to([two, one])
    assert two.order is None and one.order.block == 3


@pytest.mark.parametrize(
    "what", ["its reader is slow", "its reader ends", "nothing is measured", "its reader is gone"]
)
def test_a_block_does_not_wait_for_a_reader_that_may_not_come(node, what):
    one, two = node.processors
    node.add(1, 8, 9, (0,))
    node.queue.give_to([one])
    node.queue._unit_time.add(0.1)
    if what != "nothing is measured":
        node.queue._mean_time.add(0.2, 1)
    one.finishing = what == "its reader ends"
    one.page.announce(8, Phase.RUN, monotonic() - (2.0 if what == "its reader is slow" else 0.0))
    one.sighting.looked = 0.0
    node.add(3, 9, 10, (0,))
    node.queue.give_to([two] if what == "its reader is gone" else [two, one])
    assert two.order is not None and two.order.block == 3


@pytest.mark.parametrize(
    ("index", "measured", "seconds", "given_back"),
    [
        (0, 0, 4.0, False),  # nobody knows yet that this is long
        (0, 0, 5.5, True),
        (1, 0, 1.0, True),  # the one before was over sooner
        (0, 1, 1.0, True),  # others on the node were
    ],
)
def test_the_very_first_call_is_not_slow_for_taking_its_time(node, index, measured, seconds, given_back):
    """A run() of 0.3 s everywhere would have each processor read the row groups of the others."""
    node.add(1, 0, 30, (0,))
    node.queue.give_to(node.processors[:1])
    if measured:
        node.queue._mean_time.add(0.1, measured)
    processor, now = node.processors[0], monotonic()
    processor.page.announce(index, Phase.RUN, now)
    node.queue.take_back_if_slow(processor, Announcement(index, Phase.RUN, now - seconds), now)
    assert bool(node.said) == given_back
