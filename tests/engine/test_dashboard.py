"""Pages that are loaded at the first look at them, however many look at once."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port

from daskpar.engine import dashboard
from daskpar.engine.dashboard import show_on_demand


def test_each_scheduler_loads_its_pages_once_whatever_the_others_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has an event loop of its own, and two requests wait for the pages of each."""
    connected: list[Any] = []
    come: list[Any] = []
    both = threading.Event()

    def prepare(handler: Any) -> None:
        come.append(handler)
        if len(come) == 2:
            both.set()  # the loop goes on when this request waits too

    def pages(*_: Any) -> Any:
        assert both.wait(60)
        return [], lambda application, server, scheduler, prefix: connected.append(scheduler)

    monkeypatch.setattr(dashboard._FirstLook, "prepare", prepare)
    monkeypatch.setattr(dashboard, "_pages", pages)

    async def two_looks() -> list[int]:
        come.clear()
        both.clear()
        applications: list[Any] = []
        parent = SimpleNamespace(
            applications=applications, add_application=applications.append, add_handlers=lambda *_: None
        )
        scheduler = SimpleNamespace(http_application=parent, http_server=None)
        show_on_demand(scheduler)
        (application,) = applications
        server = HTTPServer(application)
        door, port = bind_unused_port()
        server.add_sockets([door])
        client = AsyncHTTPClient(force_instance=True)
        look = {"follow_redirects": False, "raise_error": False, "request_timeout": 60}
        answers = await asyncio.gather(
            *(client.fetch(f"http://127.0.0.1:{port}/status", **look) for _ in range(2))
        )
        server.stop()
        await server.close_all_connections()
        client.close()
        assert applications == [] and connected.pop() is scheduler and not connected
        return [answer.code for answer in answers]

    for _ in range(2):
        assert asyncio.run(two_looks()) == [302, 302]
