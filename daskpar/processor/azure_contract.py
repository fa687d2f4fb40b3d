"""Azure ML's contract for many mini-batches in one process (`--amlbi_async_mode true`).

It is in none of Azure's documents. What stands here follows its public scripts: the batch score component in
github.com/Azure/azureml-assets (assets/batch_score/components/driver/src/batch_score: main.py,
common/parallel/conductor.py, common/post_processing/gatherer.py). In the place of `run`, the driver calls

    enqueue(mini_batch, mini_batch_context)   begins a mini-batch; raises where it can't
    get_processing_batch_number() -> int      how many are under way: begun, and not yet given back
    get_finished_batch_result() -> dict       what has ended since the last call, each once: key is
                                              mini_batch_context.minibatch_index, value a dict with "ret" (as
                                              run() would return it), "mini_batch_context" (as it was given)
                                              and "exception" (None, or what went wrong)
    check_all_tasks_processed() -> bool       whether nothing is under way and nothing waits to be fetched

and `init` before and `shutdown` after, as ever. The script works in threads or in an event loop of its own.
A mini-batch that was begun can't be cancelled: one that takes longer than its timeout ends the process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from daskpar.own_calls import OWN

LEAST_POLL, MOST_POLL = 0.005, 0.1
"""Seconds between two questions for what has ended: short ones while something ends."""
END_SECONDS = 10.0
"""How long the script gets to say that all is processed, once all has come back."""


class AzureContract:
    """Runs mini-batches by the functions of `module`. `warn` takes a sentence, each once."""

    def __init__(self, module: Any, with_context: bool, warn: Callable[[str], None]) -> None:
        self._module = module
        self._with_context = with_context
        self._warn = warn
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._poller: asyncio.Task[None] | None = None

    def has_room(self, most: int) -> bool:
        """Whether the script has fewer than `most` mini-batches under way."""
        return int(self._module.get_processing_batch_number()) < most

    async def run(self, batch: Any, about: Any) -> Any:
        """What the script makes of a mini-batch; raises what it says went wrong."""
        index = about.minibatch_index
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._answers[index] = answer
        try:
            self._module.enqueue(*((batch, about) if self._with_context else (batch,)))
            if self._poller is None or self._poller.done():
                self._poller = asyncio.create_task(self._poll())
            return await answer
        finally:
            self._answers.pop(index, None)

    async def _poll(self) -> None:
        wait = LEAST_POLL
        try:
            while self._answers:
                found = self._module.get_finished_batch_result()
                wait = LEAST_POLL if found else min(2 * wait, MOST_POLL)
                for index, result in (found or {}).items():
                    self._give(index, result)
                await asyncio.sleep(wait)
        except BaseException as error:  # what the script raises there is of all that wait
            for answer in list(self._answers.values()):
                if not answer.done():
                    answer.set_exception(Failed(error))

    def _give(self, index: Any, result: Any) -> None:
        answer = self._answers.get(_number(index))
        if answer is None or answer.done():
            self._warn(
                f"get_finished_batch_result() gave mini-batch {index!r} back, which is not under way here: "
                "dropped"
            )
            return
        error = result.get("exception") if isinstance(result, Mapping) else None
        if error is not None:
            answer.set_exception(Failed(error))
        elif isinstance(result, Mapping) and "ret" in result:
            answer.set_result(result["ret"])
        else:
            text = f"get_finished_batch_result() gave {type(result).__name__} for a mini-batch"
            answer.set_exception(Failed(TypeError(f'{text}, not a dict with "ret" and "exception"')))

    def end(self) -> None:
        """All mini-batches have come back: wait until the script says so too."""
        end = OWN.monotonic() + END_SECONDS
        while not self._module.check_all_tasks_processed():
            if OWN.monotonic() > end:
                self._warn(
                    "check_all_tasks_processed() says that something is left, though all mini-batches have "
                    f"come back; shutdown() is called after {END_SECONDS:g} s"
                )
                return
            OWN.sleep(LEAST_POLL)


class Failed(Exception):
    """What went wrong with a mini-batch, by the script's own account; futures take no other kinds."""

    def __init__(self, error: Any) -> None:
        super().__init__(error)
        self.error = error if isinstance(error, BaseException) else RuntimeError(str(error))


def _number(index: Any) -> int:
    try:
        return int(index)
    except (TypeError, ValueError):
        return -1
