"""Loads Dask's dashboard at the first request for a page, and shows it to whoever started the run alone.

Loading its pages takes bokeh half a second and more, and those for tools (`/metrics`, `/json/...`) 20 ms,
which every start would pay for; its address is served from the beginning. Its pages show names, addresses,
logs and code of a run, and every user of the machine reaches its port, so a request has to know the run's
token: in the address, as it is printed (`?token=...`), or in the cookie that the first such request gets.
"""

from __future__ import annotations

import asyncio
import hmac
from typing import Any
from urllib.parse import parse_qsl, urlencode

from tornado import web
from tornado.httputil import HTTPServerRequest
from tornado.routing import Router

from daskpar.engine.plugins.run_page import add_to_navigation

COOKIE = "daskpar-{port}"
"""Name of the cookie; the port is in it, because browsers do not tell ports of a host apart."""
TOKEN = "token"
"""Name of the argument in the printed address."""
AGAIN = "again"
"""Name of an argument: the reader was given the cookie once."""


def only_for_owner(http_server: Any, application: Any, token: str) -> None:
    """Let no request reach `application`, which `http_server` serves, that does not know `token`.

    Call it before the server's event loop goes on.
    """
    http_server.request_callback = _Door(application, token, COOKIE.format(port=http_server.port))


class _Door(Router):
    """Stands before all pages, web sockets included."""

    def __init__(self, application: Any, token: str, cookie: str) -> None:
        self._application = application
        self._token = token
        self._cookie = cookie
        self._own = web.Application()

    def find_handler(self, request: HTTPServerRequest, **settings: Any) -> Any:
        """Called by tornado: who answers `request`."""
        cookie = request.cookies.get(self._cookie)
        has_cookie = cookie is not None and self._knows(cookie.value)
        has_token = any(self._knows(given.decode("latin-1")) for given in request.arguments.get(TOKEN, ()))
        if has_token and (has_cookie or AGAIN not in request.arguments):
            given = {} if has_cookie else {self._cookie: self._token}
            return self._own.get_handler_delegate(request, _Welcome, {"cookies": given})
        if has_cookie or has_token:  # the token alone comes again from readers without cookies, such as curl
            return self._application.find_handler(request, **settings)
        return self._own.get_handler_delegate(request, _Refused)

    def _knows(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token.encode())


class _Welcome(web.RequestHandler):
    """Gives the cookie, and sends a browser that has it to the page itself, whose address has no token."""

    def initialize(self, cookies: dict[str, str]) -> None:
        self._given = cookies

    def get(self) -> None:
        asked = [(name, value) for name, value in parse_qsl(self.request.query) if name not in (TOKEN, AGAIN)]
        for name, token in self._given.items():
            # Strict: pages of others can't use it, not even to open a web socket.
            self.set_cookie(name, token, httponly=True, samesite="Strict", path="/")
            asked += [(TOKEN, token), (AGAIN, "1")]
        self.redirect(f"{self.request.path}?{urlencode(asked)}" if asked else self.request.path)


class _Refused(web.RequestHandler):
    """Answers whoever does not know the token."""

    def prepare(self) -> None:
        self.set_status(403)
        self.finish("This dashboard answers the one who started the run: use the address that it printed.\n")


def show_on_demand(scheduler: Any) -> None:
    """Serve the pages of `scheduler`, which was started without them, from the first request on.

    Call it on the scheduler's loop.
    """
    application = scheduler.http_application
    # A lock of its own: other runs of this process have other event loops.
    given = {"scheduler": scheduler, "loading": asyncio.Lock()}
    waiting = web.Application([(r"/.*", _FirstLook, given)])
    application.add_application(waiting)


class _FirstLook(web.RequestHandler):
    """Answers the first request to a page by loading all pages, and sends the browser there again."""

    def initialize(self, scheduler: Any, loading: asyncio.Lock) -> None:
        self._scheduler = scheduler
        self._loading = loading

    async def get(self) -> None:
        async with self._loading:
            applications = self._scheduler.http_application.applications
            if self.application in applications:
                import dask

                prefix = dask.config.get("distributed.scheduler.http.prefix", "") or ""
                routes, connect = await asyncio.to_thread(_pages, self._scheduler, prefix)
                add_to_navigation(self._scheduler)
                applications.remove(self.application)
                self._scheduler.http_application.add_handlers(".*$", routes)
                connect(
                    self._scheduler.http_application,
                    self._scheduler.http_server,
                    self._scheduler,
                    prefix=prefix,
                )
        self.redirect(self.request.uri or "/status")


def _pages(scheduler: Any, prefix: str) -> tuple[Any, Any]:
    """The pages without pictures, as routes, and what adds those with pictures."""
    import dask
    import distributed  # noqa: F401  # whole, before a part of it
    from distributed.dashboard.scheduler import connect
    from distributed.http.utils import get_handlers

    modules = dask.config.get("distributed.scheduler.http.routes")
    return get_handlers(scheduler, modules, prefix), connect
