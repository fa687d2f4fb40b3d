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


class _Below(logging.Filter):
    """Lets pass what is at least as grave as an error."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR


@contextmanager
def only_errors() -> Iterator[None]:
    """Meanwhile Dask's logs show nothing but errors.

    Several may overlap and end in any order, hence a filter for each, and not the level of the handlers.
    """
    quiet = _Below()
    handlers = [
        handler
        for handler in logging.getLogger("distributed").handlers
        if isinstance(handler, logging.StreamHandler)
    ]
    for handler in handlers:
        handler.addFilter(quiet)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(quiet)


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
