"""Fork servers that wait for the steps that will use them: started ahead, so that they import pandas while
this process imports Dask, or left by a step that has no more use for them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from daskpar.processor.fork_server import ForkServer
from daskpar.processor.protocol import ProcessorSettings
from daskpar.processor.remote_call import run_errand


@dataclass(frozen=True)
class _Waiting:
    environment: dict[str, str]
    tabular: bool
    threads: int
    server: ForkServer

    def fits(self, environment: Mapping[str, str], tabular: bool, threads: int) -> bool:
        # One that has imported pandas serves file lists as well.
        return (
            self.environment == dict(environment)
            and self.threads == threads
            and (self.tabular or not tabular)
        )


_waiting: list[_Waiting] = []
_lock = threading.Lock()


def prestart(environment: Mapping[str, str], *, tabular: bool, threads: int = 1, number: int = 1) -> None:
    """Start fork servers for nodes that will live in this process, until `number` that fit wait. OSError
    where one can't be started.
    """
    with _lock:
        number -= sum(found.fits(environment, tabular, threads) for found in _waiting)
    for _ in range(number):
        server = ForkServer(environment=dict(environment), tabular=tabular, threads=threads)
        with _lock:
            _waiting.append(_Waiting(dict(environment), tabular, threads, server))


def lend(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a function in a child of a waiting fork server, or here when none waits or its child dies; its
    answer, or what it raises.
    """
    with _lock:
        server = _waiting[0].server if _waiting else None
        if server is not None:
            try:
                return run_errand(server, function, *arguments)
            except (EOFError, ConnectionError):
                pass  # the child was killed: its work is done here, where what is wrong can be seen
    return function(*arguments)


def take(settings: ProcessorSettings) -> ForkServer | None:
    """A waiting fork server that fits a step, if there is one; it is the caller's from now on."""
    with _lock:
        for at, found in enumerate(_waiting):
            if found.fits(settings.environment, settings.tabular, settings.threads):
                del _waiting[at]
                return found.server
    return None


def leave(settings: ProcessorSettings, server: ForkServer) -> None:
    """A fork server that a step has no more use for waits for the next one."""
    with _lock:
        _waiting.append(_Waiting(settings.environment, settings.tabular, settings.threads, server))


def drop() -> None:
    """End the fork servers that nobody took. Those of another run in this process are among them, which costs
    it its head start alone.
    """
    with _lock:
        left, _waiting[:] = list(_waiting), []
    for found in left:
        found.server.kill()
