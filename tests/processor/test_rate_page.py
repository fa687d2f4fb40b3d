"""The bucket that the processors of a node share: the rate holds, whoever asks, and however much at once."""

from __future__ import annotations

import asyncio
import copy
import os
from types import SimpleNamespace

import pytest

from daskpar.own_calls import OWN
from daskpar.processor import rate_limiter, rate_page
from daskpar.processor.async_rate_limit import AsyncRateLimit
from daskpar.processor.rate_limiter import RateLimit
from daskpar.processor.rate_page import RatePage, taken


@pytest.mark.parametrize(
    ("tokens", "rate", "seconds", "wanted", "left", "wait"),
    [
        (0.0, 10.0, 0.0, 1, 0.0, 0.1),
        (0.0, 10.0, 0.1, 1, 0.0, 0.0),
        (0.0, 10.0, 60.0, 1, 0.0, 0.0),  # a bucket holds a tenth of a second's worth, one at least
        (0.0, 100.0, 60.0, 1, 9.0, 0.0),
        (1.0, 10.0, 0.0, 5, -4.0, 0.0),  # more than it holds: a debt
        (-4.0, 10.0, 0.2, 1, -2.0, 0.3),
        (0.5, 0.0, 9.0, 1, 0.5, float("inf")),  # no rate was granted yet
    ],
)
def test_tokens_are_taken_or_waited_for(tokens, rate, seconds, wanted, left, wait):
    assert taken(tokens, rate, seconds, wanted) == (pytest.approx(left), pytest.approx(wait))


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=1000.0, page=None)
    fake = SimpleNamespace(
        monotonic=lambda: now.seconds,
        lockf=OWN.lockf,
        sleep=lambda s: setattr(now, "seconds", now.seconds + s),
    )
    monkeypatch.setattr(rate_page, "OWN", fake)
    monkeypatch.setattr(rate_limiter, "OWN", fake)
    return now


@pytest.fixture
def page():
    made = RatePage.create(2)
    yield made
    made.close()


@pytest.mark.parametrize("rate", [0.5, 5.0, 300 / 60, 1000.0])
def test_two_processors_together_keep_the_rate(clock, page, rate):
    other = RatePage(os.dup(page.fd))
    page.set_rate(rate)
    wakes, granted, seconds = [clock.seconds, clock.seconds], [0, 0], 200 / rate
    end = clock.seconds + seconds
    while min(wakes) < end:
        who = wakes.index(min(wakes))
        clock.seconds = wakes[who]
        wait = (page, other)[who].take(1, who)
        granted[who] += not wait
        wakes[who] += min(wait, 0.1) + 1e-4 / rate if wait else 0.0
    assert rate * seconds * 0.98 <= sum(granted) <= rate * seconds + max(1.0, rate * 0.1)
    assert min(granted) > 0.45 * sum(granted)
    other.close()


def test_a_changed_rate_holds_from_then_on(clock, page):
    page.set_rate(10.0)
    clock.seconds += 5
    assert page.take(1, 0) == 0.0
    assert page.take(1, 0) == pytest.approx(0.1)
    page.set_rate(1.0)
    assert page.take(1, 0) == pytest.approx(1.0)
    page.set_rate(0.0)
    assert page.take(1, 0) == float("inf")


def test_who_waits_for_longest_is_next_unless_it_is_gone(clock, page):
    page.set_rate(1.0)
    assert page.take(1, 1) > 0
    clock.seconds += 0.2
    assert page.take(1, 0) > 0
    clock.seconds += 0.8
    assert page.take(1, 1) == 0.0
    assert page.take(1, 1) > 0  # again, behind the other one
    for _ in range(10):
        clock.seconds += 0.1
        waits = page.take(1, 1)
    assert waits == 0.0  # the other one has not asked for a while


def test_the_node_sees_who_asks(clock, page):
    assert page.asking(clock.seconds - 1) == 0
    page.take(1, 1)
    assert page.asking(clock.seconds - 1) == 1
    clock.seconds += 2
    assert page.asking(clock.seconds - 1) == 0


def test_who_waits_is_told_how_long_and_the_clock_of_its_call_stands_still(clock, page):
    waited = []
    limit = RateLimit(waited.append)
    limit.acquire(3)  # without a limit at once
    limit.share(page, 0, 2.0)
    page.set_rate(2.0)
    began = clock.seconds
    for _ in range(4):
        limit.acquire()
    assert clock.seconds - began == pytest.approx(sum(waited)) == pytest.approx(2.0, abs=0.01)
    assert limit.asked == 7 and repr(limit) == "<RateLimit: 2 calls a second>"


def test_a_wait_is_as_long_as_the_bucket_says_and_the_limit_of_a_process_is_one(clock, page):
    waited = []
    limit = RateLimit(waited.append)
    assert repr(limit) == "<RateLimit: none>" and copy.deepcopy([limit]) == [limit]
    before = rate_limiter.the_limit()
    assert rate_limiter.the_limit() is before is not None
    limit.share(page, 1, 7.0)
    page.set_rate(7.0)
    began = clock.seconds
    for _ in range(14):
        limit.acquire()
    assert clock.seconds - began == pytest.approx(2.0, abs=0.01)
    assert max(waited) < 0.15


@pytest.mark.parametrize("n", [-1, 1.5, "2", True, None])
def test_what_is_no_number_of_calls_is_refused(n):
    with pytest.raises(ValueError, match="a number of calls"):
        RateLimit().acquire(n)
    with pytest.raises(ValueError, match="a number of calls"):
        AsyncRateLimit().acquire(n)


def test_an_async_script_awaits_its_turn_in_order(page):
    page.set_rate(1000.0)
    limit, order = AsyncRateLimit(), []
    limit.share(page, 0, 1000.0)

    async def one(number):
        async with limit.acquire():
            order.append(number)

    async def all_of_them():
        await limit.acquire(0)
        await asyncio.gather(*map(one, range(20)))

    asyncio.run(all_of_them())
    assert order == list(range(20)) and limit.asked == 20
