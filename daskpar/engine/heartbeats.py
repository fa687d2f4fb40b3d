"""Looks after calls to workers that may take long: one without heartbeats is not waited for.

A call to a process that stands still (stopped, out of memory, cut off) ends in minutes, if at all. Dask's
workers tell their scheduler twice a second or so that they live, whatever they do.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from daskpar.engine.cluster import bounded
from daskpar.engine.plugins.scheduler_calls import last_heartbeat
from daskpar.engine.rules.silence import Silence, is_long

if TYPE_CHECKING:
    from distributed import Client

FIRST_LOOK_SECONDS = 5.0
"""Before the first look: nearly all calls have ended then."""
LOOK_SECONDS = 1.0
"""Between two looks."""

Result = TypeVar("Result")


class WorkerFrozen(Exception):
    """A worker is there for the scheduler and sends no heartbeats."""


class Ending(Protocol):
    """What is set when a call has ended."""

    def wait(self, timeout: float) -> bool:
        """Whether it has, waited for at most so many seconds."""


def watch(client: Client, address: str, ended: Ending, tell: Callable[[str], object]) -> None:
    """Look after a call to the worker at `address` until it has ended, on a thread of its own.

    `tell` is told once where the worker is frozen meanwhile, in one sentence.
    """
    silence, pause = Silence(), FIRST_LOOK_SECONDS
    while not ended.wait(pause):
        pause = LOOK_SECONDS
        try:
            found = bounded(client.run_on_scheduler, last_heartbeat, address=address)
        except Exception:  # the scheduler does not answer, which others notice
            continue
        if found is None:
            continue
        pause = max(LOOK_SECONDS, 2 * found[1])  # time for one that was due, had all of us stood still
        if silence.look(*found):
            tell(f"no heartbeat of its Dask worker for {found[0]:.0f} s; its process may be stopped")
            return


def is_heard(client: Client, address: str) -> bool:
    """Whether a worker that was taken for frozen sends heartbeats."""
    try:
        found = bounded(client.run_on_scheduler, last_heartbeat, address=address)
    except Exception:  # the scheduler does not answer, which others notice
        return False
    return found is not None and not is_long(*found)


def while_heard(client: Client, address: str, call: Callable[[], Result]) -> Result:
    """What `call` returns or raises; WorkerFrozen where the worker at `address` sends no heartbeats.

    The call is left behind on its thread then.
    """
    ended = threading.Event()
    answers: queue.SimpleQueue[Callable[[], Result]] = queue.SimpleQueue()

    def ask() -> None:
        try:
            found = call()
            answers.put(lambda: found)
        except BaseException as error:  # raised again by the caller
            answers.put(_raising(error))
        finally:
            ended.set()

    threading.Thread(target=ask, daemon=True, name=f"daskpar-heard-{address}").start()
    watch(client, address, ended, lambda why: answers.put(_raising(WorkerFrozen(why))))
    return answers.get()()


def _raising(error: BaseException) -> Callable[[], Any]:
    def give() -> Any:
        raise error

    return give
