"""The rate limit of a step as scripts ask for it: `mini_batch_context.rate_limit.acquire()`.

Whoever calls a service asks for one token before each call, for only the script knows how many calls a
mini-batch makes: nothing is taken by itself. Without `--rate_limit` the answer comes at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from daskpar.own_calls import OWN
from daskpar.processor.rate_page import RatePage

LONGEST_WAIT = 0.1
"""How long one waits before the bucket is looked at again: its rate may have changed."""


class RateLimit:
    """The limit, for functions that may block. For `async def run` see `async_rate_limit`."""

    per_second: float | None = None
    """Calls a second of all processors of the step together; None without limit."""

    def __init__(self, waited: Callable[[float], None] = lambda seconds: None) -> None:
        """`waited`: told of each moment that somebody has waited: it does not count for the timeout."""
        self.asked = 0
        """Tokens that this process has been given."""
        self._page: RatePage | None = None
        self._processor = 0
        self._waited = waited
        self._turn = threading.Lock()

    def share(self, page: RatePage, processor: int, per_second: float) -> None:
        """Take tokens from `page` from now on, as processor number `processor` of its node."""
        self._page, self._processor, self.per_second = page, processor, per_second

    def acquire(self, n: int = 1) -> Any:
        """Wait until `n` calls may be made. That time does not count for the mini-batch's timeout.

        Raises ValueError where `n` is no number of calls.
        """
        self._check(n)
        if self._page is not None and n:
            with self._turn:
                while wait := self._try(n):
                    OWN.sleep(wait)
                    self._waited(wait)
        self.asked += n

    def _check(self, n: int) -> None:
        if not isinstance(n, int) or isinstance(n, bool) or n < 0:
            raise ValueError(f"rate_limit.acquire(n) takes a number of calls, 0 or more, not {n!r}")

    def _try(self, n: int) -> float:
        """0.0 where `n` tokens were taken; else for how long to wait before the next try."""
        assert self._page is not None
        wait = self._page.take(n, self._processor)
        # It may be a moment too short by a rounding error.
        return min(wait + 0.0002, LONGEST_WAIT) if wait else 0.0

    def __repr__(self) -> str:
        per_second = self.per_second
        return f"<RateLimit: {'none' if per_second is None else f'{per_second:g} calls a second'}>"

    def __deepcopy__(self, memo: object) -> RateLimit:
        return self  # there is one in a process


class _OfThisProcess:
    limit = RateLimit()


def the_limit() -> RateLimit:
    """The rate limit of this process."""
    return _OfThisProcess.limit


def use(limit: RateLimit) -> None:
    """Make `limit` that of this process."""
    _OfThisProcess.limit = limit
