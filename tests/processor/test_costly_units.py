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


@pytest.mark.parametrize(
    ("units", "index", "end"),
    [(None, 3, 4), ((0,), 3, 30), ((0, 20), 3, 20), ((0, 20), 20, 30), ((0, 4, 5), 4, 5)],
)
def test_where_a_unit_ends(units, index, end):
    order = BlockOrder(block=1, token="", start=0, stop=30)
    assert replace(order, units=units).end_of_unit(index) == end
