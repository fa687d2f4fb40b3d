"""The living processors of one step on one node, and the fork server below which they live."""

from __future__ import annotations

import contextlib
import selectors
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from daskpar.processor import last_state, prestart
from daskpar.processor.call_inbox import CallInbox
from daskpar.processor.fork_server import ForkServer
from daskpar.processor.processor_handle import ProcessorHandle, start_processor
from daskpar.processor.protocol import ProcessorSettings
from daskpar.processor.rate_page import RatePage

if TYPE_CHECKING:
    from daskpar.processor.fetching.fetch_process import FetchProcess


class ProcessorSet:
    """Starts, finds and forgets processors, and waits for what arrives from them.

    `server`: a fork server that was started before, which is the set's from now on. All methods are for the
    pool's thread, except `pids`.
    """

    def __init__(self, settings: ProcessorSettings, server: ForkServer | None = None) -> None:
        self._settings = settings
        self._server = server
        self.rate_page: RatePage | None = None
        if settings.rate_limit is not None:
            self.rate_page = RatePage.create(settings.processors)
        self._by_number: dict[int, ProcessorHandle] = {}
        self._by_key: dict[int, ProcessorHandle] = {}

    def open(self, calls: CallInbox, *others: FetchProcess) -> None:
        """Start the fork server unless there is one; OSError where it can't be started. `calls` and `others`
        are waited for too.
        """
        if self._server is None:
            self._server = self._new_server()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._server, selectors.EVENT_READ, self._server)
        self._selector.register(calls, selectors.EVENT_READ, calls)
        for other in others:
            self.listen_to(other)

    def listen_to(self, other: FetchProcess) -> None:
        """Wait for what arrives from there too."""
        self._selector.register(other, selectors.EVENT_READ, other)

    @property
    def server(self) -> ForkServer:
        """The fork server, once `open` was called."""
        assert self._server is not None
        return self._server

    def wait(self, seconds: float) -> list[Any]:
        """The fork server, the inbox of calls and the processors of which something can be read."""
        return [key.data for key, _ in self._selector.select(seconds)]

    # -- processors ----------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[ProcessorHandle]:
        return iter(list(self._by_number.values()))  # a copy: processors are forgotten on the way

    def __len__(self) -> int:
        return len(self._by_number)

    def __contains__(self, number: int) -> bool:
        return number in self._by_number

    def find(self, key: int) -> ProcessorHandle | None:
        """The processor that the fork server's events name `key`."""
        return self._by_key.get(key)

    def pids(self) -> dict[int, int]:
        """Number -> process; for any thread."""
        return {one.number: one.pid for one in self if one.pid}

    def start(self, number: int, *, keep_folder: bool = False) -> None:
        """Start processor `number`; OSError when the fork server is gone."""
        processor = start_processor(
            self.server, self._settings, number, keep_folder=keep_folder, rate_page=self.rate_page
        )
        self._by_number[number] = self._by_key[processor.key] = processor
        self._selector.register(processor.sock, selectors.EVENT_READ, processor)

    def stop_reading(self, source: ProcessorHandle | FetchProcess) -> None:
        """Nothing more comes from there."""
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(source.sock)

    def forget(self, processor: ProcessorHandle) -> None:
        """A processor has ended; the caller closes it."""
        self._by_key.pop(processor.key, None)
        self._by_number.pop(processor.number, None)
        self.stop_reading(processor)

    # -- the fork server -----------------------------------------------------------------------------------

    def close_lost_server(self) -> None:
        """The fork server has died."""
        self._selector.unregister(self.server)
        self.server.close()

    def replace_server(self) -> None:
        """Start another fork server; OSError where it can't be started."""
        last_state.delete(self._settings)
        self._server = self._new_server()
        self._selector.register(self._server, selectors.EVENT_READ, self._server)

    def close_server(self, *, keep: bool) -> None:
        """End the fork server and every process below it, or keep it for the next step; never raises."""
        with contextlib.suppress(Exception):
            if keep:
                prestart.keep_server(self._settings, self.server)
            else:
                self.server.close()

    def close(self) -> None:
        """Forget what is left, after `close_server`."""
        for processor in self:
            processor.close()
        self._by_number.clear()
        if self.rate_page is not None:
            self.rate_page.close()
            self.rate_page = None
        with contextlib.suppress(AttributeError):  # `open` may have failed
            self._selector.close()

    def _new_server(self) -> ForkServer:
        settings = self._settings
        if settings.container is not None:
            from daskpar.processor.containers.step_in_container import container_server

            return container_server(settings, settings.container)
        here = settings.python == sys.executable
        return ForkServer(
            environment=settings.environment,
            tabular=settings.tabular,
            threads=settings.threads,
            python=settings.own_python or ("" if here else settings.python),
            log=str(settings.log_paths.fork_server(settings.node)),
        )
