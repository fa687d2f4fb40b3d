"""The main of a node's fetcher: a process that makes files at URLs local for the node's processors.

It is apart from the node, whose process has Dask's loops to run, and from the processors, which come and go.
First it fetches the inputs that scripts get whole; then it answers processors and fetches ahead of them. It
ends with its node, whatever becomes of that, and takes its folder along. Its client is `fetch_process`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from dataclasses import field
from time import monotonic
from typing import Any

from daskpar.data.fetch_file import fetch_all, remote_kind, whole_files
from daskpar.data.stamps import Stamp
from daskpar.datastores import take_options
from daskpar.processor import channel
from daskpar.processor.fetching.fetch_again import (
    InUse,
    InUseNote,
    is_there,
    notes_in,
    peer,
    remove_all_but,
    remove_note,
)
from daskpar.processor.fetching.fetch_cache import FetchCache, Wanted
from daskpar.processor.fetching.fetch_messages import Failed, FetchOrder, Ready, Stores
from daskpar.processor.fetching.fetch_patience import while_unreached
from daskpar.processor.fetching.fetch_workers import FetchWorkers
from daskpar.processor.fetching.fetched_plan import FetchedPlan, Promise, as_answer, socket_path
from daskpar.processor.fetching.look_ahead import LookAhead
from daskpar.processor.held_folders import remove_folder
from daskpar.processor.protocol import LogMessage
from daskpar.sizes import readable_size
from daskpar.value_classes import mutable

AHEAD_FILES = 2000
"""Files that are looked ahead for at most, however small they are."""
PROMISED_FILES = 64
"""Of a mini-batch that is promised, at most: with many, to ask for them is no part of the time any more."""
LONG_SECONDS = 5.0
"""An input whose fetching took longer is worth a line in the log."""


def serve(fd: int) -> None:
    """Run the fetcher on the socket `fd`, until the other end is gone; does not return."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # its node ends it in order
    sock = socket.socket(fileno=fd)
    root, workers = "", FetchWorkers()
    try:
        order: FetchOrder | Stores = channel.receive(sock)
        if isinstance(order, Stores):
            take_options(order.storage)
            workers.start(order.urls, [sock])
            order = channel.receive(sock)
        assert isinstance(order, FetchOrder)
        root = order.fetching.root
        take_options(order.storage)
        if not workers.started:
            workers.start(_urls(order), [sock])
        threading.Thread(target=_Fetcher(sock, order, workers).run, daemon=True).start()
        _wait_for_end(sock)
    except (OSError, EOFError, ValueError):
        pass
    finally:
        workers.close()
        if root:
            remove_folder(root)
    os._exit(0)


def _urls(order: FetchOrder) -> list[str]:
    """URLs by which it is known what packages are needed; one of a list of files stands for all."""
    urls = [each.url for each in order.fetching.inputs]
    if order.fetching.splits:
        with contextlib.suppress(Exception):  # who opens it again says what is wrong
            urls += FetchedPlan.open(order.plan).some_files(0, 1)
    return [url for url in urls if "://" in url]


_coming = LookAhead()
_blocks_changed = threading.Event()


def _wait_for_end(sock: socket.socket) -> None:
    """Take note of the blocks that wait on the node, until it says that it is over, or is gone."""
    while (value := channel.receive(sock)) is not None:
        _coming.waits(value)
        _blocks_changed.set()


@mutable
class _Left:
    """What a processor has in use since before this fetcher."""

    pid: int
    owners: dict[InUse, object] = field(default_factory=dict)


class _Fetcher:
    def __init__(self, sock: socket.socket, order: FetchOrder, workers: FetchWorkers) -> None:
        self._sock = sock
        self._order = order
        self._workers = workers
        self._send_lock = threading.Lock()
        self._lock = threading.Lock()
        self._left: dict[str, _Left] = {}
        """By the path of its note; until its processor asks for more."""
        self._goes_on = False
        """Whether more files will be wanted than were looked ahead for."""

    def run(self) -> None:
        self._workers.listen()
        fetching = self._order.fetching
        try:
            if not self._order.whole_is_here:
                for each in fetching.whole:
                    self._fetch_whole(each.url, fetching.at(each.seen), each.type)
            listener = self._listener() if fetching.splits else None
        except Exception as error:
            self._tell(Failed(str(error) or type(error).__name__))
            return
        self._tell(Ready())
        if listener is not None:
            self._serve(listener)

    def _fetch_whole(self, url: str, target: str, declared: str) -> None:
        began = monotonic()
        if self._order.again:
            remove_folder(target)  # a file that was half there would be seen
        here: dict[tuple[str, str, Stamp], int] = {}

        def fetch(*file: Any) -> int:
            here[file] = self._fetch(*file)
            return here[file]

        def fetch_what_is_missing() -> None:
            wanted = whole_files(url, target, remote_kind(url, declared))
            for gone in here.keys() - set(wanted):  # changed or removed in the store since the last try
                os.unlink(gone[1])
                del here[gone]
            fetch_all((file for file in wanted if file not in here), fetch)

        while_unreached(fetch_what_is_missing, self._warn, lambda: len(here))
        files, size = len(here), sum(here.values())
        took = monotonic() - began
        level = "info" if took > LONG_SECONDS else "debug"
        what = f"{url}: {files} files, {readable_size(size)}, {took:.1f} s"
        text = f"node {self._order.node} has fetched {what}"
        self._tell(LogMessage(level=level, text=text))

    def _fetch(self, url: str, place: str, stamp: Stamp) -> int:
        size = self._workers.fetch(url, place, stamp)
        if self._order.fetching.is_writable(url):
            os.chmod(place, 0o644)
        return size

    def _tell(self, message: object) -> None:
        with self._send_lock, contextlib.suppress(OSError):
            channel.send(self._sock, message)

    def _listener(self) -> socket.socket:
        fetching = self._order.fetching
        self._plan_ahead = self._open()
        self._cache = FetchCache(fetching.cache_bytes, self._fetch, self._warn)
        if self._order.again:
            self._take_over()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with socket_path(fetching.root) as path:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            listener.bind(path)
        listener.listen(128)
        return listener

    def _take_over(self) -> None:
        """Keep what mini-batches under way have of the fetcher before this one, and nothing else."""
        fetching, kept = self._order.fetching, set()
        for path, (pid, in_use) in notes_in(fetching.root).items():
            left = self._left[path] = _Left(pid)
            for one in in_use:
                wanted = [Wanted(*each) for each in self._plan_ahead.wanted(*one)]
                self._cache.adopt(left.owners.setdefault(one, object()), wanted)
                kept |= {each.place for each in wanted}
        remove_all_but(fetching, kept)

    def _taken_over(self, pid: int) -> dict[InUse, object]:
        """What a processor that connects has in use of before, by what stands for it."""
        found: dict[InUse, object] = {}
        with self._lock:
            for path, left in list(self._left.items()):
                if left.pid == pid or not is_there(left.pid):
                    del self._left[path]
                    remove_note(path)
                    for one, owner in left.owners.items():
                        if left.pid == pid and one not in found:
                            found[one] = owner
                        else:
                            self._cache.forget(owner)
        return found

    def _serve(self, listener: socket.socket) -> None:
        threading.Thread(target=self._follow_blocks, daemon=True).start()
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=self._answer, args=[connection], daemon=True).start()

    def _warn(self, text: str) -> None:
        self._tell(LogMessage(level="warning", text=text))

    def _open(self) -> FetchedPlan:
        plan = FetchedPlan.open(self._order.plan)
        assert isinstance(plan, FetchedPlan)
        plan.fetching = self._order.fetching
        return plan

    def _answer(self, connection: socket.socket) -> None:
        """One processor, as long as it lives."""
        processor, plan, pid = object(), None, peer(connection)
        held = self._taken_over(pid)
        """What stands for each of its mini-batches that are in use."""
        note = InUseNote(self._order.fetching.root, pid)
        try:
            while True:
                index, span, stop, in_use, is_taken = channel.receive(connection)
                using = {(index, span), *in_use}
                for other in held.keys() - using:
                    self._cache.forget(held.pop(other))
                note.write(using)
                answer: Any = None
                promised = None
                try:
                    plan = plan or self._open()
                    self._expect(processor, (index + 1, stop))
                    owner = held.setdefault((index, span), object())
                    if is_taken:
                        self._cache.take(owner)
                    else:
                        self._cache.need(owner, [Wanted(*each) for each in plan.wanted(index, span)])
                    following = (index + 1, None)
                    if index + 1 < stop and following not in held:
                        promised = self._promised(plan, held, following)
                        if promised is not None:
                            note.write({*using, following})
                except Exception as error:
                    answer = as_answer(error)
                channel.send(connection, (answer, promised))
        except (OSError, EOFError, ValueError):
            pass
        finally:
            for owner in held.values():
                self._cache.forget(owner)
            self._expect(processor, None)
            note.close()
            connection.close()

    def _promised(self, plan: FetchedPlan, held: dict[InUse, object], following: InUse) -> Promise | None:
        """Its next mini-batch, where that is here: the processor takes it without having to wait for us."""
        wanted = [Wanted(*each) for each in plan.wanted(*following)]
        if len(wanted) > PROMISED_FILES:
            return None
        owner = object()
        files = self._cache.hold(owner, wanted)
        if files is None:
            return None
        held[following] = owner
        return following[0], files

    def _expect(self, processor: object, left: tuple[int, int] | None) -> None:
        with self._lock:
            one_further = _coming.runs(processor, left)
            # Where it is only one further in its block, the files ahead are those of before: to follow a
            # thousand small ones anew for each of them costs more than to fetch it.
            if not one_further or not self._cache.is_ahead(AHEAD_FILES // 2 if self._goes_on else 0):
                self._look_ahead()

    def _follow_blocks(self) -> None:
        while _blocks_changed.wait():
            _blocks_changed.clear()
            with self._lock:
                self._look_ahead()

    def _look_ahead(self) -> None:
        self._goes_on = False
        self._cache.expect(self._ahead(_coming.following()))

    def _ahead(self, following: Iterator[int]) -> Iterator[Wanted]:
        plan, files = self._plan_ahead, 0  # the cache follows one at a time
        for index in following:
            for each in plan.wanted(index):
                yield Wanted(*each)
                files += 1
            if files >= AHEAD_FILES:
                self._goes_on = True
                return
