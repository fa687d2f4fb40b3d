"""The node's side of its fetcher: starts it, tells it what comes, hears what it says, ends it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import monotonic
from typing import Any

from daskpar.processor import channel
from daskpar.processor.fetching.fetch_ahead import take_fetcher
from daskpar.processor.fetching.fetch_messages import Failed, FetchOrder, Ready
from daskpar.processor.fetching.fetched_inputs import Fetching
from daskpar.processor.held_folders import new_held_folder, remove_folder
from daskpar.processor.protocol import ProcessorSettings

PREFIX = "daskpar-fetched-"
WAIT_SECONDS = 0.1
MOST_DEATHS = 5
"""Fetchers that may die on a node before it is given up."""
END_SECONDS = 5.0
"""What the fetcher gets to end in order."""


class FetchProcess:
    """The fetcher of one step on one node, with a folder of its own below `base`.

    `environment` comes on top of this process's own: credentials may stand there.

    OSError where it can't be started. Methods are for one thread.
    """

    def __init__(self, order: FetchOrder, environment: Mapping[str, str], base: str = "") -> None:
        base = base or tempfile.gettempdir()
        # Held as long as it is wanted: a fetcher that was killed with its node leaves one.
        self._root, self._lock = new_held_folder(base, PREFIX, remove_folder)
        self.fetching = replace(order.fetching, root=self._root)
        """With the folder of this node."""
        self.ready = False
        """Whether scripts may start: what they get whole is here."""
        self.is_lost = False
        """Whether it has died; `start_again` then."""
        self._deaths = 0
        self._blocks: list[tuple[int, int]] = []
        self._order = replace(order, fetching=self.fetching)
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._start(self._order)
        except OSError:
            self.close()
            raise

    def _start(self, order: FetchOrder) -> None:
        urls = [each.url for each in order.fetching.inputs]
        started = take_fetcher(self._environment, urls, order.storage)
        self._process, self.sock = started.process, started.sock
        with contextlib.suppress(OSError):  # it is gone: that is seen where its answer is waited for
            channel.send(self.sock, order)
        self._inbox = channel.Inbox(self.sock)

    def start_again(self) -> tuple[str, str]:
        """Start another one in the place of one that has died: (what was done about it, empty), or
        (empty, why the node can't go on) where that does not help.

        What processors have in use stays; they ask the new one.
        """
        assert self._process is not None
        self.sock.close()
        self._deaths += 1
        ended = self._ended(self._process)
        if self._deaths > MOST_DEATHS:
            return "", f"{ended}, for the {self._deaths}th time"
        try:
            self._start(replace(self._order, again=True, whole_is_here=self.ready))
        except OSError as error:
            return "", f"{ended}, and no other one can be started: {error}"
        self.is_lost, self._blocks = False, []
        return f"{ended}; another one takes its place", ""

    @staticmethod
    def _ended(process: subprocess.Popen[bytes]) -> str:
        try:
            status = process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"has ended with {status}"
        return f"the process that fetches files {how}"

    def fileno(self) -> int:
        """For selectors: readable when it has said something."""
        return self.sock.fileno()

    def read(self) -> tuple[list[Any], str]:
        """The messages for the driver that have come, and why the node can't go on (empty: it can)."""
        messages, trouble = [], ""
        for value in self._inbox.read():
            if isinstance(value, Ready):
                self.ready = True
            elif isinstance(value, Failed):
                trouble = trouble or value.message
            else:
                messages.append(value)
        self.is_lost = self._inbox.closed and not trouble
        return messages, trouble

    def coming(self, blocks: Sequence[tuple[int, int]]) -> None:
        """Say which blocks [start, stop) wait on the node."""
        if blocks != self._blocks:
            self._blocks = list(blocks)
            with contextlib.suppress(OSError):
                channel.send(self.sock, self._blocks)

    def wait(self, killed: threading.Event) -> str:
        """Wait until what scripts get whole is here; why it can't be had, empty where it can.

        Ends early, with an empty text, once `killed` is set.
        """
        while not self.ready and not killed.is_set():
            if select.select([self.sock], [], [], WAIT_SECONDS)[0]:
                trouble = self.read()[1]
                if self.is_lost:
                    trouble = self.start_again()[1]
                if trouble:
                    return trouble
        return ""

    def close(self) -> None:
        """End the fetcher and remove the folder."""
        if self._process is not None:  # else it could not be started
            with contextlib.suppress(OSError):
                channel.send(self.sock, None)
            self._hear_to_the_end()
            self.sock.close()
            try:
                self._process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        remove_folder(self._root)
        os.close(self._lock)

    def _hear_to_the_end(self) -> None:
        """Wait until the other end is closed: `Popen.wait` looks only every few hundredths of a second."""
        if self._inbox.closed:  # it has died, and this end may be closed too
            return
        end, heard = monotonic() + END_SECONDS, select.poll()  # `select` knows no numbers above 1023
        heard.register(self.sock, select.POLLIN)
        while not self._inbox.closed and (left := end - monotonic()) > 0:
            if heard.poll(left * 1000):
                self._inbox.read()


def fetch_for(settings: ProcessorSettings, base: str) -> tuple[ProcessorSettings, FetchProcess]:
    """The fetcher that a step needs on this node, and the settings of its processors with its places."""
    assert settings.fetching is not None
    order = FetchOrder(
        fetching=settings.fetching, storage=settings.storage, plan=settings.plan, node=settings.node
    )
    fetch = FetchProcess(order, settings.environment, base)
    return here(settings, fetch.fetching), fetch


def here(settings: ProcessorSettings, fetching: Fetching) -> ProcessorSettings:
    """The settings of a step's processors with the places of a node."""
    return replace(
        settings,
        fetching=fetching,
        arguments=fetching.all_here(settings.arguments),
        environment=fetching.values_here(settings.environment),
    )
