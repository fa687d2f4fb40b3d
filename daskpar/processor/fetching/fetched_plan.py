"""A plan whose files at URLs are local ones by the time that a mini-batch holds them."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from daskpar.batches.plan import FileMiniBatch, Plan
from daskpar.data.stamps import UNKNOWN, Stamp, check
from daskpar.errors import DataUnreached, InputChanged, InputError
from daskpar.own_calls import OWN
from daskpar.processor import channel
from daskpar.processor.fetching.fetched_inputs import Fetching
from daskpar.processor.protocol import ProcessorSettings

if TYPE_CHECKING:
    import pandas as pd

SOCKET = "socket"
"""Name of the socket in a node's folder at which processors ask for files."""
MOST_TRIES, PAUSE = 100, 0.1
"""How often a fetcher that does not answer is asked, and seconds between: the next one starts in less."""
Span = tuple[int, int]
Promise = tuple[int, list[tuple[str, int, int]]]
"""A mini-batch whose files are here and stay until another one is asked for: place, size, time of change."""


class FetchedPlan(Plan):
    """A plan of files; `bring` makes those of a mini-batch, or of a span of it, local before it is loaded."""

    fetching: Fetching
    bring: Callable[[int, Span | None], None]

    def expect(self, start: int, stop: int) -> None:
        """The processor's block: what follows in it is fetched ahead."""
        super().expect(start, stop)
        self.block_stop = stop

    def load(self, i: int, span: Span | None = None) -> FileMiniBatch | pd.DataFrame | list[int]:
        """As `Plan.load`; the files have local paths below the input that they are of."""
        planned = self._planned(i, span)
        if not any("://" in path for path, _ in planned):
            return super().load(i, span)
        local = [path for path, _ in planned if "://" not in path]
        if local:
            for path, stamp in planned:
                if "://" not in path:
                    check(path, stamp)
            local = local if self.seen_paths is None else self.seen_paths(local)
        self.bring(i, span)
        place, others = self.fetching.place_of, iter(local)
        return FileMiniBatch([place(path) if "://" in path else next(others) for path, _ in planned], i)

    def wanted(self, i: int, span: Span | None = None) -> list[tuple[str, str, Stamp]]:
        """The files of a mini-batch that have to be fetched: URL, local path and what was planned."""
        place = self.fetching.place_of
        return [(path, place(path), stamp) for path, stamp in self._planned(i, span) if "://" in path]

    def _planned(self, i: int, span: Span | None) -> list[tuple[str, Stamp]]:
        if self._paths is None:
            return []
        start, stop = self.item_range(i)
        if span is not None:
            start, stop = start + span[0], min(stop, start + span[1])
        paths = self._paths.slice(start, stop)
        stamps = [UNKNOWN] * len(paths) if self._stamps is None else self._stamps.slice(start, stop)
        return list(zip(paths, stamps, strict=True))


def open_plan(settings: ProcessorSettings, *, alone: bool = False) -> Plan:
    """The plan of a step as its processors load it; `alone`: in a process beside which there is no fetcher.

    Raises as `Plan.open`.
    """
    fetching = settings.fetching
    if fetching is None or not fetching.splits:
        return Plan.open(settings.plan)
    plan = FetchedPlan.open(settings.plan)
    assert isinstance(plan, FetchedPlan)
    plan.fetching = fetching
    plan.bring = partial(_fetch_here, plan) if alone else _AskNode(plan).bring
    return plan


def _fetch_here(plan: FetchedPlan, i: int, span: Span | None) -> None:
    """Fetch a mini-batch's files in this process."""
    from daskpar.data.fetch_file import fetch_all

    fetch_all(dict.fromkeys(plan.wanted(i, span)))


class _AskNode:
    """Asks the node's fetcher over a connection that is the processor's own."""

    def __init__(self, plan: FetchedPlan) -> None:
        self._plan = plan
        self._sock: socket.socket | None = None
        self._is_answered = True
        """Whether the answer to what was sent last has been read; it has the next promise."""
        self._promise: Promise | None = None

    def bring(self, i: int, span: Span | None) -> None:
        stop, in_use = getattr(self._plan, "block_stop", i + 1), self._plan.in_use()
        if self._was_promised(i, span, (i, span, stop, in_use, True)):
            return
        request = (i, span, stop, in_use, False)
        tries = 0
        while True:
            try:
                answer = self._asked(request)
                break
            except (OSError, EOFError, ValueError) as error:
                # A script may have closed it, or written to it; or the fetcher has died, and another one
                # takes its place just now.
                self._close()
                tries += 1
                if tries > MOST_TRIES:
                    raise DataUnreached(
                        f"what fetches files on this node can't be asked: {error!r}"
                    ) from None
                if tries > 1:
                    OWN.sleep(PAUSE)
        if answer is not None:
            raise error_of(answer)

    def _was_promised(self, i: int, span: Span | None, request: object) -> bool:
        """Take a mini-batch that is here already, without waiting for the answer to that."""
        if self._sock is None:
            return False
        try:
            if not self._is_answered:
                self._hear()
            promise, self._promise = self._promise, None
            if (
                promise is None
                or promise[0] != i
                or span is not None
                or not all(map(_is_as_said, promise[1]))
            ):
                return False
            channel.send(self._sock, request)
            self._is_answered = False
        except (OSError, EOFError, ValueError):  # as below
            self._close()
            return False
        return True

    def _asked(self, request: object) -> Any:
        if self._sock is None:
            self._sock = connected(self._plan.fetching.root)
        channel.send(self._sock, request)
        return self._hear()

    def _hear(self) -> Any:
        assert self._sock is not None
        answer, self._promise = channel.receive(self._sock)
        self._is_answered = True
        return answer

    def _close(self) -> None:
        self._is_answered, self._promise = True, None
        if self._sock is not None:
            try:
                self._sock.close()
            except OSError:
                pass
            self._sock = None


def _is_as_said(file: tuple[str, int, int]) -> bool:
    """Whether a file is as it was fetched: a script may have moved or changed it."""
    place, size, changed = file
    try:
        seen = OWN.stat(place)
    except OSError:
        return False
    return seen.st_size == size and seen.st_mtime_ns == changed


def connected(root: str) -> socket.socket:
    """A connection to the fetcher of the node whose folder this is."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with socket_path(root) as path:
            sock.connect(path)
    except OSError:
        sock.close()
        raise
    return sock


@contextmanager
def socket_path(root: str) -> Iterator[str]:
    """The path of the socket in a folder, however long that is: a socket's has 107 characters at most."""
    if not os.path.isdir("/proc/self/fd"):
        yield f"{root}/{SOCKET}"
        return
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{SOCKET}"
    finally:
        os.close(folder)


def as_answer(error: BaseException) -> tuple[str, str, str, bool]:
    """An error on its way to a processor."""
    if isinstance(error, InputChanged):
        return "changed", str(error), str(error.path), bool(error.gone)
    if isinstance(error, InputError) and not isinstance(error, DataUnreached):
        return "input", str(error), "", False
    return "unreached", str(error) or type(error).__name__, "", False


def error_of(answer: tuple[str, str, str, bool]) -> InputError:
    """The error again, in the processor."""
    kind, text, path, gone = answer
    if kind == "changed":
        return InputChanged(text, path=path, gone=gone)
    return InputError(text) if kind == "input" else DataUnreached(text)
