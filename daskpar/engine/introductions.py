"""Asks workers who they are; one that does not answer holds up nobody, and is asked until it does.

A worker may be there for the scheduler and yet stand still: its process is stopped, its machine swaps, its
network is cut. Dask's own calls wait for all; here the run waits for those that answer.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from distributed import Client

TOGETHER_SECONDS = 1.0
"""How long one call to all workers may take; then each one is called alone."""
ALONE_SECONDS = 5.0
"""How long such a call may take; then it is given up, and made again."""
AGAIN_SECONDS = 1.0
"""After which it is made again."""
AT_A_TIME = 256
"""How many of these are made at a time."""
SILENT_SECONDS = 3.0
"""One that has not answered for so long is said to be silent; who has just come may be importing."""

Answer = TypeVar("Answer")
Answers = dict[str, Answer | BaseException]
"""Worker -> what it answers, or the error that the question raises there."""


class Introductions(Generic[Answer]):
    """The answers of the workers of one cluster, as they come.

    `ask` asks some workers, hands over what comes soon, and returns. `heard` is called, on another thread,
    when one has answered for which nobody waits any more.
    """

    def __init__(
        self, ask: Callable[[list[str], Callable[[Answers[Answer]], None]], None], heard: Callable[[], None]
    ) -> None:
        self._ask = ask
        self._heard = heard
        self._asked: dict[str, object] = {}
        """Workers that have not answered yet -> what tells this question from an earlier one."""
        self._since: dict[str, float] = {}
        """When these were first asked."""
        self._answers: Answers[Answer] = {}
        self._waited_for: set[str] = set()
        self._error: BaseException | None = None
        self._change = threading.Condition()
        self._closed = threading.Event()

    def begin(self, workers: Iterable[str]) -> set[str]:
        """Ask those of `workers` that are not being asked already; returns these."""
        with self._change:
            new = {worker: object() for worker in workers if worker not in self._asked}
            self._asked |= new
            self._since |= dict.fromkeys(new, monotonic())
            self._waited_for |= new.keys()
        if new:
            threading.Thread(
                target=self._ask_until_all_answer, args=(new,), daemon=True, name="daskpar-introductions"
            ).start()
        return set(new)

    def wait(self, workers: set[str], seconds: float, *, after_the_first: float) -> None:
        """Return when all of `workers` have answered, at the latest after `seconds`; as soon as some have,
        after `after_the_first` of them.

        Raises what the question raised, where nobody could be asked.
        """
        began = monotonic()
        with self._change:
            self._error = None  # of an earlier question
            while self._error is None and workers & self._asked.keys() & self._waited_for:
                limit = after_the_first if workers - self._asked.keys() else seconds
                if (rest := began + limit - monotonic()) <= 0:
                    break
                self._change.wait(rest)
            self._waited_for -= workers
            if self._error is not None:
                raise self._error

    def take(self) -> Answers[Answer]:
        """The answers that have come since the last call."""
        with self._change:
            found, self._answers = self._answers, {}
            return found

    @property
    def silent(self) -> set[str]:
        """Workers that have not answered for so long that it has to be said."""
        before = monotonic() - SILENT_SECONDS
        with self._change:
            return {worker for worker, since in self._since.items() if since <= before}

    def keep(self, there: Iterable[str]) -> None:
        """Only these workers are there any more; no other is asked again."""
        kept = set(there)
        with self._change:
            for worker in self._asked.keys() - kept:
                del self._asked[worker], self._since[worker]

    def close(self) -> None:
        """Ask nobody any more."""
        self._closed.set()
        self.keep(())

    def _ask_until_all_answer(self, asked: dict[str, object]) -> None:
        while True:
            with self._change:
                asked = {worker: one for worker, one in asked.items() if self._asked.get(worker) is one}
            if not asked:
                return
            try:
                self._ask(list(asked), partial(self._take, asked))
            except Exception as error:  # nobody could be asked: whoever waits is to know
                with self._change:
                    self._error = error
                    self._change.notify_all()
            self._closed.wait(AGAIN_SECONDS if self._asked else 0)

    def _take(self, asked: dict[str, object], answers: Answers[Answer]) -> None:
        late = False
        with self._change:
            for worker, answer in answers.items():
                if self._asked.get(worker) is not asked[worker]:
                    continue
                if not isinstance(answer, OSError):  # else it could not be reached, and is asked again
                    del self._asked[worker], self._since[worker]
                    self._answers[worker] = answer
                    late = late or worker not in self._waited_for
                self._waited_for.discard(worker)
            self._change.notify_all()
        if late:
            self._heard()


def ask_workers(
    client: Client,
    function: Callable[..., Any],
    workers: list[str],
    take: Callable[[dict[str, Any]], None],
    **arguments: Any,
) -> None:
    """Have `function` run on each of `workers`; `take` gets what it gives, or the error that it raises there,
    as it comes. Returns when all have answered, or nothing more is waited for.

    Raises OSError where the scheduler is not there.
    """
    client.sync(_ask_workers, client, function, workers, take, arguments, asynchronous=False)


async def _ask_workers(
    client: Client,
    function: Callable[..., Any],
    workers: list[str],
    take: Callable[[dict[str, Any]], None],
    arguments: dict[str, Any],
) -> None:
    turns = asyncio.Semaphore(AT_A_TIME)

    def call(these: list[str]) -> Any:
        return client._run(function, workers=these, on_error="return", **arguments)

    async def call_alone(worker: str) -> None:
        async with turns:
            take(await call([worker]))

    # One message to the scheduler, where all is well.
    together = asyncio.ensure_future(call(workers))
    done, _ = await asyncio.wait([together], timeout=TOGETHER_SECONDS if len(workers) > 1 else ALONE_SECONDS)
    if done:
        take(together.result())
        return
    together.cancel()
    if len(workers) > 1:
        alone = [asyncio.ensure_future(call_alone(worker)) for worker in workers]
        done, late = await asyncio.wait(alone, timeout=ALONE_SECONDS)
        for one in late:
            one.cancel()
        for one in done:
            one.exception()  # of the scheduler's, which is noticed elsewhere


def in_words(silent: Iterable[str]) -> str:
    """That these workers do not answer, in one sentence."""
    names = sorted(silent)
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} others" if len(names) > 5 else "")
    if len(names) == 1:
        return f"worker {shown} does not answer: the run goes on without it, and takes it in when it does"
    return f"workers {shown} do not answer: the run goes on without them, and takes them in when they do"
