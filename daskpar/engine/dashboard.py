"""Loads Dask's dashboard at the first request for one of its pages.

Loading its pages takes bokeh half a second and more, which every start would pay for; its address is served
from the beginning.
"""

from __future__ import annotations

import asyncio
from typing import Any

from tornado import web


def show_on_demand(scheduler: Any) -> None:
    """Serve the pages of `scheduler`, which was started without them, from the first request on.

    Call it on the scheduler's loop.
    """
    application = scheduler.http_application
    waiting = web.Application([(r"/.*", _FirstLook, {"scheduler": scheduler})])
    application.add_application(waiting)


class _FirstLook(web.RequestHandler):
    """Answers the first request to a page by loading all pages, and sends the browser there again."""

    _loading: asyncio.Lock | None = None

    def initialize(self, scheduler: Any) -> None:
        self._scheduler = scheduler

    async def get(self) -> None:
        kind = type(self)
        kind._loading = kind._loading or asyncio.Lock()
        async with kind._loading:
            applications = self._scheduler.http_application.applications
            if self.application in applications:
                connect = await asyncio.to_thread(_pages)
                applications.remove(self.application)
                import dask

                prefix = dask.config.get("distributed.scheduler.http.prefix", "") or ""
                connect(
                    self._scheduler.http_application,
                    self._scheduler.http_server,
                    self._scheduler,
                    prefix=prefix,
                )
        self.redirect(self.request.uri or "/status")


def _pages() -> Any:
    from distributed.dashboard.scheduler import connect

    return connect
