"""Fork servers that were started before the step that will use them, or that an earlier step no longer needs.

One that is started ahead imports pandas while this process imports Dask. The first of a run starts before the
job is read: its interpreter is up by the time that its variables are known.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from daskpar.processor.fork_server import ForkServer
from daskpar.processor.remote_call import call_in_child
from daskpar.value_classes import frozen

if TYPE_CHECKING:
    from daskpar.processor.protocol import ProcessorSettings


@frozen
class _Waiting:
    environment: dict[str, str]
    tabular: bool
    threads: int
    server: ForkServer
    python: str
    """Empty: this Python."""

    def has(self, environment: Mapping[str, str], python: str) -> bool:
        """Whether it is that Python, with these variables on top of this process's own as they are now."""
        return (
            self.environment == dict(environment)
            and self.python == python
            and self.server.outside == dict(os.environ)
        )

    def fits(self, environment: Mapping[str, str], tabular: bool, threads: int, python: str) -> bool:
        # One that has imported pandas serves file lists as well.
        return self.has(environment, python) and self.threads == threads and (self.tabular or not tabular)


_waiting: list[_Waiting] = []
_unprepared: list[ForkServer] = []
"""Those of which it is not known yet what they are for; one at most."""
_closings = 0
"""How often all that waited was ended."""
_lock = threading.Lock()
"""Held while these are looked at, never while a server works: other runs in this process look too."""


@contextmanager
def started_early(*, wanted: bool) -> Iterator[None]:
    """Start a fork server for the first step of a job that is not read yet; what nobody took ends with this.

    `wanted`: whether nodes will live in this process.
    """
    try:
        with _lock, suppress(OSError):  # a later one says what stood in the way
            if wanted and not _unprepared and not _waiting:
                _unprepared.append(ForkServer(ahead=True))
        yield
    finally:
        close_all()


def prestart(
    environment: Mapping[str, str], *, tabular: bool, threads: int = 1, number: int = 1, python: str = ""
) -> None:
    """Start fork servers until `number` of them that fit wait, for nodes that will live in this process.

    `python`: another Python than this one. OSError where one can't be started.
    """
    with _lock:
        number -= sum(found.fits(environment, tabular, threads, python) for found in _waiting)
    for _ in range(number):
        server = None if python else _prepared(environment, tabular=tabular, threads=threads)
        if server is None:
            server = ForkServer(environment=environment, tabular=tabular, threads=threads, python=python)
        with _lock:
            _waiting.append(_Waiting(dict(environment), tabular, threads, server, python))


def _prepared(environment: Mapping[str, str], *, tabular: bool, threads: int) -> ForkServer | None:
    """The one that was started early, if it can be for that."""
    with _lock:
        early = _unprepared.pop() if _unprepared else None
    if early is None:
        return None
    with suppress(OSError):
        if early.prepare(environment, tabular=tabular, threads=threads):
            return early
    early.kill()
    return None


def close_unprepared() -> None:
    """End the one that was started early, where it turns out that no step begins with it."""
    with _lock:
        left = [*_unprepared]
        _unprepared.clear()
    for server in left:
        server.kill()


def run_in_prestarted(environment: Mapping[str, str], function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a child of a fork server that waits, or here when none waits or its child dies.

    `environment`: variables that the server must have been started for. Returns what the function returns,
    raises what it raises.
    """
    with _lock:
        found = next((each for each in _waiting if each.has(environment, "")), None)
        if found is not None:
            _take_out(found)
        closings = _closings
    if found is not None:
        try:
            return call_in_child(found.server, function, *arguments)
        except (EOFError, ConnectionError):
            pass  # the child was killed: the work is done here, where an error can be seen
        finally:
            _put_back(found, closings)
    return function(*arguments)


def _take_out(found: _Waiting) -> None:
    """With the lock held."""
    _waiting[:] = [each for each in _waiting if each is not found]


def _put_back(found: _Waiting, closings: int) -> None:
    """Let it wait again, unless all others have been ended meanwhile, which would have ended it too."""
    with _lock:
        waits = closings == _closings
        if waits:
            _waiting.append(found)
    if not waits:
        found.server.kill()


def take_server(settings: ProcessorSettings) -> ForkServer | None:
    """A waiting fork server that fits a step, if there is one; it is the caller's from now on."""
    if settings.container is not None:
        return None  # each container sees what its own step needs
    with _lock:
        for found in _waiting:
            if found.fits(settings.environment, settings.tabular, settings.threads, settings.own_python):
                _take_out(found)
                break
        else:
            return None
    if (planner := found.server.take_planner()) is not None:
        planner.close()  # nobody will need it
    return found.server


def keep_server(settings: ProcessorSettings, server: ForkServer) -> None:
    """Keep the fork server of a step that has ended for the next one."""
    with _lock:
        _waiting.append(
            _Waiting(settings.environment, settings.tabular, settings.threads, server, settings.own_python)
        )


def close_all() -> None:
    """End the fork servers that nobody took."""
    global _closings
    close_unprepared()
    # Those of another run in this process are among them: it then starts its own, somewhat later.
    with _lock:
        _closings += 1
        left, _waiting[:] = list(_waiting), []
    for found in left:
        found.server.kill()
