"""The processes that fetch for a node's fetcher: Python's lock lets one of them fetch with one core.

The fetcher itself only answers and decides, so that whoever asks for a file that is here does not wait for
those that come. They are forked before it has threads, with the packages of the stores loaded once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import field
from itertools import count
from typing import Any

from daskpar.data.fetch_file import THREADS, fetch_file, fetch_on_loop
from daskpar.data.fetch_object import is_of_s3
from daskpar.data.stamps import Stamp
from daskpar.locations import filesystem
from daskpar.processor import channel
from daskpar.processor.fetching.fetched_plan import as_answer, error_of
from daskpar.processor.linux import die_with_parent
from daskpar.processor.resource_usage import cores
from daskpar.value_classes import mutable

MOST = 4
"""Processes at most: they bring more than most networks do."""
NICE = 5
"""How far they step back behind the scripts for which they fetch ahead. Else a call of `run()` that waits for
anything waits for a core too when it goes on: half a millisecond each time (measured on two busy cores). No
further: they step back behind all that others run on the machine as well. Beside two other busy processes on
two cores, 10 makes a run that waits for its files three times as long, 5 a third longer (measured).
"""


@mutable(eq=False)
class _Worker:
    pid: int
    sock: socket.socket
    lock: threading.Lock = field(default_factory=threading.Lock)
    running: dict[int, Future[int]] = field(default_factory=dict)


class FetchWorkers:
    """Fetches files in processes of its own; in this one where it can't fork. Methods are for any thread."""

    def __init__(self) -> None:
        self.started = False
        """Whether `start` was called."""
        self._workers: list[_Worker] = []
        self._numbers = count()
        self._lock = threading.Lock()
        self._closed = False

    def start(self, urls: Iterable[str], foreign: Iterable[socket.socket]) -> None:
        """Fork them, to fetch from `urls`, before this process has threads; without the sockets `foreign`."""
        self.started, urls = True, list(urls)
        for scheme in {url.partition("://")[0] for url in urls}:
            _load_package(scheme)
        if not _has_one_thread():
            return  # a package of a store has started some
        for _ in range(min(MOST, cores())):
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            parent = os.getpid()
            try:
                pid = os.fork()
            except OSError:  # no process more is allowed
                ours.close()
                theirs.close()
                return
            if not pid:
                try:
                    die_with_parent(parent)
                    os.nice(NICE)
                    for sock in (ours, *foreign, *(worker.sock for worker in self._workers)):
                        sock.close()
                    _work(theirs, urls)
                finally:
                    os._exit(1)
            theirs.close()
            self._workers.append(_Worker(pid, ours))

    def listen(self) -> None:
        """Hear what they say, from threads of this process's."""
        for worker in self._workers:
            threading.Thread(target=self._hear, args=[worker], daemon=True).start()

    def fetch(self, url: str, place: str, stamp: Stamp) -> int:
        """As `fetch_file`."""
        if not self._workers:
            return fetch_file(url, place, stamp)
        number, done = next(self._numbers), Future[int]()
        with self._lock:
            worker = min(self._workers, key=lambda worker: len(worker.running))
            worker.running[number] = done
        with worker.lock:
            channel.send(worker.sock, (number, url, place, stamp))
        return done.result()

    def close(self) -> None:
        """Kill them: nothing is written any more."""
        self._closed = True
        for worker in self._workers:
            with contextlib.suppress(OSError):
                os.kill(worker.pid, signal.SIGKILL)
        for worker in self._workers:
            with contextlib.suppress(OSError):
                os.waitpid(worker.pid, 0)

    def _hear(self, worker: _Worker) -> None:
        try:
            while True:
                number, answer = channel.receive(worker.sock)
                with self._lock:
                    done = worker.running.pop(number)
                if isinstance(answer, int):
                    done.set_result(answer)
                else:
                    done.set_exception(error_of(answer))
        except (OSError, EOFError, ValueError):
            if not self._closed:
                os._exit(1)  # one was killed: the node starts another fetcher, with what is in use


async def _connect(url: str) -> None:
    """Make what speaks to a store, which takes longer than a request; who uses it says what is wrong."""
    with contextlib.suppress(Exception):
        found, _ = filesystem(url)
        if is_of_s3(found):
            await found.set_session()


def _load_package(scheme: str) -> None:
    """Import what opens URLs of a scheme, once for all; whoever opens one says what is missing."""
    with contextlib.suppress(Exception):
        from fsspec import get_filesystem_class

        get_filesystem_class(scheme)


def _has_one_thread() -> bool:
    try:
        return len(os.listdir("/proc/self/task")) == 1
    except OSError:
        return threading.active_count() == 1


def _work(sock: socket.socket, urls: Iterable[str]) -> None:
    """Fetch what the socket asks for, until the other end is gone; first connect to the stores of `urls`."""
    from fsspec.asyn import get_loop

    loop, others = get_loop(), ThreadPoolExecutor(THREADS)
    for store in {"/".join(url.split("/", 3)[:3]): url for url in urls}.values():
        asyncio.run_coroutine_threadsafe(_connect(store), loop)

    async def one(number: int, url: str, place: str, stamp: Stamp) -> None:
        answer: Any
        try:
            answer = await fetch_on_loop(url, place, stamp, others)
        except BaseException as error:  # also where a package has cancelled it: somebody waits for the answer
            answer = as_answer(error)
        channel.send(sock, (number, answer))

    with contextlib.suppress(OSError, EOFError, ValueError):
        while True:
            number, url, place, stamp = channel.receive(sock)
            asyncio.run_coroutine_threadsafe(one(number, url, place, stamp), loop)
