"""Messages of Dask's streams arrive while the clock of the machine is set, back or ahead."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from distributed import batched

from daskpar.engine.steady_sends import make_sends_steady


class Wire:
    """The other end of a stream."""

    def __init__(self) -> None:
        self.came: list[Any] = []

    def closed(self) -> bool:
        return False

    async def write(self, payload: list[Any], **_: Any) -> int:
        self.came += payload
        return 1


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
def test_what_is_sent_after_the_clock_was_set_arrives(monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    make_sends_steady()
    make_sends_steady()
    assert hasattr(batched, "time") and batched.locks.Event.__name__ == "SteadyEvent", "as Dask has it today"
    real, wire = time.time, Wire()

    async def arrived(number: int) -> None:
        while len(wire.came) < number:
            await asyncio.sleep(0.001)

    async def send() -> None:
        stream = batched.BatchedSend(interval="200ms")  # type: ignore[no-untyped-call]
        stream.start(wire)  # type: ignore[no-untyped-call]
        stream.send("first")  # type: ignore[no-untyped-call]
        await asyncio.wait_for(arrived(1), 60)
        monkeypatch.setattr("time.time", lambda: real() + jump)
        stream.send("second")  # type: ignore[no-untyped-call]
        await asyncio.wait_for(arrived(2), 60)
        monkeypatch.undo()
        stream.please_stop = True
        stream.waker.set()

    asyncio.run(send())
    assert wire.came == ["first", "second"]
