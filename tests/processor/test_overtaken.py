"""Blocks of which another copy was first: stopped at once wherever they are, at no charge, and nothing else is."""

from __future__ import annotations

from daskpar.processor.protocol import ProcessorChanged


def test_a_hanging_call_is_killed_and_its_process_replaced(zoo):
    at = zoo({2: "hang"}, count=5)
    at.submit(0, 4)
    zoo.wait_for(lambda: 2 in at.calls)
    at.pool.stop_block(1, 2, 3)
    at.wait_ended()
    assert at.accounted(0, 4) and not at.failures
    at.submit(4, 5, block=2)
    at.wait_ended(2)
    assert at.rows[4] == "row 4\n"
    ends = [m.detail for m in at.messages if isinstance(m, ProcessorChanged) and m.state == "ended"]
    assert ends == ["stopped, for another copy of its mini-batch was first"]


def test_one_that_waits_or_is_on_its_way_is_given_back_and_one_that_is_past_goes_on(zoo):
    at = zoo({0: "hang"}, count=9)
    at.submit(0, 1)
    at.submit(1, 3, block=2)
    zoo.wait_for(lambda: 0 in at.calls)
    at.pool.stop_block(2, 1, 3)
    at.pool.stop_block(3, 3, 5)
    at.submit(3, 5, block=3)
    at.wait_ended(2, 3)
    at.pool.stop_block(1, 7, 8)  # it is not at that one
    at.submit(5, 9, block=4)
    at.pool.give_back_waiting()
    at.wait_ended(4)
    at.pool.stop_block(1, 0, 1)
    at.wait_ended()
    assert at.accounted(0, 9) and not at.failures and at.calls == [0]
