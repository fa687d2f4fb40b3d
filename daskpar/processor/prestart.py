"""Fork servers started ahead of the steps that will use them, so that they import pandas while this process imports Dask."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from daskpar.processor.forkserver import ForkServer
from daskpar.processor.protocol import ProcessorSettings

_waiting: list[tuple[dict[str, str], bool, ForkServer]] = []
_lock = threading.Lock()


def prestart(environment: Mapping[str, str], *, tabular: bool, number: int = 1) -> None:
    """Start `number` fork servers for nodes that will live in this process."""
    for _ in range(number):
        server = ForkServer(environment=dict(environment), tabular=tabular)
        with _lock:
            _waiting.append((dict(environment), tabular, server))


def take(settings: ProcessorSettings) -> ForkServer | None:
    """A waiting fork server that fits a step, if there is one; it is the caller's from now on."""
    with _lock:
        for at, (environment, tabular, server) in enumerate(_waiting):
            # One that has imported pandas serves file lists as well.
            if environment == settings.environment and (tabular or not settings.tabular):
                del _waiting[at]
                return server
    return None


def drop() -> None:
    """End the fork servers that nobody took."""
    with _lock:
        left, _waiting[:] = list(_waiting), []
    for _, _, server in left:
        server.close()
