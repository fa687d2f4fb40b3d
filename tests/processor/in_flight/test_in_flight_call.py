"""A call in flight: its code is announced step by step, its clock can stand still, and where it waits is known."""

from __future__ import annotations

import asyncio
import os
from types import SimpleNamespace

import pytest

from daskpar.processor.in_flight import in_flight_call
from daskpar.processor.in_flight.in_flight_call import Call, Stepped, where_it_waits
from daskpar.processor.protocol import BlockOrder
from daskpar.processor.shared_page import Phase
from daskpar.processor.slot_page import SlotPage


@pytest.fixture
def page():
    made = SlotPage.with_slots(3)
    yield made
    made.close()


def stepped(page, coroutine, index=7):
    guard = SimpleNamespace(in_script=False)
    return Stepped(coroutine, index, page, guard, SimpleNamespace(pid=os.getpid()))


def test_the_mini_batch_whose_code_runs_is_announced(page):
    seen = []

    async def inner():
        seen.append(page.announced().index)
        await asyncio.sleep(0)
        seen.append(page.announced().index)
        return "done"

    async def outer():
        result = await stepped(page, inner())
        seen.append(page.announced().index)
        return result

    assert asyncio.run(outer()) == "done"
    assert seen == [7, 7, -1]


def test_what_it_raises_and_what_is_thrown_into_it_goes_through(page):
    cleaned = []

    async def waits():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cleaned.append("cancelled")
            raise ValueError("instead") from None
        finally:
            await asyncio.sleep(0)
            cleaned.append("finally")

    async def outer():
        async def own():
            await stepped(page, waits())

        task = asyncio.create_task(own())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(ValueError, match="instead") as found:
            await task
        return found.value

    error = asyncio.run(outer())
    assert cleaned == ["cancelled", "finally"]
    assert error.__traceback__ is not None


def test_where_a_call_waits_is_told_with_the_scripts_lines():
    async def deep():
        await asyncio.sleep(60)

    async def shallow():
        await deep()

    async def look():
        coroutine = shallow()
        task = asyncio.create_task(coroutine)
        await asyncio.sleep(0)
        text = where_it_waits(coroutine)
        task.cancel()
        return text

    text = asyncio.run(look())
    assert (
        "in shallow" in text and "in deep" in text and "in_flight_call.py" not in text.replace(__file__, "")
    )
    assert where_it_waits(None) == ""


def test_its_clock_stands_still_while_any_of_it_waits(monkeypatch):
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(in_flight_call, "OWN", SimpleNamespace(monotonic=lambda: now.seconds))
    call = Call(
        order=BlockOrder(block=1, token="t", start=0, stop=1),
        index=0,
        source=None,
        slot=0,
        began=0.0,
        deadline=5.0,
    )
    with call.paused():
        now.seconds = 3.0
        with call.paused():
            now.seconds = 10.0
        assert not call.overdue(10.0)
    assert call.deadline == 15.0
    assert not call.overdue(14.9) and call.overdue(15.0)


def test_slots_tell_what_is_in_flight(page):
    assert page.slots == 3 and page.all_announced()[0].phase == Phase.IDLE
    page.fill(0, 0, Phase.LOAD, 1.0)
    page.fill(2, 41, Phase.RUN, 2.0, 9)
    page.begin()
    assert [(one.index, one.phase, one.since, items) for one, items in page.in_flight()] == [
        (0, Phase.LOAD, 1.0, 0),
        (41, Phase.RUN, 2.0, 9),
    ]
    page.free(0)
    assert [one.index for one in page.all_announced()] == [41] and page.begun == 1
