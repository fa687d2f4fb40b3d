"""Fetchers that are started before the step that will use them.

Such a one imports what opens the step's stores, and connects to them, while this process imports Dask.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Collection, Mapping
from contextlib import suppress

from daskpar.datastores import StorageOptions, known_options
from daskpar.processor import channel
from daskpar.processor.fetching.fetch_messages import Stores
from daskpar.processor.shared_library import PACKAGE
from daskpar.value_classes import frozen


@frozen
class StartedFetcher:
    """The process of a fetcher, and the socket on which it takes its order."""

    process: subprocess.Popen[bytes]
    sock: socket.socket
    environment: Mapping[str, str]
    outside: Mapping[str, str]
    """Those of this process then: they may hold what opens the stores of one run, and not of another."""
    urls: frozenset[str] = frozenset()
    """Those that it was told ahead."""
    storage: StorageOptions | None = None
    """The options with which it opens them."""

    def kill(self) -> None:
        """End it, whatever it does."""
        self.sock.close()
        self.process.kill()
        self.process.wait()


def _start(environment: Mapping[str, str], urls: Collection[str] = ()) -> StartedFetcher:
    outside = dict(os.environ)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", _launch_code(theirs.fileno())],
            env={**outside, **environment},
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    storage = known_options() if urls else None
    if storage is not None:
        with suppress(OSError):  # it is gone already: that is seen when it is taken
            channel.send(ours, Stores(tuple(urls), storage))
    return StartedFetcher(process, ours, dict(environment), outside, frozenset(urls), storage)


def _launch_code(fd: int) -> str:
    # As that of a fork server: the same package, wherever it lies.
    root = os.path.dirname(PACKAGE)
    return (
        f"import sys; sys.path[:] = [{root!r}, *filter(None, sys.path)]; "
        "import daskpar; sys.path.append(sys.path.pop(0)); "
        f"from daskpar.processor.fetching.fetch_main import serve; serve({fd})"
    )


_waiting: list[StartedFetcher] = []
_lock = threading.Lock()


def start_ahead(environment: Mapping[str, str], urls: Collection[str], *, number: int = 1) -> None:
    """Start `number` fetchers for inputs at `urls`, less those that wait, for nodes that will live in this
    process.
    """
    with _lock:
        number -= sum(_fits(found, environment, urls, known_options()) for found in _waiting)
    for _ in range(number):
        with suppress(OSError):  # the node tries again, and reports what is wrong
            started = _start(environment, urls)
            with _lock:
                _waiting.append(started)


def take_fetcher(
    environment: Mapping[str, str], urls: Collection[str], storage: StorageOptions
) -> StartedFetcher:
    """One that waits for inputs at `urls` and opens them with these options, or else a new one.

    `environment` comes on top of this process's own. OSError where it can't be started.
    """
    with _lock:
        for at, found in enumerate(_waiting):
            if _fits(found, environment, urls, storage) and found.process.poll() is None:
                return _waiting.pop(at)
    return _start(environment)


def _fits(
    found: StartedFetcher, environment: Mapping[str, str], urls: Collection[str], storage: StorageOptions
) -> bool:
    variables = (found.environment, found.outside) == (environment, dict(os.environ))
    return variables and (found.urls, found.storage) == (frozenset(urls), storage)


def close_all() -> None:
    """End those that nobody took."""
    with _lock:
        left, _waiting[:] = list(_waiting), []
    for found in left:
        found.kill()
