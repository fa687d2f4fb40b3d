"""Keeps off the user's terminal and notebook what Dask says of a cluster of ours that is well, or has ended.

Dask writes to the standard error of the driver's process. In a notebook that lands in the output of whichever
cell runs just then, long after the run, because some of it is said only when garbage is collected.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

logger = logging.getLogger(__name__)


def is_of_an_end(record: logging.LogRecord) -> bool:
    """Whether a record of Dask's says only that a connection ended, or that a heartbeat found nobody.

    While a cluster ends that is to end, that is no news: each heartbeat on its way would be told as an error.
    """
    from distributed import comm

    error = record.exc_info[1] if record.exc_info else None
    text = record.getMessage().lower()
    if isinstance(error, comm.core.CommClosedError):
        return True
    heartbeat = "heartbeat" in text and (error is None or isinstance(error, OSError))
    return heartbeat or "unaware of this worker" in text


class _NotOfAnEnd(logging.Filter):
    """Lets pass what an end does not explain."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not is_of_an_end(record)


class _Below(logging.Filter):
    """Lets pass what is at least as grave as an error."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR


@contextmanager
def only_errors() -> Iterator[None]:
    """Meanwhile Dask's logs show nothing but errors.

    Several may overlap and end in any order, hence a filter for each, and not the level of the handlers.
    """
    with _filtered(_Below()):
        yield


@contextmanager
def an_end() -> Iterator[None]:
    """Meanwhile a cluster ends, or the connection to one: Dask's logs in this process say nothing of that."""
    with _filtered(_NotOfAnEnd()):
        yield


async def expect_end() -> None:
    """Runs on a worker whose cluster is about to end: its own process says nothing of that."""
    for handler in _handlers():
        handler.addFilter(_NotOfAnEnd())


@contextmanager
def _filtered(quiet: logging.Filter) -> Iterator[None]:
    handlers = _handlers()
    for handler in handlers:
        handler.addFilter(quiet)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(quiet)


def _handlers() -> list[logging.Handler]:
    """Of Dask's logs on a terminal."""
    return [
        handler
        for handler in logging.getLogger("distributed").handlers
        if isinstance(handler, logging.StreamHandler)
    ]


def let_leftovers_be(loop: Any) -> None:
    """Say nothing of what is left of a loop of ours, one of tornado's, when it has ended.

    A stream of Dask's whose time to send came in the loop's last moment is such a leftover: when its garbage
    is collected, asyncio writes "Future exception was never retrieved". What goes wrong while the loop runs
    is said as ever.
    """

    def handle(loop: Any, context: dict[str, Any]) -> None:
        if loop.is_running():
            loop.default_exception_handler(context)
        else:
            logger.debug("left of a loop that has ended: %s", context.get("message"))

    loop.asyncio_loop.set_exception_handler(handle)
