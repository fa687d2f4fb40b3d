"""The event loop of a script: its async functions as ordinary ones, and what they raise without our frames."""

from __future__ import annotations

import asyncio
import functools
import traceback

import pytest

from daskpar.processor.entry_script import Entry, is_async
from daskpar.processor.script_loop import ScriptLoop, awaited


@pytest.fixture
def loop():
    made = ScriptLoop()
    yield made
    made.close()
    asyncio.set_event_loop(None)


async def one(batch):
    await asyncio.sleep(0)
    return [batch]


async def each(batch):
    for item in batch:
        yield item


async def lazily(batch):
    return (item for item in batch)


class Called:
    async def __call__(self, batch):
        return batch


@functools.wraps(one)
def wrapped(batch):
    return one(batch)


@functools.wraps(one)
def made_plain(batch):
    return asyncio.run(one(batch))


def entry(run, init=None):
    return Entry(init=init, run=run, with_context=False, shutdown=None)


@pytest.mark.parametrize(
    ("function", "expected"),
    [(one, ["ab"]), (each, ["a", "b"]), (lazily, ["a", "b"]), (Called(), "ab"), (list, ["a", "b"])],
)
def test_what_is_to_be_awaited_or_taken_is(loop, function, expected):
    assert loop.call(function, "ab") == expected
    assert asyncio.run(awaited(function, ("ab",), keep=False)) == (
        [] if function in (each, lazily) else expected
    )


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (one, True),
        (each, True),
        (Called(), True),
        (functools.partial(one, 1), True),
        (wrapped, False),
        (len, False),
        (None, False),
    ],
)
def test_which_functions_are_async(function, expected):
    assert is_async(function) is expected


def test_in_a_notebook_a_loop_runs_already(loop):
    async def cell():
        return loop.call(one, 5)

    assert asyncio.run(cell()) == [5]


def test_what_is_raised_begins_in_the_script(loop):
    async def fails():
        raise ValueError("no")

    with pytest.raises(ValueError) as found:
        loop.call(fails)
    names = [frame.name for frame in traceback.extract_tb(found.value.__traceback__)]
    assert names[-1] == "fails" and "run_until_complete" not in names and "awaited" not in names


def test_async_functions_become_ordinary_ones(loop):
    began = []

    async def init():
        began.append(asyncio.get_running_loop())

    plain = loop.with_plain_calls(entry(one, init), run=True)
    plain.init()
    assert began == [loop.loop] and plain.run(3) == [3]
    assert loop.with_plain_calls(entry(one, init), run=False).run is one


@pytest.mark.parametrize("run", [wrapped, made_plain])
def test_what_a_decorator_has_made_of_an_async_function_shows_when_it_is_called(loop, run):
    script = entry(run)
    assert script.wraps_async
    assert loop.with_results_awaited(script).run(3) == [3]
    script.check_in_flight(5)
    with pytest.raises(TypeError, match="needs async def run"):
        entry(len).check_in_flight(5)
