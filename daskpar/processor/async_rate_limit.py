"""The rate limit of a step for `async def run`: `await mini_batch_context.rate_limit.acquire()`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from daskpar.processor.rate_limiter import RateLimit


class AsyncRateLimit(RateLimit):
    """`pause`: while it lasts, the clock of the timeout of the call that waits stands still."""

    def __init__(self, pause: Callable[[], AbstractContextManager[None]] = nullcontext) -> None:
        super().__init__()
        self._pause = pause
        self._line: asyncio.Lock | None = None

    def acquire(self, n: int = 1) -> Grant:
        """To be awaited: `n` calls may be made then. That time does not count for the mini-batch's timeout.

        Raises ValueError where `n` is no number of calls.
        """
        self._check(n)
        return Grant(self, n)

    async def wait(self, n: int) -> None:
        """What `acquire` has awaited."""
        if self._page is not None and n:
            if self._line is None:
                self._line = asyncio.Lock()
            with self._pause():
                # First come, first served: only the head of the line looks into the bucket.
                async with self._line:
                    while wait := self._try(n):
                        await asyncio.sleep(wait)
        self.asked += n


class Grant:
    """Tokens that are awaited: by `await` or `async with`."""

    __slots__ = ("_limit", "_n")

    def __init__(self, limit: AsyncRateLimit, n: int) -> None:
        self._limit, self._n = limit, n

    def __await__(self) -> Generator[Any, None, None]:
        return self._limit.wait(self._n).__await__()

    async def __aenter__(self) -> None:
        await self

    async def __aexit__(self, *_: object) -> None:
        return None
